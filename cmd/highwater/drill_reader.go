package main

import (
	"bytes"
	"context"
	"encoding/json"
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
	polls int64
	seen  int64 // vectors
}

// stepBack is a reader's older view after a newer one.
type stepBack struct {
	By     string `json:"by"` // redis or http
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

// Run reads until ctx ends.
func (r *drillReader) Run(ctx context.Context) error {
	g := errgroup.Group{}
	g.Go(func() error { return r.run(ctx, 1, r.pollRedis(200)) })
	g.Go(func() error { return r.run(ctx, 2, r.pollHTTP(100)) })
	g.Go(func() error { return r.run(ctx, 3, r.pollHTTPOneByOne(5)) })
	return g.Wait()
}

// run polls again and again, for half of the time at most: there is other work for the processor.
func (r *drillReader) run(ctx context.Context, seed uint64, poll func(context.Context, *rand.Rand) (vectors int)) error {
	random := rand.New(rand.NewPCG(seed, 0))
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
		vectors := poll(ctx, random)
		r.mu.Lock()
		r.polls, r.seen = r.polls+1, r.seen+int64(vectors)
		r.mu.Unlock()
		timer.Reset(max(pause, time.Since(began)))
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
	by   string
	r    *drillReader
	last map[features.VectorKey]sighting
}

func (r *drillReader) watch(by string) *watch {
	return &watch{by: by, r: r, last: map[features.VectorKey]sighting{}}
}

// see takes a sighting.
func (w *watch) see(k features.VectorKey, now sighting) {
	before, known := w.last[k]
	w.last[k] = now
	if !known || !before.found {
		return
	}
	step := stepBack{By: w.by, View: k.View, Entity: k.Entity}
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
func (r *drillReader) pollRedis(n int) func(context.Context, *rand.Rand) int {
	w := r.watch("redis")
	return func(ctx context.Context, random *rand.Rand) int {
		wanted := r.some(random, n)
		losses := r.losses.Load()
		fetched, err := r.store.Fetch(ctx, wanted)
		if err != nil {
			return 0 // nothing was read, and nothing went back
		}
		for i, v := range fetched.Vectors {
			asOf, found := drillAsOf(v, fetched.Mark)
			w.see(wanted[i], sighting{found: found, version: v.Version, asOf: asOf, losses: losses})
		}
		return len(fetched.Vectors)
	}
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

// pollHTTPOneByOne asks for n vectors, each by GET: those answers have versions.
func (r *drillReader) pollHTTPOneByOne(n int) func(context.Context, *rand.Rand) int {
	w := r.watch("http")
	return func(ctx context.Context, random *rand.Rand) (seen int) {
		for _, k := range r.some(random, n) {
			losses := r.losses.Load()
			if now, ok := r.get(ctx, k); ok {
				now.losses = losses
				w.see(k, now)
				seen++
			}
		}
		return seen
	}
}

// get asks for one vector. ok is false where nothing was told of it.
func (r *drillReader) get(ctx context.Context, k features.VectorKey) (now sighting, ok bool) {
	view, values := r.keysOf(k)
	if view == nil {
		return now, false
	}
	var path strings.Builder
	for _, v := range values {
		path.WriteByte('/')
		path.WriteString(url.PathEscape(fmt.Sprint(keyOf(v))))
	}
	var answer struct {
		Type    string           `json:"type"`
		Version features.Version `json:"-"`
		Of      struct {
			Generation uint32 `json:"generation"`
			Sequence   uint64 `json:"sequence"`
		} `json:"version"`
		AsOf *string `json:"as_of"`
	}
	status, err := r.ask(ctx, http.MethodGet, "/v1/features/"+url.PathEscape(k.View)+path.String(), nil, &answer)
	switch {
	case err != nil:
		return now, false
	case status == http.StatusNotFound && strings.HasSuffix(answer.Type, ":no-vector"):
		return sighting{}, true
	case status != http.StatusOK:
		return now, false
	}
	return sighting{found: true, version: features.Version{Generation: answer.Of.Generation, Sequence: answer.Of.Sequence}, asOf: readTime(answer.AsOf)}, true
}

// pollHTTP asks for n vectors of one view by POST, as a model server does: those answers have as_of alone.
func (r *drillReader) pollHTTP(n int) func(context.Context, *rand.Rand) int {
	w := r.watch("http")
	return func(ctx context.Context, random *rand.Rand) int {
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

func (r *drillReader) post(ctx context.Context, w *watch, wanted []features.VectorKey) (seen int) {
	if len(wanted) == 0 {
		return 0
	}
	view, _ := r.keysOf(wanted[0])
	if view == nil || len(view.Features) == 0 {
		return 0
	}
	var entities []map[string]any
	for _, k := range wanted {
		_, values := r.keysOf(k)
		entity := map[string]any{}
		for i, v := range values {
			entity[view.Entity.JoinKeys[i].Name] = keyOf(v)
		}
		entities = append(entities, entity)
	}
	body, err := json.Marshal(map[string]any{"features": []string{view.Name + ":" + view.Features[0].Name}, "entities": entities})
	if err != nil {
		return 0
	}
	var answer struct {
		Rows []struct {
			Statuses []string  `json:"statuses"`
			AsOf     []*string `json:"as_of"`
		} `json:"rows"`
	}
	losses := r.losses.Load()
	if status, err := r.ask(ctx, http.MethodPost, "/v1/features", body, &answer); err != nil || status != http.StatusOK || len(answer.Rows) != len(wanted) {
		return 0
	}
	for i, row := range answer.Rows {
		if len(row.AsOf) == 1 && len(row.Statuses) == 1 {
			w.see(wanted[i], sighting{found: row.Statuses[0] != "NOT_FOUND", asOf: readTime(row.AsOf[0]), losses: losses})
		}
	}
	return len(wanted)
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

// keysOf returns a vector's view and the values of its join keys; nil where the definitions have none such.
func (r *drillReader) keysOf(k features.VectorKey) (*features.View, []windows.Value) {
	view := r.project.View(k.View)
	if view == nil {
		return nil, nil
	}
	values, err := view.Entity.EntityValues(k.Entity)
	if err != nil {
		return nil, nil
	}
	return view, values
}

// keyOf is a join key's value as it stands in a request.
func keyOf(v windows.Value) any {
	if v.Kind() == windows.Int64 {
		return v.Int()
	}
	return v.Str()
}

// readTime reads RFC 3339, in µs; windows.NoTime for null.
func readTime(text *string) int64 {
	if text == nil {
		return windows.NoTime
	}
	t, err := time.Parse(time.RFC3339Nano, *text)
	if err != nil {
		return windows.NoTime
	}
	return t.UnixMicro()
}
