// Package api answers lookups over HTTP (design.md §10). It reads requests strictly, asks package serve, and writes JSON; what a value is worth is decided there, how it looks here.
//
// # Rules of the wire
//
//   - Every error that a handler meets is application/problem+json, 404 and 405 too; problem.go holds the one table of them. (What net/http cannot read as a request at all it refuses
//     itself, in plain text, before any handler.)
//   - A double always has a decimal point (1.0, 1.0e+21); an int64 has all its digits; a time is RFC 3339, UTC, with milliseconds, rounded down; timestamps are a list of such times.
//   - A path is routed as it was sent and unescaped once, after it was split: %2F within a join key is a slash, and no route of its own.
//   - A request's body is judged by what it is, whatever its Content-Type says. Unknown fields, duplicate names, a key too many and a key too few are errors that say where.
//     A number with an integral value (7, 7.0, 7e0) is taken for an int64 join key: JSON knows one kind of number, and many clients write floats.
//
// openapi.json is kept by hand; the tests hold every request and response that they exercise against it, and its paths against the routes.
package api
