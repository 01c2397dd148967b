// Package e2e looks at a whole Highwater from the outside: it reads event files without the product's decoder ([Events]), works out what every feature must be ([World], on testutil/oracle), asks for features over
// HTTP ([Client]), and runs the program as a child process that can be killed ([Start]).
package e2e
