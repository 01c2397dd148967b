package api

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"

	"github.com/go-chi/chi/v5"

	"highwater/serve"
)

// getFeatures answers GET /v1/features/{view}/{entity}.
func (a *API) getFeatures(w http.ResponseWriter, r *http.Request) error {
	view, keys, err := pathKeys(r)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), a.RequestTimeout)
	defer cancel()
	row, err := a.Serve.Lookup(ctx, view, keys)
	if err != nil {
		return err
	}
	a.storeAnswered()
	a.metrics.countRow(&row)
	if row.Status == serve.NotFound {
		return &problem{kind: noVector, detail: fmt.Sprintf("feature view %s has no vector of %s", row.View, describe(&row))}
	}
	writeJSON(w, AppendVector(nil, &row))
	return nil
}

// pathKeys takes the view and the join keys out of the path: it is split as it was sent, and each part unescaped once.
func pathKeys(r *http.Request) (view string, keys []string, err error) {
	view, err = url.PathUnescape(chi.URLParam(r, "view"))
	if err != nil {
		return "", nil, invalid("the path is not escaped rightly: " + err.Error())
	}
	for part := range strings.SplitSeq(chi.URLParam(r, "*"), "/") {
		key, err := url.PathUnescape(part)
		if err != nil {
			return "", nil, invalid("the path is not escaped rightly: " + err.Error())
		}
		keys = append(keys, key)
	}
	return view, keys, nil
}

// describe names an entity in an error.
func describe(row *serve.Row) string {
	var b []byte
	for i, k := range row.JoinKeys {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(append(b, k.Name...), '=')
		b = AppendValue(b, row.Keys[i])
	}
	return string(b)
}

// postFeatures answers POST /v1/features.
func (a *API) postFeatures(w http.ResponseWriter, r *http.Request) error {
	body, err := a.readBody(w, r)
	if err != nil {
		return err
	}
	request, err := parseBatch(body)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(r.Context(), a.RequestTimeout)
	defer cancel()
	table, err := a.lookup(ctx, request)
	if err != nil {
		return err
	}
	a.storeAnswered()
	a.metrics.countTable(table, writeTable(w, table))
	return nil
}

// lookup resolves and reads what a request asks for, within the limits.
func (a *API) lookup(ctx context.Context, request *batchRequest) (*serve.Table, error) {
	var sel *serve.Selection
	var err error
	if request.features != nil {
		sel, err = a.Serve.Features(ctx, request.features)
	} else {
		sel, err = a.Serve.Service(ctx, request.service)
	}
	if err != nil {
		return nil, err
	}
	keys, err := request.keys(sel.JoinKeys, a.MaxEntities)
	if err != nil {
		return nil, err
	}
	if rows := len(keys) / len(sel.JoinKeys); rows*len(sel.Features) > a.MaxValues {
		return nil, &problem{kind: tooLarge, detail: fmt.Sprintf("%d entities with %d features each are more than %d values: ask for them in several requests", rows, len(sel.Features), a.MaxValues)}
	}
	return a.Serve.Read(ctx, sel, keys)
}

// readBody reads the whole body, within its limit.
func (a *API) readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && !strings.EqualFold(encoding, "identity") {
		return nil, &problem{kind: unsupportedEncoding, detail: "the body is encoded as " + quote(encoding) + ": send it as it is"}
	}
	if r.ContentLength > a.MaxBody {
		return nil, a.bodyTooLarge()
	}
	body := bytes.NewBuffer(make([]byte, 0, max(r.ContentLength, 0)+bytes.MinRead))
	_, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, a.MaxBody))
	var tooMany *http.MaxBytesError
	switch {
	case err == nil:
		return body.Bytes(), nil
	case errors.As(err, &tooMany):
		return nil, a.bodyTooLarge()
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &problem{kind: bodyTimeout, detail: "the body did not arrive in time"}
	case errors.Is(err, io.ErrUnexpectedEOF):
		return nil, invalid("the body ended before its length was reached")
	case r.Context().Err() != nil:
		return nil, context.Canceled
	default:
		return nil, invalid("the body could not be read")
	}
}

func (a *API) bodyTooLarge() *problem {
	return &problem{kind: tooLarge, detail: fmt.Sprintf("the body is larger than %d bytes: ask for fewer entities at a time", a.MaxBody)}
}

// chunkBytes is how much of an answer is gathered before it is sent.
const chunkBytes = 64 << 10

// chunks keeps the buffers that answers are gathered in.
var chunks = sync.Pool{New: func() any { b := make([]byte, 0, chunkBytes+chunkBytes/4); return &b }}

// statusTally counts values by status.
type statusTally [serve.Statuses]int

// writeTable answers with t, row by row, and counts its statuses.
func writeTable(w http.ResponseWriter, t *serve.Table) statusTally {
	pooled := chunks.Get().(*[]byte)
	defer chunks.Put(pooled)
	w.Header().Set("Content-Type", "application/json")
	var e tableEncoder
	sent := false
	buf := appendFeatureNames((*pooled)[:0], t)
	for row := range t.Rows {
		if row > 0 {
			buf = append(buf, ',')
		}
		buf = e.appendRow(buf, t, row)
		if len(buf) >= chunkBytes {
			_, _ = w.Write(buf) // a client that has gone is nobody's loss
			buf, sent = buf[:0], true
		}
	}
	buf = append(buf, "]}\n"...)
	if !sent {
		w.Header().Set("Content-Length", strconv.Itoa(len(buf)))
	}
	_, _ = w.Write(buf)
	*pooled = buf
	return e.tally
}

func appendFeatureNames(dst []byte, t *serve.Table) []byte {
	dst = append(dst, `{"feature_names":[`...)
	for i, f := range t.Features {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendString(dst, f.View+":"+f.Name)
	}
	return append(dst, `],"rows":[`...)
}

// tableEncoder appends a table's rows. Values of one answer mostly hold at few instants, so the last one's text is kept.
type tableEncoder struct {
	tally statusTally
	cells []serve.Cell
	asOf  int64
	text  []byte // of asOf; empty before the first
}

func (e *tableEncoder) appendRow(dst []byte, t *serve.Table, row int) []byte {
	e.cells = e.cells[:0]
	for column := range t.Features {
		e.cells = append(e.cells, t.Cell(row, column))
	}
	dst = append(dst, `{"values":[`...)
	for i := range e.cells {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = AppendValue(dst, e.cells[i].Value)
	}
	dst = append(dst, `],"statuses":[`...)
	for i := range e.cells {
		if i > 0 {
			dst = append(dst, ',')
		}
		e.tally[e.cells[i].Status]++
		dst = append(append(append(dst, '"'), e.cells[i].Status.String()...), '"')
	}
	dst = append(dst, `],"as_of":[`...)
	for i := range e.cells {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = e.appendAsOf(dst, e.cells[i].AsOf)
	}
	return append(dst, "]}"...)
}

func (e *tableEncoder) appendAsOf(dst []byte, us int64) []byte {
	if us != e.asOf || len(e.text) == 0 {
		e.asOf, e.text = us, AppendTime(e.text[:0], us)
	}
	return append(dst, e.text...)
}
