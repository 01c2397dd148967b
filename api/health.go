package api

import "net/http"

// healthz answers GET /healthz: whoever reads this is alive.
func (a *API) healthz(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, []byte(`{"status":"ok"}`))
	return nil
}

// index answers GET / where there is no console: the routes.
func (a *API) index(w http.ResponseWriter, _ *http.Request) error {
	body := appendString([]byte(`{"service":"highwater","project":`), a.Serve.Project())
	body = append(body, `,"routes":[`...)
	for i, r := range a.routes() {
		if i > 0 {
			body = append(body, ',')
		}
		body = appendString(append(body, `{"method":`...), r.method)
		body = appendString(append(body, `,"path":`...), r.path)
		body = append(appendString(append(body, `,"summary":`...), r.summary), '}')
	}
	writeJSON(w, append(body, "]}"...))
	return nil
}
