package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"

	"highwater/features"
	"highwater/store/state"
)

// How the plans of a data directory are read: from the worker that owns it, over its control socket, or from the directory, where none runs. Either way nothing in it is changed, and it is let go of before anything is executed.

// pagePlans is how many plans are asked for at a time.
const pagePlans = 2_000

// recordPage is a stretch of what a directory records, and what the worker that owns it tells of the outside: nothing where none runs.
type recordPage struct {
	state.Record
	Outside outside
}

// record answers a request for a page of the record.
func (e *engine) record(ctx context.Context, q url.Values) (recordPage, error) {
	after, err := features.ParseVersion(q.Get("after"))
	if err != nil {
		return recordPage{}, err
	}
	last, err := features.ParseVersion(q.Get("last"))
	if err != nil {
		return recordPage{}, err
	}
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil {
		return recordPage{}, err
	}
	r, err := e.store.Record(ctx, after, last, limit)
	return recordPage{Record: r, Outside: e.outside}, err
}

// recordSource is a data directory whose plans are read.
type recordSource struct {
	dataDir string
	store   *state.Store // nil where a worker runs
}

// openRecord finds out whether a worker runs on the directory, and opens it where none does.
func openRecord(ctx context.Context, dataDir string, log *slog.Logger) (*recordSource, error) {
	r := &recordSource{dataDir: dataDir}
	var head recordPage
	running, err := askWorker(ctx, dataDir, http.MethodGet, "/record", recordQuery(features.Version{}, features.Version{}, 0), &head)
	if running || err != nil {
		return r, err
	}
	r.store, err = state.OpenKept(filepath.Join(dataDir, "state"), state.Options{ReadOnly: true, Log: log, Owner: "highwater replay"})
	return r, err
}

func recordQuery(after, last features.Version, limit int) url.Values {
	return url.Values{"after": {after.String()}, "last": {last.String()}, "limit": {strconv.Itoa(limit)}}
}

// page returns up to limit of the plans beyond after, up to and with last.
func (r *recordSource) page(ctx context.Context, after, last features.Version, limit int) (page recordPage, err error) {
	if r.store != nil {
		page.Record, err = r.store.Record(ctx, after, last, limit)
		return page, err
	}
	running, err := askWorker(ctx, r.dataDir, http.MethodGet, "/record", recordQuery(after, last, limit), &page)
	if err == nil && !running {
		err = fmt.Errorf("the worker on %s stopped while its plans were read: start again", r.dataDir)
	}
	return page, err
}

// head returns what the directory says of itself, without plans.
func (r *recordSource) head(ctx context.Context) (recordPage, error) {
	return r.page(ctx, features.Version{}, features.Version{}, 0)
}

// each calls f with page after page of the plans beyond after, up to and with last. It fails where the lineage changes meanwhile.
func (r *recordSource) each(ctx context.Context, log string, after, last features.Version, f func(state.Record) error) error {
	for {
		page, err := r.page(ctx, after, last, pagePlans)
		if err != nil {
			return err
		}
		if page.Log != log {
			return errors.New("a new generation began while the plans were read: start again")
		}
		if err := f(page.Record); err != nil {
			return err
		}
		if len(page.Plans) < pagePlans {
			return nil
		}
		after = page.Plans[len(page.Plans)-1].Version
	}
}

// Close lets the directory go.
func (r *recordSource) Close() error {
	if r.store == nil {
		return nil
	}
	return r.store.Close()
}
