package batch

import (
	"context"
	"slices"
	"strings"

	"highwater/features"
	"highwater/windows"
)

// chunkEntities is how many entities are transformed and published together: enough to fill a few pipelines, few enough to bound what a batch holds in memory.
// publishers is how many chunks are on their way to the sinks at a time: while one is answered, the next is encoded.
const (
	chunkEntities = 4000
	publishers    = 2
)

// chunk is the vectors of one stretch of entities, on their way to the sinks.
type chunk struct {
	vectors []features.Vector
	values  []windows.Value // backs the vectors' Values
	newest  []int64         // µs: of each entity with events in the batch, the newest one's time
}

// transformer applies one batch to the state, and hands on the vectors that changed, chunk by chunk.
type transformer struct {
	in       *input
	change   Change
	state    State
	tomb     int64 // µs: how long sinks remember tombstones
	counters *Counters
	metrics  *Metrics
	emit     func(ctx context.Context, c *chunk) error // takes the chunk over
	chunks   func() *chunk                             // an empty one
	redone   func(view int) bool                       // whether all of the view's vectors are to be written, because its shape changed

	event windows.Event
}

// run transforms the whole batch, view by view, entity by entity in the order of their texts (I3).
func (t *transformer) run(ctx context.Context) error {
	due, err := t.due()
	if err != nil {
		return err
	}
	for view := range t.in.views {
		if t.redone(view) {
			if due[view], err = t.all(ctx, view); err != nil {
				return err
			}
		}
		if err := t.view(ctx, view, due[view]); err != nil {
			return err
		}
	}
	return nil
}

// due returns, by view, the entities that a timer wants looked at, sorted, each once.
func (t *transformer) due() ([][]string, error) {
	due := make([][]string, len(t.in.views))
	until := [TimerClocks]int64{ByFrontier: t.in.after.frontier, ByWatermark: t.in.after.watermark, ByReading: t.in.plan.Clock}
	for clock, at := range until {
		if at == windows.NoTime {
			continue
		}
		err := t.state.Due(TimerClock(clock), at, func(view int, text string) error {
			due[view] = append(due[view], text)
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for view := range due {
		slices.Sort(due[view])
		due[view] = slices.Compact(due[view])
	}
	return due, nil
}

// all returns every entity of a view.
func (t *transformer) all(ctx context.Context, view int) ([]string, error) {
	var texts []string
	err := t.state.Scan(ctx, view, "", func(e *Entity) error {
		texts = append(texts, e.Text)
		return nil
	})
	return texts, err
}

// view merges a view's entities with events and those that are due, and transforms them chunk by chunk.
func (t *transformer) view(ctx context.Context, view int, due []string) error {
	rows := t.in.views[view]
	tally := rows.view.Machine.NewTally()
	texts := make([]string, 0, chunkEntities)
	places := make([]int32, 0, chunkEntities) // in rows.sorted; -1 for an entity that is only due
	flush := func() error {
		if len(texts) == 0 {
			return nil
		}
		err := t.entities(ctx, view, texts, places, tally)
		texts, places = texts[:0], places[:0]
		return err
	}
	for i, j := 0, 0; i < len(rows.sorted) || j < len(due); {
		order := 1
		if i < len(rows.sorted) {
			order = -1
			if j < len(due) {
				order = strings.Compare(rows.texts[rows.sorted[i]], due[j])
			}
		}
		if order <= 0 {
			texts, places = append(texts, rows.texts[rows.sorted[i]]), append(places, int32(i))
			i++
		} else {
			texts, places = append(texts, due[j]), append(places, -1)
		}
		if order >= 0 {
			j++
		}
		if len(texts) == chunkEntities {
			if err := flush(); err != nil {
				return err
			}
		}
	}
	if err := flush(); err != nil {
		return err
	}
	t.count(rows, tally)
	return nil
}

// entities transforms one chunk of a view's entities and emits their vectors.
func (t *transformer) entities(ctx context.Context, view int, texts []string, places []int32, tally *windows.Tally) error {
	entities, err := t.change.Load(view, texts)
	if err != nil {
		return err
	}
	out := t.chunks()
	for i, e := range entities {
		if places[i] >= 0 {
			out.newest = append(out.newest, t.apply(e, places[i], tally))
		}
		if err := t.advance(e, places[i] >= 0, out, tally); err != nil {
			return err
		}
	}
	return t.emit(ctx, out)
}

// apply adds an entity's events to its windows, in the order of the log, and returns the newest one's time.
func (t *transformer) apply(e *Entity, place int32, tally *windows.Tally) (newest int64) {
	rows := t.in.views[e.View]
	of := rows.of(place)
	newest = of[0].time
	for i := range of {
		newest = max(newest, of[i].time)
		rows.event(&of[i], &t.event)
		rows.view.Machine.Apply(e.Windows, &t.event, t.in.before.watermark, tally)
	}
	return newest
}

// advance moves an entity to the batch's frontier and watermark, stores it, and adds its vector to out unless nothing of it shows.
func (t *transformer) advance(e *Entity, hasEvents bool, out *chunk, tally *windows.Tally) error {
	view, plan, at := t.in.views[e.View].view, t.in.plan, t.in.after
	start := len(out.values)
	res := view.Machine.Advance(e.Windows, at.frontier, at.watermark, out.values, tally)
	e.Timers[ByFrontier], e.Timers[ByWatermark] = res.Frontier, res.Watermark
	v := features.Vector{View: view, Entity: e.Text, Version: plan.Version, Frontier: at.frontier, EventTime: e.Windows.EventTime(), Tombstone: res.Expired}
	if res.Expired && e.Published.Tombstone && !hasEvents { // its decays are silent behind the tombstone
		if res.Empty && e.Published.Until <= plan.Clock {
			return t.change.Delete(e)
		}
		e.Timers[ByReading] = e.Published.Until
		if e.Published.Until <= plan.Clock {
			e.Timers[ByReading] = windows.Never
		}
		return t.change.Put(e)
	}
	e.Published = Published{Version: plan.Version, Frontier: at.frontier, Watermark: at.watermark, Tombstone: res.Expired, Schema: view.Schema.ID}
	e.Timers[ByReading] = windows.Never
	if res.Expired {
		e.Published.Until = plan.Clock + t.tomb
		e.Timers[ByReading] = e.Published.Until
		t.metrics.tombstones.Inc()
	} else {
		out.values = res.Values
		v.Values = res.Values[start:len(res.Values):len(res.Values)]
	}
	out.vectors = append(out.vectors, v)
	t.counters.VectorsWritten++
	return t.change.Put(e)
}

// count adds what a view's events met to the counters that are committed with the batch.
func (t *transformer) count(rows *viewRows, tally *windows.Tally) {
	view := rows.view.Name
	if rows.keyless > 0 {
		addTo(&t.counters.Keyless, view, rows.keyless)
	}
	for i, f := range rows.view.Features {
		addTo(&t.counters.LateFeature, view+":"+f.Name, tally.Late[i])
		addTo(&t.counters.Nulled, view+":"+f.Name+":overflow", tally.Overflow[i])
		addTo(&t.counters.Nulled, view+":"+f.Name+":limit", tally.Limit[i])
	}
}

func addTo(m *map[string]int64, key string, n int64) {
	if n == 0 {
		return
	}
	if *m == nil {
		*m = map[string]int64{}
	}
	(*m)[key] += n
}
