package state_test

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"highwater/batch"
	"highwater/features"
	"highwater/store/state"
	"highwater/windows"
)

// model is the slow and obvious state: maps, copied for each change, every entity upgraded at once.
type model struct {
	entities map[string]map[string]modelEntity // by view's name, by text
	machines map[string]*windows.Machine       // by view's name: what the entities are decoded by
	position uint64                            // sequence; 0 before the first
}

type modelEntity struct {
	windows   []byte
	published batch.Published
	timers    [batch.TimerClocks]int64
}

func (m model) clone() model {
	c := model{entities: map[string]map[string]modelEntity{}, machines: maps.Clone(m.machines), position: m.position}
	for name, entities := range m.entities {
		c.entities[name] = maps.Clone(entities)
	}
	return c
}

// as returns m's entities of a view as its machine has them now.
func (m model) as(v *features.View) map[string]modelEntity {
	old := m.machines[v.Name]
	now := map[string]modelEntity{}
	for text, e := range m.entities[v.Name] {
		w, err := old.Decode(e.windows)
		if err != nil {
			panic(err)
		}
		e.windows = v.Machine.Append(nil, v.Machine.Upgrade(old, w))
		now[text] = e
	}
	return now
}

// written is told that an entity of v is being put: from then on all of the view's are v's.
func (m model) written(v *features.View) {
	m.entities[v.Name] = m.as(v)
	m.machines[v.Name] = v.Machine
}

// dropUnknown forgets views that p does not know, as the first commit under p does.
func (m model) dropUnknown(p *features.Project) {
	for name := range m.entities {
		if !slices.ContainsFunc(p.Views, func(v *features.View) bool { return v.Name == name }) {
			delete(m.entities, name)
			delete(m.machines, name)
		}
	}
}

// run is one random history.
type run struct {
	t    *rapid.T
	fs   *vfs.MemFS
	s    *state.Store
	p    *features.Project
	all  []*features.Project // compatible with one another, but for nothing
	now  model
	open func() *state.Store
}

// TestStore_BehavesAsTheModel loads, puts, deletes, commits, discards, reopens, crashes and changes definitions at random, beside the model.
func TestStore_BehavesAsTheModel(t *testing.T) {
	all := []*features.Project{
		project("both", view(t, "users", clicks, spend), view(t, "zones", recent)),
		project("turned", view(t, "zones", recent), view(t, "users", clicks, spend)),
		project("gained", view(t, "users", clicks, recent, spend), view(t, "zones", recent, clicks)),
		project("lost", view(t, "users", clicks), view(t, "zones", clicks)),
		project("one view", view(t, "users", spend, clicks)),
	}
	rapid.Check(t, func(t *rapid.T) {
		r := &run{t: t, fs: vfs.NewCrashableMem(), all: all, p: all[0], now: model{entities: map[string]map[string]modelEntity{}, machines: map[string]*windows.Machine{}}}
		cacheBytes := rapid.SampledFrom([]int64{1, 4 << 10, 1 << 20}).Draw(t, "cache")
		r.open = func() *state.Store {
			s, err := state.Open("data", r.p, state.Options{FS: r.fs, CacheBytes: cacheBytes})
			if err != nil {
				t.Fatalf("open: %v", err)
			}
			return s
		}
		r.s = r.open()
		defer func() { r.s.Close() }()
		t.Repeat(map[string]func(*rapid.T){
			"batch":     r.batch,
			"batches":   r.batch, // twice as often
			"reopen":    r.reopen,
			"crash":     r.crash,
			"redefine":  r.redefine,
			"":          r.check,
			"far ahead": r.dueInOrder,
		})
	})
}

func (r *run) batch(t *rapid.T) {
	next := r.now.clone()
	next.position++
	next.dropUnknown(r.p)
	c := r.s.Begin()
	for i, v := range r.p.Views {
		texts := rapid.SliceOfNDistinct(rapid.StringMatching(`[a-d][\x00-\x02]?`), 0, 6, rapid.ID[string]).Draw(t, "texts of "+v.Name)
		slices.Sort(texts)
		for chunk := range slices.Chunk(texts, rapid.IntRange(1, 4).Draw(t, "chunk")) {
			r.change(t, c, next, i, chunk)
		}
	}
	if rapid.IntRange(0, 3).Draw(t, "discard") == 0 {
		c.Discard()
		return
	}
	if err := c.Commit(context.Background(), at(next.position)); err != nil {
		t.Fatalf("commit: %v", err)
	}
	c.Discard() // does nothing
	r.now = next
}

// change loads, and puts, deletes or leaves alone, the same in the store and in the model.
func (r *run) change(t *rapid.T, c batch.Change, next model, index int, texts []string) {
	v := r.p.Views[index]
	before := next.as(v)
	entities, err := c.Load(index, texts)
	if err != nil {
		t.Fatalf("load: %v", err)
	}
	for i, e := range entities {
		want, known := before[texts[i]]
		if !known {
			want = modelEntity{windows: v.Machine.Append(nil, v.Machine.New()), timers: noTimers()}
		}
		r.same(v, e, texts[i], want)
	}
	for _, e := range entities {
		switch rapid.IntRange(0, 5).Draw(t, "what") {
		case 0:
			err = c.Delete(e)
			delete(next.entities[v.Name], e.Text)
		case 1: // loaded only: what was done to it is not to be seen
			click(r.p, e, start, 77)
			continue
		default:
			r.mutate(t, e, next.position)
			if next.machines[v.Name] == nil {
				next.machines[v.Name] = v.Machine
			}
			next.written(v)
			next.entities[v.Name][e.Text] = modelEntity{v.Machine.Append(nil, e.Windows), e.Published, e.Timers}
			err = c.Put(e)
		}
		if err != nil {
			t.Fatalf("put or delete: %v", err)
		}
	}
}

func (r *run) mutate(t *rapid.T, e *batch.Entity, sequence uint64) {
	click(r.p, e, start+rapid.Int64Range(0, 100).Draw(t, "event time")*second, rapid.Int64Range(-5, 5).Draw(t, "amount"))
	for clock := range e.Timers {
		e.Timers[clock] = rapid.SampledFrom([]int64{e.Timers[clock], windows.Never, windows.NoTime, -1, start, start + second, start + hour}).Draw(t, "timer")
	}
	if rapid.Bool().Draw(t, "publish") {
		e.Published = batch.Published{
			Version: at(sequence).Version, Frontier: at(sequence).Frontier, Watermark: rapid.SampledFrom([]int64{windows.NoTime, start}).Draw(t, "watermark"),
			Schema: rapid.SampledFrom([]string{r.p.Views[e.View].Schema.ID, "elsewhere"}).Draw(t, "schema"),
		}
		if e.Published.Tombstone = rapid.Bool().Draw(t, "tombstone"); e.Published.Tombstone {
			e.Published.Until = start + 7*24*hour
		}
	}
}

func (r *run) reopen(t *rapid.T) {
	if err := r.s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
	r.s = r.open()
}

// crash cuts the power, perhaps with a change open.
func (r *run) crash(t *rapid.T) {
	if rapid.Bool().Draw(t, "in a batch") {
		c := r.s.Begin()
		if err := upsert(c, 0, []string{"a", "b"}, func(e *batch.Entity) { click(r.p, e, start, 99) }); err != nil {
			t.Fatalf("put: %v", err)
		}
	}
	r.fs, _ = r.fs.CrashClone(vfs.CrashCloneCfg{}), r.s.Close()
	r.s = r.open()
}

func (r *run) redefine(t *rapid.T) {
	p := rapid.SampledFrom(r.all).Draw(t, "definitions")
	if !r.fits(p) {
		if err := r.s.Rebind(p); err == nil {
			t.Fatalf("rebind to %s: no error", p.Text)
		}
		return
	}
	r.p = p
	if rapid.Bool().Draw(t, "by reopening") {
		r.reopen(t)
	} else if err := r.s.Rebind(p); err != nil {
		t.Fatalf("rebind to %s: %v", p.Text, err)
	}
}

func (r *run) fits(p *features.Project) bool {
	for _, v := range p.Views {
		if old := r.now.machines[v.Name]; old != nil && v.Machine.Compatible(old) != nil {
			return false
		}
	}
	return true
}

// check compares all that can be seen with the model.
func (r *run) check(t *rapid.T) {
	p, found := r.s.Position()
	if found != (r.now.position > 0) || p.Version.Sequence != r.now.position {
		t.Fatalf("position %v, found %t; want sequence %d", p.Version, found, r.now.position)
	}
	for i, v := range r.p.Views {
		want := r.now.as(v)
		var texts []string
		err := r.s.Scan(context.Background(), i, "", func(e *batch.Entity) error {
			texts = append(texts, e.Text)
			if w, known := want[e.Text]; known {
				r.same(v, e, e.Text, w)
			}
			return nil
		})
		if err != nil {
			t.Fatalf("scan: %v", err)
		}
		if all := slices.Sorted(maps.Keys(want)); !slices.Equal(texts, all) {
			t.Fatalf("view %s has entities %q, want %q", v.Name, texts, all)
		}
		r.looks(t, i, want)
		if n := r.s.Metrics().Entities[v.Name]; n != int64(len(want)) {
			t.Fatalf("view %s counts %d entities, want %d", v.Name, n, len(want))
		}
	}
	r.timers(t, start)
}

// looks compares what people look entities up by.
func (r *run) looks(t *rapid.T, index int, want map[string]modelEntity) {
	if v, i := r.s.View(r.p.Views[index].Name); v != r.p.Views[index] || i != index {
		t.Fatalf("view %s is found as %v, %d", r.p.Views[index].Name, v, i)
	}
	for _, text := range []string{"a", "b", "c\x00"} {
		w, known := want[text]
		e, found, err := r.s.Entity(index, text)
		if found != known || err != nil {
			t.Fatalf("entity %q: found %t, error %v; want %t", text, found, err, known)
		}
		if found {
			r.same(r.p.Views[index], e, text, w)
		}
	}
}

func (r *run) dueInOrder(t *rapid.T) { r.timers(t, windows.Never) }

// timers compares Due and Next with the model.
func (r *run) timers(t *rapid.T, until int64) {
	for clock := range batch.TimerClocks {
		type fire struct {
			at         int64
			view, text string
		}
		var fires []fire
		for _, v := range r.p.Views {
			for text, e := range r.now.entities[v.Name] {
				if e.timers[clock] != windows.Never {
					fires = append(fires, fire{e.timers[clock], v.Name, text})
				}
			}
		}
		slices.SortFunc(fires, func(a, b fire) int {
			return cmp.Or(cmp.Compare(a.at, b.at), strings.Compare(a.view, b.view), strings.Compare(a.text, b.text))
		})
		first := int64(windows.Never)
		var want, got []string
		for _, f := range fires {
			first = min(first, f.at)
			if f.at <= until {
				want = append(want, fmt.Sprintf("%s %q", f.view, f.text))
			}
		}
		err := r.s.Due(clock, until, func(view int, text string) error {
			got = append(got, fmt.Sprintf("%s %q", r.p.Views[view].Name, text))
			return nil
		})
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("due by clock %d: %q, error %v; want %q", clock, got, err, want)
		}
		if next, err := r.s.FirstTimer(clock); err != nil || next != first {
			t.Fatalf("first timer by clock %d: %d, error %v; want %d", clock, next, err, first)
		}
		if next, err := r.s.Next(clock); err != nil || next != first {
			t.Fatalf("next by clock %d: %d, error %v; want %d", clock, next, err, first)
		}
	}
}

func (r *run) same(v *features.View, e *batch.Entity, text string, want modelEntity) {
	got := modelEntity{v.Machine.Append(nil, e.Windows), e.Published, e.Timers}
	if e.Text != text || r.p.Views[e.View] != v || got.published != want.published || got.timers != want.timers || !bytes.Equal(got.windows, want.windows) {
		r.t.Fatalf("view %s, entity %q: have %q %+v, want %+v", v.Name, text, e.Text, got, want)
	}
}

func noTimers() (timers [batch.TimerClocks]int64) {
	for clock := range timers {
		timers[clock] = windows.Never
	}
	return timers
}
