// Package mutants holds deliberate bugs in the code that the promise rests on, each with the test that catches it. `make mutants` puts them in one by one, and fails where a test does not notice; docs/guarantees.md lists them.
package mutants
