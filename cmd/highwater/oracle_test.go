package main

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"highwater/batch/decode"
	"highwater/batch/kafka"
	"highwater/examples"
	"highwater/features"
	"highwater/testutil/e2e"
)

// TestExamples_EveryValueIsTheOracles feeds each example's real events in chunks through the whole pipeline. After each chunk every feature of every entity of every view, asked for over HTTP, must be what the oracle computes from
// the CSV rows; entities that come only later must not be there; and frontier, watermark and counts must be as the events say.
func TestExamples_EveryValueIsTheOracles(t *testing.T) {
	for _, c := range []struct {
		example    string
		partitions int
		jitter     time.Duration // by how much events are moved out of their order
	}{
		{"ads", 1, 0}, {"ads", 3, 0}, {"logs", 1, 0}, {"surge", 1, 0},
		{"ads", 200, 0}, // more than the groups of users give keys to: some stay empty, and hold the watermark until the last plan
		{"surge", 3, 90 * time.Second},
	} {
		name := fmt.Sprintf("%s/%d partitions", c.example, c.partitions)
		if c.jitter > 0 {
			name += " out of order"
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := exampleProject(t, c.example)
			_, gz := examples.Events(c.example)
			rows, events := exampleRows(t, c.example, p), e2e.Events(t, gz, p.Sources[0])
			if len(rows) != len(events) {
				t.Fatalf("the loader reads %d rows, the oracle %d", len(rows), len(events))
			}
			if c.jitter > 0 {
				disorder(rows, events, c.jitter)
			}
			checkChunks(t, p, c.partitions, rows, events)
		})
	}
}

// checkChunks feeds the rows in 11 chunks and compares after each, and once more after the last plan.
func checkChunks(t *testing.T, p *features.Project, partitions int, rows []kafka.Row, events []e2e.Event) {
	const chunks = 11
	p.Batch.Interval = 20 * time.Millisecond
	p.Batch.MaxRecords = 1700
	pl := startPipeline(t, p, pipelineOptions{partitions: partitions})
	w, whole := e2e.NewWorld(p, partitions), e2e.NewWorld(p, partitions)
	for _, e := range events {
		whole.Tell(e)
	}
	compared, absent, told := 0, 0, 0
	for chunk := 1; chunk <= chunks; chunk++ {
		upTo := len(rows) * chunk / chunks
		pl.load(rowsOf(rows[:upTo]))
		for ; told < upTo; told++ {
			w.Tell(events[told])
		}
		pl.awaitEvents(int64(upTo))
		checkMarks(t, pl, w, false)
		compared += w.Check(t, pl.client, false)
		absent += w.CheckAbsent(t, pl.client, whole)
	}
	pl.drain()
	checkMarks(t, pl, w, true)
	compared += w.Check(t, pl.client, true)
	if compared == 0 || absent == 0 {
		t.Fatal("nothing was compared")
	}
	if n := tombstones(t, pl); n != w.Expired() {
		t.Errorf("Redis holds %d tombstones, want one for each of %d entities that have outlived their ttl", n, w.Expired())
	}
	if err := pl.stop(); err != nil {
		t.Fatal(err)
	}
	t.Logf("compared %d values and found %d entities absent; %d events were late, %d partitions are empty, %d entities expired", compared, absent, w.Late, w.Empty(), w.Expired())
}

// tombstones counts the vectors in Redis that are only there to say that something has expired.
func tombstones(t *testing.T, pl *pipeline) (n int) {
	t.Helper()
	for _, v := range storedVectors(t, pl.redis.Addr(), pl.project.Name) {
		if v.Tombstone {
			n++
		}
	}
	return n
}

// checkMarks compares the task's position with what the events say.
func checkMarks(t *testing.T, pl *pipeline, w *e2e.World, final bool) {
	t.Helper()
	p, stale, divergent := pl.engine.task.Position()
	if p.Frontier != w.Frontier() || p.Watermark != w.Watermark(final) {
		t.Fatalf("frontier %d, watermark %d; want %d, %d", p.Frontier, p.Watermark, w.Frontier(), w.Watermark(final))
	}
	if c := p.Counters; c.Events != w.Events || c.Late != w.Late || c.DeadLetter != 0 || len(c.LateFeature) != 0 || len(c.Keyless) != 0 || stale != 0 || divergent != 0 {
		t.Fatalf("counters %+v, stale %d, divergent %d; want %d events of which %d are late, and nothing else", c, stale, divergent, w.Events, w.Late)
	}
}

// exampleProject returns a shipped example's definitions.
func exampleProject(t testing.TB, example string) *features.Project {
	t.Helper()
	p, err := features.Parse(example+"/definitions.yaml", examples.Definitions(example))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// exampleRows returns a shipped example's events as dev loads them.
func exampleRows(t testing.TB, example string, p *features.Project) []kafka.Row {
	t.Helper()
	name, gz := examples.Events(example)
	events, err := decode.NewEvents(name, bytes.NewReader(gz), p.Sources[0])
	if err != nil {
		t.Fatal(err)
	}
	var rows []kafka.Row
	for row, err := range loadRows(events) {
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}

// disorder swaps events with others that are at most so much later, alike in both.
func disorder(rows []kafka.Row, events []e2e.Event, most time.Duration) {
	r := rand.New(rand.NewPCG(1, 2))
	for i := range events {
		j := min(i+r.IntN(4), len(events)-1)
		if events[j].Time-events[i].Time <= most.Microseconds() {
			rows[i], rows[j] = rows[j], rows[i]
			events[i], events[j] = events[j], events[i]
		}
	}
}
