// Package keys encodes the keys under which Highwater stores things.
package keys
