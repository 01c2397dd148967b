// Package redistest runs real Redis servers for tests: one ([Start], [StartTLS]), a primary with a replica that Sentinels watch ([StartSentinels]), a cluster ([StartCluster], [StartClusterWithReplicas]), and a proxy before a
// server that breaks connections at a chosen moment ([NewProxy]). Servers can be killed, hung, restarted with and without what they held, and fail over. It also dumps what a project has stored ([Vectors]).
//
// Servers are started only where HIGHWATER_INTEGRATION=1; elsewhere the test is skipped, and says so. Where it is set and redis-server is missing, the test fails.
package redistest
