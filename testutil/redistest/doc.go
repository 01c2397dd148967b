// Package redistest runs real Redis servers for tests: one ([Start]), a cluster of three ([StartCluster]), and a proxy before a server that breaks connections at a chosen moment
// ([NewProxy]). It also dumps what a project has stored ([Vectors]).
//
// Servers are started only where HIGHWATER_INTEGRATION=1; elsewhere the test is skipped, and says so. Where it is set and redis-server is missing, the test fails.
package redistest
