package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"highwater/features"
	"highwater/store/online"
	"highwater/windows"
)

// drillReader is somebody who reads vectors all the while, from Redis and over HTTP, and to whom nothing may ever go back: no version, no as_of, no vector out of sight. What Redis itself has lost is told apart.
type drillReader struct {
	project *features.Project
	base    string // of HTTP: http://HOST:PORT
	store   *online.Reader
	wanted  []features.VectorKey
	losses  atomic.Int64 // odd while Redis loses something: see lose

	mu    sync.Mutex // guards what follows
	steps []stepBack
	back  int64 // steps back that nothing excuses
	lost  int64 // those that a loss of Redis explains
	reads [readWays]readCount
}

// readWay is one of the ways in which vectors are read.
type readWay int

const (
	readRedis readWay = iota // from Redis itself, as serve does
	readOne                  // over HTTP, one by one
	readMany                 // over HTTP, many at once
	readWays
)

// String names the way to people.
func (w readWay) String() string {
	return [...]string{"redis", "http, one by one", "http, many at once"}[w]
}

// readCount is what came of reading in one way.
type readCount struct {
	By     string `json:"by"`
	Polls  int64  `json:"polls"`
	Seen   int64  `json:"seen"`                 // vectors that it was answered with
	Failed int64  `json:"failed"`               // polls to which an answer was none that it understands
	Last   string `json:"last_error,omitempty"` // of them
}

// stepBack is a reader's older view after a newer one.
type stepBack struct {
	By     string `json:"by"` // a readWay
	View   string `json:"view"`
	Entity string `json:"entity"`
	What   string `json:"what"` // version, as_of, vector
	From   string `json:"from"`
	To     string `json:"to"`
}

func (s stepBack) String() string {
	return fmt.Sprintf("%s of %s %q went back from %s to %s, read by %s", s.What, s.View, s.Entity, s.From, s.To, s.By)
}

// mostSteps is how many steps back are described; the rest are counted.
const mostSteps = 10

// lose takes something out of Redis by do. What is read before, and after, is held against each other as a loss explains it; what is read afterwards must again not go back.
func (r *drillReader) lose(do func() error) error {
	r.losses.Add(1)
	defer r.losses.Add(1)
	return do()
}

// poll reads a few vectors. It returns how many it was answered with, and what went wrong: then nothing more was read.
type poll func(context.Context, *rand.Rand) (vectors int, err error)

// Run reads until ctx ends.
func (r *drillReader) Run(ctx context.Context) error {
	g := errgroup.Group{}
	for way, poll := range [readWays]poll{readRedis: r.pollRedis(200), readOne: r.pollOneByOne(5), readMany: r.pollMany(100)} {
		g.Go(func() error { return r.run(ctx, readWay(way), poll) })
	}
	return g.Wait()
}

// run polls again and again, for half of the time at most: there is other work for the processor.
func (r *drillReader) run(ctx context.Context, way readWay, poll poll) error {
	random := rand.New(rand.NewPCG(uint64(way), 0))
	const pause = 5 * time.Millisecond
	timer := time.NewTimer(pause)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		began := time.Now()
		vectors, err := poll(ctx, random)
		r.count(ctx, way, vectors, err)
		timer.Reset(max(pause, time.Since(began)))
	}
}

// count adds what came of a poll; one that ctx has ended says nothing.
func (r *drillReader) count(ctx context.Context, way readWay, vectors int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := &r.reads[way]
	n.Polls, n.Seen = n.Polls+1, n.Seen+int64(vectors)
	if err != nil && ctx.Err() == nil {
		n.Failed, n.Last = n.Failed+1, err.Error()
	}
}

// counts returns what came of reading, by way.
func (r *drillReader) counts() []readCount {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := r.reads
	for way := range all {
		all[way].By = readWay(way).String()
	}
	return all[:]
}

// answered returns an error where one of the ways was never answered with a vector: then nobody has looked there, and that nothing went back says nothing.
func (r *drillReader) answered() error {
	var errs []error
	for _, n := range r.counts() {
		if n.Seen == 0 {
			errs = append(errs, fmt.Errorf("the reader beside it (%s) was never answered with a vector, in %d polls, of which %d failed: %s", n.By, n.Polls, n.Failed, cmp.Or(n.Last, "there was none")))
		}
	}
	return errors.Join(errs...)
}

// awaitAnswers waits until every way was answered with a vector: for a moment at most, once they are all there.
func (r *drillReader) awaitAnswers(ctx context.Context) error {
	const most = 10 * time.Second
	ctx, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	look := time.NewTicker(10 * time.Millisecond)
	defer look.Stop()
	for {
		err := r.answered()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-look.C:
		}
	}
}

// sighting is what was last seen of one vector, by one way.
type sighting struct {
	found   bool
	version features.Version // zero where that way does not tell
	asOf    int64            // µs
	losses  int64            // as they were before it was asked for
}

// watch holds what is seen by one way against what was seen before. One goroutine uses it.
type watch struct {
	by   readWay
	r    *drillReader
	last map[features.VectorKey]sighting
}

func (r *drillReader) watch(by readWay) *watch {
	return &watch{by: by, r: r, last: map[features.VectorKey]sighting{}}
}

// see takes a sighting.
func (w *watch) see(k features.VectorKey, now sighting) {
	before, known := w.last[k]
	w.last[k] = now
	if !known || !before.found {
		return
	}
	step := stepBack{By: w.by.String(), View: k.View, Entity: k.Entity}
	switch {
	case !now.found:
		step.What, step.From, step.To = "vector", before.version.String(), "nothing"
	case now.version.Less(before.version):
		step.What, step.From, step.To = "version", before.version.String(), now.version.String()
	case now.asOf < before.asOf:
		step.What, step.From, step.To = "as_of", timeText(before.asOf), timeText(now.asOf)
	default:
		return
	}
	w.r.mu.Lock()
	defer w.r.mu.Unlock()
	if w.r.losses.Load() != before.losses {
		w.r.lost++
		return
	}
	w.r.back++
	if len(w.r.steps) < mostSteps {
		w.r.steps = append(w.r.steps, step)
	}
}

// pollRedis reads n vectors that follow each other, as serve does.
func (r *drillReader) pollRedis(n int) poll {
	w := r.watch(readRedis)
	return func(ctx context.Context, random *rand.Rand) (seen int, err error) {
		wanted := r.some(random, n)
		losses := r.losses.Load()
		fetched, err := r.store.Fetch(ctx, wanted)
		if err != nil {
			return 0, err // nothing was read, and nothing went back
		}
		for i, v := range fetched.Vectors {
			asOf, found := drillAsOf(v, fetched.Mark)
			w.see(wanted[i], sighting{found: found, version: v.Version, asOf: asOf, losses: losses})
			seen += one(found)
		}
		return seen, nil
	}
}

// one is 1 for what is so, to be counted.
func one(is bool) int {
	if is {
		return 1
	}
	return 0
}

// drillAsOf is the instant as of which a vector holds, and whether there is one, by the rule of docs/format/online.md: worked out here once more, and not asked of serve.
func drillAsOf(v features.StoredVector, mark features.TaskMark) (asOf int64, found bool) {
	if !v.Found || mark.Found && v.Version.Generation < mark.Version.Generation {
		return windows.NoTime, false
	}
	if mark.Found && mark.Version.Generation == v.Version.Generation {
		return max(v.Frontier, mark.Frontier), true
	}
	return v.Frontier, true
}

// some returns n of the vectors, from a random one on.
func (r *drillReader) some(random *rand.Rand, n int) []features.VectorKey {
	n = min(n, len(r.wanted))
	if n == 0 {
		return nil
	}
	from := random.IntN(len(r.wanted))
	wanted := append([]features.VectorKey(nil), r.wanted[from:min(from+n, len(r.wanted))]...)
	return append(wanted, r.wanted[:n-len(wanted)]...)
}

// pollOneByOne asks for n vectors, each by GET: those answers have versions.
func (r *drillReader) pollOneByOne(n int) poll {
	w := r.watch(readOne)
	return func(ctx context.Context, random *rand.Rand) (seen int, err error) {
		for _, k := range r.some(random, n) {
			losses := r.losses.Load()
			now, err := r.get(ctx, k)
			if err != nil {
				return seen, err
			}
			now.losses = losses
			w.see(k, now)
			seen += one(now.found)
		}
		return seen, nil
	}
}

// get asks for one vector.
func (r *drillReader) get(ctx context.Context, k features.VectorKey) (now sighting, err error) {
	_, values, err := r.keysOf(k)
	if err != nil {
		return now, err
	}
	var path strings.Builder
	for _, v := range values {
		path.WriteByte('/')
		path.WriteString(url.PathEscape(fmt.Sprint(keyOf(v))))
	}
	var answer struct {
		Type string `json:"type"`
		Of   *struct {
			Generation uint32 `json:"generation"`
			Sequence   uint64 `json:"sequence"`
		} `json:"version"`
		AsOf *string `json:"as_of"`
	}
	status, err := r.ask(ctx, http.MethodGet, "/v1/features/"+url.PathEscape(k.View)+path.String(), nil, &answer)
	switch {
	case err != nil:
		return now, err
	case status == http.StatusNotFound && strings.HasSuffix(answer.Type, ":no-vector"):
		return sighting{}, nil
	case status != http.StatusOK || answer.Of == nil:
		return now, fmt.Errorf("GET %s %q was answered with %d (%s), and no version", k.View, k.Entity, status, answer.Type)
	}
	now = sighting{found: true, version: features.Version{Generation: answer.Of.Generation, Sequence: answer.Of.Sequence}}
	now.asOf, err = readTime(answer.AsOf)
	return now, err
}

// pollMany asks for n vectors of one view by POST, as a model server does: those answers have as_of alone.
func (r *drillReader) pollMany(n int) poll {
	w := r.watch(readMany)
	return func(ctx context.Context, random *rand.Rand) (int, error) {
		wanted := r.some(random, n)
		for i, k := range wanted {
			if k.View != wanted[0].View {
				wanted = wanted[:i]
				break
			}
		}
		return r.post(ctx, w, wanted)
	}
}

func (r *drillReader) post(ctx context.Context, w *watch, wanted []features.VectorKey) (seen int, err error) {
	if len(wanted) == 0 {
		return 0, nil
	}
	var view *features.View
	var entities []map[string]any
	for _, k := range wanted {
		var values []windows.Value
		if view, values, err = r.keysOf(k); err != nil {
			return 0, err
		}
		entity := map[string]any{}
		for i, v := range values {
			entity[view.Entity.JoinKeys[i].Name] = keyOf(v)
		}
		entities = append(entities, entity)
	}
	body, err := json.Marshal(map[string]any{"features": []string{view.Name + ":" + view.Features[0].Name}, "entities": entities})
	if err != nil {
		return 0, err
	}
	var answer struct {
		Type string `json:"type"`
		Rows []struct {
			Statuses []string  `json:"statuses"`
			AsOf     []*string `json:"as_of"`
		} `json:"rows"`
	}
	losses := r.losses.Load()
	status, err := r.ask(ctx, http.MethodPost, "/v1/features", body, &answer)
	if err != nil {
		return 0, err
	}
	if status != http.StatusOK || len(answer.Rows) != len(wanted) {
		return 0, fmt.Errorf("POST of %d entities of %s was answered with %d (%s), and %d rows", len(wanted), view.Name, status, answer.Type, len(answer.Rows))
	}
	for i, row := range answer.Rows {
		if len(row.AsOf) != 1 || len(row.Statuses) != 1 {
			return seen, fmt.Errorf("POST of one feature of %s was answered with a row of %d statuses, and %d as_of", view.Name, len(row.Statuses), len(row.AsOf))
		}
		now := sighting{found: row.Statuses[0] != "NOT_FOUND", losses: losses}
		if now.asOf, err = readTime(row.AsOf[0]); err != nil {
			return seen, err
		}
		w.see(wanted[i], now)
		seen += one(now.found)
	}
	return seen, nil
}

// ask sends a request and reads the JSON that comes back.
func (r *drillReader) ask(ctx context.Context, method, path string, body []byte, answer any) (status int, err error) {
	req, err := http.NewRequestWithContext(ctx, method, r.base+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return resp.StatusCode, json.NewDecoder(resp.Body).Decode(answer)
}

// keysOf returns a vector's view and the values of its join keys.
func (r *drillReader) keysOf(k features.VectorKey) (*features.View, []windows.Value, error) {
	view := r.project.View(k.View)
	if view == nil || len(view.Features) == 0 {
		return nil, nil, fmt.Errorf("the definitions have no feature view %s with a feature", k.View)
	}
	values, err := view.Entity.EntityValues(k.Entity)
	return view, values, err
}

// keyOf is a join key's value as it stands in a request.
func keyOf(v windows.Value) any {
	if v.Kind() == windows.Int64 {
		return v.Int()
	}
	return v.Str()
}

// readTime reads RFC 3339, in µs; windows.NoTime for null.
func readTime(text *string) (int64, error) {
	if text == nil {
		return windows.NoTime, nil
	}
	t, err := time.Parse(time.RFC3339Nano, *text)
	return t.UnixMicro(), err
}
