package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"

	"highwater/serve"
)

// getStatus answers GET /v1/status from the tasks' heartbeats, read from the store now.
func (a *API) getStatus(w http.ResponseWriter, r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), a.RequestTimeout)
	defer cancel()
	tasks, err := a.Serve.Tasks(ctx)
	if err != nil {
		return err
	}
	a.storeAnswered()
	body := appendString([]byte(`{"project":`), a.Serve.Project())
	body = append(body, `,"tasks":[`...)
	for i := range tasks {
		if i > 0 {
			body = append(body, ',')
		}
		body = appendTask(body, &tasks[i])
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, append(body, "]}"...))
	return nil
}

// appendTask appends a task's own document, as it sent it, with the heartbeat that brought it.
func appendTask(dst []byte, t *serve.Task) []byte {
	document := strings.Trim(strings.ToValidUTF8(string(t.Status), "\uFFFD"), " \t\r\n")
	if !json.Valid(t.Status) || document[0] != '{' {
		document = `{"error":"the task's status document is not a JSON object"}`
	}
	dst = strconv.AppendInt(append(dst, `{"task":`...), int64(t.Task), 10)
	for name, value := range members(document) {
		if name == "task" || name == "heartbeat" {
			continue
		}
		dst = append(appendString(append(dst, ','), name), ':')
		dst = append(dst, value...)
	}
	dst = appendString(append(dst, `,"heartbeat":{"address":`...), t.Address)
	dst = AppendTime(append(dst, `,"time":`...), t.Time)
	dst = appendDouble(append(dst, `,"age_seconds":`...), t.Age.Seconds())
	return append(dst, "}}"...)
}
