// Package resp is a relay that stands before a Redis, embedded or real, and does to it what networks and servers do: it drops connections before or after a script was applied, answers as a server that loads its data or as a
// replica, delays, and cuts. It reads the protocol, so that it strikes at one request and not somewhere within it, and it rewrites nothing: what passes, passes byte for byte.
//
// It is for drills and tests. It speaks RESP2 and RESP3, to one server; a cluster's clients would be sent past it by MOVED. It understands no TLS.
package resp
