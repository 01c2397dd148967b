package serve

import (
	"context"
	"errors"
	"fmt"
)

// Kind says what a caller can do about an [Error].
type Kind uint8

// The kinds of error.
const (
	Invalid        Kind = iota // the request is wrong, and Detail says what would be right
	UnknownView                // no feature view of that name
	UnknownFeature             // the view has no feature of that name
	UnknownService             // no feature service of that name
	Unavailable                // the store does not answer, or holds no catalogue yet: the same request may succeed later
	Corrupt                    // the store holds what cannot be right: retrying does not help
)

// Error is every error that this package returns.
type Error struct {
	Kind       Kind
	Detail     string // a sentence for the caller, without a full stop
	Suggestion string // the nearest name that would have been right; "" for none
	Err        error  // the cause, nil where there is none
}

// Error returns the detail, with the suggestion where there is one.
func (e *Error) Error() string {
	if e.Suggestion != "" {
		return fmt.Sprintf("%s; did you mean %q?", e.Detail, e.Suggestion)
	}
	return e.Detail
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

func invalid(format string, args ...any) *Error {
	return &Error{Kind: Invalid, Detail: fmt.Sprintf(format, args...)}
}

func corrupt(format string, args ...any) *Error {
	return &Error{Kind: Corrupt, Detail: fmt.Sprintf(format, args...)}
}

func unavailable(err error) *Error {
	detail := "the online store does not answer: " + err.Error()
	if errors.Is(err, context.DeadlineExceeded) {
		detail = "the online store did not answer in time"
	}
	return &Error{Kind: Unavailable, Detail: detail, Err: err}
}
