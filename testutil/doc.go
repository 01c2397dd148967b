// Package testutil holds the tests that are about the whole module: the import table, the package comments, the examples' end to end runs.
package testutil
