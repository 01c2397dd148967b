// Package promtest holds metrics against the page that documents them, and runs a real Prometheus (Debian's binary) on loopback: with the repository's own configuration and rules, scraping what a test names.
package promtest
