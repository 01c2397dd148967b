package kafka_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"highwater/batch"
	"highwater/batch/kafka"
	"highwater/batch/kafka/embedded"
)

// disturbed is the embedded broker as a cluster, which can be disturbed. Its topics are made at its start.
type disturbed struct {
	cluster // none: what a test does not use panics
	*embedded.Broker
}

func (d *disturbed) Brokers() []string { return d.Addrs() }
func (d *disturbed) DeleteRecords(topic string, partition int32, before int64) error {
	return d.Broker.DeleteRecords(topic, partition, before)
}

func newDisturbed(t *testing.T, topic string, partitions int) *disturbed {
	t.Helper()
	b, err := embedded.Start(embedded.Options{DataDir: t.TempDir(), Topics: map[string]int{topic: partitions}})
	must(t, err)
	t.Cleanup(func() { must(t, b.Close()) })
	return &disturbed{Broker: b}
}

// TestDisturbed_EveryRecordOnce: whatever a broker answers for a while, to readers and to writers, every record is read once and in its place; one act at a time, and then all of them mixed.
func TestDisturbed_EveryRecordOnce(t *testing.T) {
	const partitions, rounds, perRound = 3, 6, 30
	run := func(t *testing.T, seed uint64, acts ...embedded.Act) {
		c := newDisturbed(t, "events", partitions)
		w := write(t, c, "events", partitions)
		random := rand.New(rand.NewPCG(seed, 0))
		s := open(t, c, kafka.Options{MemoryBytes: 16 << 10}, "events")
		r := read(t, s, 0, 0, 0)
		for range rounds {
			for _, act := range acts {
				must(t, c.Disturb(embedded.Disturbance{Act: act, Requests: 1 + random.IntN(3), For: time.Duration(1+random.IntN(30)) * time.Millisecond}))
			}
			for p := range partitions {
				w.records(t, p, perRound, 1+random.IntN(500))
			}
			must(t, r.step(within(t)))
			_, err := s.Ends(within(t))
			must(t, err)
		}
		r.until([]int64{rounds * perRound, rounds * perRound, rounds * perRound})
		for p := range partitions {
			same(t, r.got[p], w.want[p])
		}
		for _, act := range acts {
			if c.Disturbed()[act] == 0 {
				t.Errorf("seed %d: %s befell nothing: %v", seed, act, c.Disturbed())
			}
		}
	}
	for _, act := range embedded.Passing() {
		t.Run(string(act), func(t *testing.T) {
			t.Parallel()
			run(t, 1, act)
		})
	}
	for seed := range uint64(2) {
		t.Run(fmt.Sprint("all of them, seed ", seed), func(t *testing.T) {
			t.Parallel()
			run(t, seed, embedded.Passing()...)
		})
	}
}

// TestDisturbed_LossHasAName: records that retention takes from under a reader, while the broker is disturbed, are a range with its ends, and never passed over in silence; after a new leader's election too.
func TestDisturbed_LossHasAName(t *testing.T) {
	t.Parallel()
	c := newDisturbed(t, "events", 1)
	w := write(t, c, "events", 1)
	w.records(t, 0, 100, 10)
	must(t, c.Disturb(embedded.Disturbance{Act: embedded.Elect}))
	must(t, c.DeleteRecords("events", 0, 40))
	must(t, c.Disturb(embedded.Disturbance{Act: embedded.NotLeader, Requests: 2}))
	s := open(t, c, kafka.Options{}, "events")
	err := s.Start(within(t), []batch.Place{{Next: 10, LeaderEpoch: -1}})
	wantLost(t, err, batch.LostError{Partition: s.Partitions()[0], Start: 10, End: 40})
	r := read(t, s, 40)
	must(t, c.Disturb(embedded.Disturbance{Act: embedded.Elect}))
	r.until([]int64{100})
	same(t, r.got[0], w.slice(0, 40, 100))
}

// TestDisturbed_PlaceBeyondTheEnd: a position that the log does not reach any more, as after an unclean election, is an error that says so.
func TestDisturbed_PlaceBeyondTheEnd(t *testing.T) {
	t.Parallel()
	c := newDisturbed(t, "events", 1)
	write(t, c, "events", 1).records(t, 0, 20, 10)
	must(t, c.Disturb(embedded.Disturbance{Act: embedded.Elect}))
	err := open(t, c, kafka.Options{}, "events").Start(within(t), []batch.Place{{Next: 30, LeaderEpoch: -1}})
	if _, cut := errors.AsType[*batch.TruncatedError](err); !cut || !batch.IsPermanent(err) {
		t.Errorf("a place beyond the end: %v", err)
	}
}

// TestDisturbed_Truncated: a reader that is beyond the end of a log that was cut off stops, and so does one that would start there; one that is not so far is given nothing that is in doubt. When the log is whole again, all is read.
func TestDisturbed_Truncated(t *testing.T) {
	t.Parallel()
	truncated := func(t *testing.T) (*disturbed, *written) {
		c := newDisturbed(t, "events", 1)
		w := write(t, c, "events", 1)
		w.records(t, 0, 100, 10)
		return c, w
	}
	cut := embedded.Disturbance{Act: embedded.Truncate, Keep: 60, For: 500 * time.Millisecond}
	t.Run("beyond the end", func(t *testing.T) {
		t.Parallel()
		c, w := truncated(t)
		r := read(t, open(t, c, kafka.Options{}, "events"), 0)
		r.until([]int64{100})
		must(t, c.Disturb(cut))
		wantTruncated(t, r.err(), 100, 60)
		place := batch.Place{Next: 100, LeaderEpoch: 0}
		wantTruncated(t, open(t, c, kafka.Options{}, "events").Start(within(t), []batch.Place{place}), 100, 60)
		for ctx := within(t); ; {
			r.source = open(t, c, kafka.Options{}, "events")
			err := r.source.Start(ctx, []batch.Place{place})
			if err == nil {
				break
			}
			wantTruncated(t, err, 100, 60)
			must(t, ctx.Err())
		}
		w.records(t, 0, 5, 10)
		r.until([]int64{105})
		same(t, r.got[0], w.want[0])
	})
	t.Run("before it", func(t *testing.T) {
		t.Parallel()
		c, w := truncated(t)
		must(t, c.Disturb(cut))
		s := open(t, c, kafka.Options{}, "events")
		r := read(t, s, 10)
		ends, err := s.Ends(within(t))
		must(t, err)
		if ends[0].LogEnd != 60 {
			t.Errorf("the log ends at %d, want 60", ends[0].LogEnd)
		}
		r.until([]int64{100})
		same(t, r.got[0], w.slice(0, 10, 100))
	})
}

func TestDisturb_RefusesWhatItDoesNotKnow(t *testing.T) {
	t.Parallel()
	if err := newDisturbed(t, "events", 1).Disturb(embedded.Disturbance{Act: "flood"}); err == nil {
		t.Error("an act that is none was carried out")
	}
}
