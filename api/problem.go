package api

import (
	"context"
	"errors"
	"net/http"
	"strconv"

	"highwater/serve"
)

// problemKind is what went wrong, as callers can tell it apart.
type problemKind uint8

const (
	invalidRequest problemKind = iota
	unknownView
	unknownFeature
	unknownService
	noVector
	unknownRoute
	wrongMethod
	bodyTimeout
	tooLarge
	unsupportedEncoding
	clientGone
	internalError
	corruptStore
	unavailable
)

// problemTypes says how each kind of problem is answered. It is the only place where a status is chosen for an error.
var problemTypes = [...]struct {
	status     int
	slug       string // ends the problem's type, urn:highwater:problem:SLUG
	title      string
	retryAfter int // seconds; 0 where the same request cannot succeed later
}{
	invalidRequest:      {http.StatusBadRequest, "invalid-request", "Invalid request", 0},
	unknownView:         {http.StatusNotFound, "unknown-feature-view", "Unknown feature view", 0},
	unknownFeature:      {http.StatusNotFound, "unknown-feature", "Unknown feature", 0},
	unknownService:      {http.StatusNotFound, "unknown-feature-service", "Unknown feature service", 0},
	noVector:            {http.StatusNotFound, "no-vector", "No vector of this entity", 0},
	unknownRoute:        {http.StatusNotFound, "unknown-route", "No such route", 0},
	wrongMethod:         {http.StatusMethodNotAllowed, "method-not-allowed", "Method not allowed", 0},
	bodyTimeout:         {http.StatusRequestTimeout, "body-timeout", "The request's body did not arrive in time", 0},
	tooLarge:            {http.StatusRequestEntityTooLarge, "too-large", "Request too large", 0},
	unsupportedEncoding: {http.StatusUnsupportedMediaType, "unsupported-encoding", "Unsupported content encoding", 0},
	clientGone:          {499, "client-gone", "The client went away", 0}, // for the metrics: nobody reads it
	internalError:       {http.StatusInternalServerError, "internal", "Internal error", 0},
	corruptStore:        {http.StatusInternalServerError, "corrupt-store", "The online store holds what cannot be right", 0},
	unavailable:         {http.StatusServiceUnavailable, "unavailable", "Not able to answer now", 1},
}

// ofServe says which problem an error of package serve is.
var ofServe = [...]problemKind{
	serve.Invalid:        invalidRequest,
	serve.UnknownView:    unknownView,
	serve.UnknownFeature: unknownFeature,
	serve.UnknownService: unknownService,
	serve.Unavailable:    unavailable,
	serve.Corrupt:        corruptStore,
}

// problem is an error as its caller is told of it.
type problem struct {
	kind       problemKind
	detail     string
	suggestion string   // the nearest name that would have been right; "" for none
	reasons    []Reason // of GET /readyz alone
	warnings   []Reason
}

func (p *problem) Error() string { return p.detail }

func (p *problem) status() int { return problemTypes[p.kind].status }

func invalid(detail string) *problem { return &problem{kind: invalidRequest, detail: detail} }

// problemOf returns the problem that err is to the caller of r. What it does not know is internal, and told nobody.
func problemOf(r *http.Request, err error) *problem {
	if r.Context().Err() != nil && errors.Is(err, context.Canceled) {
		return &problem{kind: clientGone, detail: "the client went away"}
	}
	var p *problem
	if errors.As(err, &p) {
		return p
	}
	var s *serve.Error
	if errors.As(err, &s) {
		return &problem{kind: ofServe[s.Kind], detail: s.Detail, suggestion: s.Suggestion}
	}
	return &problem{kind: internalError, detail: "the server met an error that is no fault of the request; its log says more"}
}

// write answers with p.
func (p *problem) write(w http.ResponseWriter) {
	t := problemTypes[p.kind]
	body := append([]byte(`{"type":"urn:highwater:problem:`), t.slug...)
	body = appendString(append(body, `","title":`...), t.title)
	body = strconv.AppendInt(append(body, `,"status":`...), int64(t.status), 10)
	body = appendString(append(body, `,"detail":`...), p.detail)
	if p.suggestion != "" {
		body = appendString(append(body, `,"suggestion":`...), p.suggestion)
	}
	body = appendReasons(body, "reasons", p.reasons)
	body = appendReasons(body, "warnings", p.warnings)
	body = append(body, "}\n"...)
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	if t.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(t.retryAfter))
	}
	if p.kind == bodyTimeout {
		h.Set("Connection", "close") // the rest of the body is not waited for
	}
	w.WriteHeader(t.status)
	_, _ = w.Write(body) // a client that has gone is nobody's loss
}
