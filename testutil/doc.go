// Package testutil holds the tests that are about the whole module: the import table, the package comments, the examples' end to end runs.
// Below it are helpers for tests, the oracle, and the search model of the protocol (testutil/model).
package testutil
