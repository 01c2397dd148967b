package api

import "github.com/go-chi/chi/v5"

// Routes returns the routes as they are registered.
func (a *API) Routes() chi.Routes { return a.router }

var (
	AppendString = appendString
	AppendDouble = appendDouble
	Integer      = integer
	CheckJSON    = checkJSON
	Members      = members
	Elements     = elements
	Unquote      = unquote
)

// Problems returns the statuses of the problems that callers can see, by slug.
func Problems() map[string]int {
	statuses := map[string]int{}
	for kind, t := range problemTypes {
		if problemKind(kind) != clientGone {
			statuses[t.slug] = t.status
		}
	}
	return statuses
}
