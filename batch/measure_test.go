package batch_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"highwater/batch"
	"highwater/features"
)

// gauges reads a registry: what a metric with these labels (name, value, …) holds, and a histogram's count and sum; ok is false where there is no such series.
type gauges struct {
	t        testing.TB
	registry *prometheus.Registry
}

func (g gauges) find(name string, labels ...string) *dto.Metric {
	g.t.Helper()
	families, err := g.registry.Gather()
	if err != nil {
		g.t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "highwater_"+name {
			continue
		}
		for _, m := range f.GetMetric() {
			matches := true
			for i := 0; i < len(labels); i += 2 {
				has := false
				for _, l := range m.GetLabel() {
					has = has || l.GetName() == labels[i] && l.GetValue() == labels[i+1]
				}
				matches = matches && has
			}
			if matches {
				return m
			}
		}
	}
	return nil
}

func (g gauges) value(name string, labels ...string) float64 {
	g.t.Helper()
	m := g.find(name, labels...)
	if m == nil {
		g.t.Fatalf("there is no series %s%v", name, labels)
	}
	return m.GetGauge().GetValue() + m.GetCounter().GetValue()
}

func (g gauges) want(want float64, name string, labels ...string) {
	g.t.Helper()
	if got := g.value(name, labels...); got != want {
		g.t.Errorf("%s%v is %v, want %v", name, labels, got, want)
	}
}

// measured is a project with the wall clock, a registry, and what makes a task use it.
func measured(t testing.TB, change ...func(*features.Project)) (*features.Project, gauges, func(*batch.Options)) {
	p := project(t, append([]func(*features.Project){func(p *features.Project) { p.Clock = features.WallClock }}, change...)...)
	g := gauges{t, prometheus.NewRegistry()}
	return p, g, func(o *batch.Options) { o.Metrics = batch.NewMetrics(g.registry) }
}

// clicks are events of the given users, each so long after from.
func clicks(from time.Time, after ...time.Duration) []batch.Record {
	var log []batch.Record
	for i, d := range after {
		ts := from.Add(d)
		value, _ := json.Marshal(event{User: fmt.Sprintf("u%d", i%2), Kind: "click", Price: 1, TS: ts.UnixMilli()})
		log = append(log, batch.Record{Offset: int64(i), Time: ts.UnixMicro(), Value: value})
	}
	return log
}

// Lag is measured from the newest event of each entity in the batch to the sinks' confirmation; vectors that only decay have none.
func TestMetrics_LagFromEventToPublished(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, g, configure := measured(t)
		// u0: 2 s and 4 s before they come; u1: 3 s, and one that is 1 min ahead of its time (and absurd to nobody: max_future is 10 min).
		log := clicks(time.Now(), -4*time.Second, -3*time.Second, -2*time.Second)
		log = append(log, clicks(time.Now(), 0, time.Minute)[1])
		log[3].Offset = 3
		live(t, p, log, func(a *arriving, _ *world, batches chan batch.Stats) {
			a.come(3)
			<-batches // cut after the interval of 5 s
			lag := g.find("published_lag_seconds", "view", "users").GetHistogram()
			if lag.GetSampleCount() != 2 || lag.GetSampleSum() != 7+8 {
				t.Errorf("lag of the users: %d vectors, %v s in all; want 2 (one a user, by its newest event), 7 s and 8 s", lag.GetSampleCount(), lag.GetSampleSum())
			}
			for _, b := range lag.GetBucket() {
				if want := map[bool]uint64{true: 0, false: 1}[b.GetUpperBound() < 7]; b.GetUpperBound() <= 7.5 && b.GetCumulativeCount() != want {
					t.Errorf("%d vectors took at most %v s, want %d", b.GetCumulativeCount(), b.GetUpperBound(), want)
				}
			}
			a.come(1)
			<-batches
			if lag = g.find("published_lag_seconds", "view", "users").GetHistogram(); lag.GetSampleCount() != 3 || lag.GetSampleSum() != 15 {
				t.Errorf("after an event from the future: %d vectors, %v s in all; want 3, and no more time", lag.GetSampleCount(), lag.GetSampleSum())
			}
			for range 30 { // what decays meanwhile was published again
				<-batches
			}
			if n := g.find("published_lag_seconds", "view", "users").GetHistogram().GetSampleCount(); n != 3 || g.value("vectors_total") <= 6 {
				t.Errorf("after the windows have slid: %d lags and %v vectors, want still 3 lags, and more vectors than events made", n, g.value("vectors_total"))
			}
		}, configure)
	})
}

// With the event clock events may be history: there is no lag, and a partition's delay is how far it is behind the others.
func TestMetrics_EventClockMeasuresNoLag(t *testing.T) {
	g := gauges{t, prometheus.NewRegistry()}
	ago := time.Now().Add(-10_000 * time.Hour)
	w := newWorld(project(t), [][]batch.Record{clicks(ago, 0), clicks(ago, time.Minute), nil})
	if err := w.run(t, func(o *batch.Options) { o.Metrics = batch.NewMetrics(g.registry) }); err != nil {
		t.Fatal(err)
	}
	if g.find("published_lag_seconds") != nil {
		t.Error("a lag was measured")
	}
	lateness := w.project.Sources[0].MaxLateness.Seconds()
	g.want(60+lateness, "watermark_delay_seconds", "partition", "0")
	g.want(lateness, "watermark_delay_seconds", "partition", "1")
	g.want(math.Inf(1), "watermark_delay_seconds", "partition", "2")
}

// A task that cannot publish must not look as well as it last was: its delays grow with the clock.
func TestMetrics_AStalledTaskFallsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, g, configure := measured(t, func(p *features.Project) { p.Batch.MaxRecords = 100 })
		lateness := p.Sources[0].MaxLateness.Seconds()
		live(t, p, steadyLog(500, time.Now()), func(a *arriving, w *world, batches chan batch.Stats) {
			a.come(1)
			<-batches
			time.Sleep(time.Second)
			synctest.Wait()
			g.want(6+lateness, "watermark_delay_seconds", "topic", p.Sources[0].Topic, "partition", "0")
			g.want(0, "records_behind", "partition", "0")
			g.want(0, "backlog_batches")
			g.want(0, "backlog_intervals")

			var down atomic.Bool
			down.Store(true)
			w.mu.Lock()
			w.fail = func(call string) error {
				if call == "before publish" && down.Load() {
					return busy{}
				}
				return nil
			}
			w.mu.Unlock()
			a.come(250)
			time.Sleep(64 * time.Second) // 70 s after the first event
			synctest.Wait()
			g.want(70+lateness, "watermark_delay_seconds", "partition", "0")
			g.want(250, "records_behind", "partition", "0")
			g.want(2.5, "backlog_batches")
			g.want(13, "backlog_intervals") // 65 s since the first batch was planned
			if n := g.value("sink_errors_total", "sink", "store", "kind", batch.KindMemory); n < 12 || g.value("sink_errors_total", "sink", "store", "kind", batch.KindOther) != 0 {
				t.Errorf("%v errors of the kind memory in a minute, want one at least every 5 s, and no others", n)
			}
			if lasts := g.value("trouble_seconds", "what", "store"); lasts < 60 || lasts > 65 {
				t.Errorf("the trouble with the sink lasts %v s, want about 64", lasts)
			}
			g.want(0, "trouble_seconds", "what", "kafka")
			if age := g.value("heartbeat_age_seconds"); age > 2 { // heartbeats go on
				t.Errorf("the last heartbeat is %v s old", age)
			}
			down.Store(false)
			for behind := 250.0; behind > 0; behind = g.value("records_behind", "partition", "0") {
				time.Sleep(time.Second)
				synctest.Wait()
			}
			g.want(0, "backlog_intervals")
			g.want(0, "trouble_seconds", "what", "store")
		}, configure)
	})
}

// denied is a source that still says where its logs end, and lets nobody read them while why is not nil.
type denied struct {
	batch.Source
	why atomic.Pointer[error]
}

func (d *denied) Stalled() error {
	if why := d.why.Load(); why != nil {
		return *why
	}
	return nil
}

// A source that cannot be read is trouble with Kafka at each heartbeat, although it answers.
func TestMetrics_ASourceThatCannotBeReadIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, g, configure := measured(t)
		var d denied
		live(t, p, steadyLog(10, time.Now()), func(a *arriving, _ *world, batches chan batch.Stats) {
			a.come(1)
			<-batches
			g.want(0, "source_errors_total")
			g.want(0, "trouble_seconds", "what", "kafka")
			why := errors.New("the right to read it was taken away")
			d.why.Store(&why)
			time.Sleep(time.Minute)
			synctest.Wait()
			if n, lasts := g.value("source_errors_total"), g.value("trouble_seconds", "what", "kafka"); n < 29 || n > 31 || lasts < 57 || lasts > 60 {
				t.Errorf("in a minute %v heartbeats have failed, and the trouble lasts %v s", n, lasts)
			}
			d.why.Store(nil)
			time.Sleep(2 * time.Second)
			synctest.Wait()
			g.want(0, "trouble_seconds", "what", "kafka")
		}, configure, func(o *batch.Options) { d.Source, o.Source = o.Source, &d })
	})
}

// busy is an error that says its kind.
type busy struct{}

func (busy) Error() string { return "out of memory" }
func (busy) Kind() string  { return batch.KindMemory }

// A partition that is idle holds nothing up: it has no delay, until something waits in it.
func TestMetrics_AnIdlePartitionHasNoDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, g, configure := measured(t)
		live(t, p, steadyLog(10, time.Now()), func(a *arriving, _ *world, batches chan batch.Stats) {
			if <-batches; g.find("watermark_delay_seconds") != nil {
				t.Error("a partition in which nothing has come has a delay")
			}
			a.come(1)
			<-batches
			if g.find("watermark_delay_seconds") == nil {
				t.Error("the partition has no delay while it has events")
			}
			time.Sleep(p.Sources[0].IdleAfter + 2*p.Batch.Interval)
			synctest.Wait()
			if g.find("watermark_delay_seconds") != nil {
				t.Error("the partition is idle, and still has a delay")
			}
		}, configure)
	})
}

// slowSink takes its time.
type slowSink struct {
	*store
	takes *atomic.Int64 // ns
}

func (s slowSink) Publish(ctx context.Context, out *batch.Output) (batch.Outcome, error) {
	time.Sleep(time.Duration(s.takes.Load())) // in the bubble: no real time passes
	return s.store.Publish(ctx, out)
}

// Takes has the sink asked about vectors only.
func (slowSink) Takes(out *batch.Output) bool { return len(out.Vectors) > 0 }

func TestMetrics_SlowBatchesInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, g, configure := measured(t)
		takes := &atomic.Int64{}
		log := steadyLog(100, time.Now())
		log[1].Value = []byte("no event") // a dead letter, which the sink does not take
		live(t, p, log, func(a *arriving, _ *world, batches chan batch.Stats) {
			for i, step := range []struct {
				takes time.Duration
				slow  float64
			}{{time.Second, 0}, {3*time.Second + time.Millisecond, 1}, {4 * time.Second, 2}, {3100 * time.Millisecond, 3}, {2 * time.Second, 0}} {
				takes.Store(int64(step.takes))
				a.come(2)
				for s := range batches { // some have no vector
					if s.Records > 0 {
						break
					}
				}
				synctest.Wait()
				g.want(step.slow, "slow_batches")
				g.want(step.takes.Seconds()/5, "batch_interval_ratio")
				if n := g.find("publish_seconds", "sink", "store").GetHistogram().GetSampleCount(); n != uint64(2*(i+1)) {
					t.Errorf("%d publications measured after %d batches of two parts, a view each", n, i+1)
				}
			}
			if s := g.find("batch_seconds").GetHistogram().GetSampleSum(); math.Abs(s-13.101) > 1e-6 {
				t.Errorf("all batches together took %v s, want 13.101", s)
			}
			g.want(5, "batch_interval_seconds")
			g.want(2.5, "batch_target_seconds")
			g.want(30, "objective_seconds", "kind", "published_lag")
			g.want(30+p.Sources[0].MaxLateness.Seconds(), "objective_seconds", "kind", "watermark_delay")
		}, configure, func(o *batch.Options) {
			w := o.Sinks[0].(*store)
			o.Sinks = []batch.Sink{slowSink{w, takes}}
		})
	})
}

// A failure that stops the task is counted too, although it is not retried.
func TestMetrics_AFatalSinkErrorIsCounted(t *testing.T) {
	g := gauges{t, prometheus.NewRegistry()}
	w := newWorld(project(t), [][]batch.Record{clicks(time.Now(), 0)})
	w.fail = func(call string) error {
		if call == "before publish" {
			return batch.Permanent(busy{})
		}
		return nil
	}
	if err := w.run(t, func(o *batch.Options) { o.Metrics = batch.NewMetrics(g.registry) }); !errors.As(err, &busy{}) {
		t.Fatalf("the task ended with %v, want the sink's error", err)
	}
	if g.value("sink_errors_total", "sink", "store", "kind", batch.KindMemory) == 0 { // one of each part that was on its way
		t.Error("the error is not counted")
	}
	g.want(1, "batches_total", "trigger", "drain", "outcome", "failed")
}

// A task that is opened again in the same process goes on counting, and its objective may be another.
func TestMetrics_GoOnAfterAReopening(t *testing.T) {
	g := gauges{t, prometheus.NewRegistry()}
	w := newWorld(project(t), [][]batch.Record{clicks(time.Now(), 0, time.Second, 2*time.Second)})
	for i := range 3 {
		w.avail[0] = i + 1
		err := w.run(t, func(o *batch.Options) {
			o.Metrics, o.Objective = batch.NewMetrics(g.registry), time.Duration(i+1)*time.Minute
		})
		if err != nil {
			t.Fatal(err)
		}
		g.want(float64(i+1), "records_total")
		g.want(float64(60*(i+1)), "objective_seconds", "kind", "published_lag")
		g.want(0, "records_behind", "partition", "0")
	}
}

// A republish shows while it lasts, and what it wrote stays to be seen.
func TestMetrics_Republish(t *testing.T) {
	g := gauges{t, prometheus.NewRegistry()}
	w := newWorld(project(t), [][]batch.Record{clicks(time.Now(), 0, time.Second, 2*time.Second)})
	run := func(configure ...func(*batch.Options)) {
		t.Helper()
		if err := w.run(t, append(configure, func(o *batch.Options) { o.Metrics = batch.NewMetrics(g.registry) })...); err != nil {
			t.Fatal(err)
		}
	}
	run()
	g.want(0, "republishing")
	g.want(0, "republish_written_vectors")
	w.key = nil // the store has lost it
	during := -1.0
	w.fail = func(call string) error {
		if call == "before restore" {
			during = g.value("republishing")
		}
		return nil
	}
	w.avail[0] = len(w.log[0])
	run()
	if during != 1 {
		t.Errorf("republishing is %v right before the task key moves again, want 1", during)
	}
	written := g.value("republished_total")
	if written == 0 {
		t.Fatal("nothing was written again: does the task still notice a missing task key?")
	}
	g.want(0, "republishing")
	g.want(written, "republish_written_vectors")
	g.want(0, "republish_remaining_vectors")
}

// What a vector's lag costs: a few ns, and no allocation.
func BenchmarkLag(b *testing.B) {
	observe := batch.NewLag()
	now := time.Now().UnixMicro()
	events := make([]int64, 4000)
	for i := range events {
		events[i] = now - int64(i)*2000 // up to 8 s ago
	}
	b.ReportAllocs()
	for b.Loop() {
		observe("users", now, events)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(events)), "ns/vector")
}
