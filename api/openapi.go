package api

import (
	_ "embed"
	"net/http"
)

// openAPI is this API as an OpenAPI 3.1 document, in JSON.
//
//go:embed openapi.json
var openAPI []byte

// getOpenAPI answers GET /openapi.json.
func (a *API) getOpenAPI(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(openAPI) // a client that has gone is nobody's loss
	return nil
}
