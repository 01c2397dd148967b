package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"

	"highwater/batch/decode"
	"highwater/batch/kafka"
	"highwater/examples"
	"highwater/features"
	"highwater/testutil/e2e"
	"highwater/testutil/kafkatest"
	"highwater/testutil/redistest"
)

// These tests run the program as it runs in production, against a real Kafka and a real Redis: `highwater worker` and `highwater serve`, each a process of its own. They run where HIGHWATER_INTEGRATION is 1 (make integration), and are
// skipped, saying so, elsewhere.

// Whatever happens to a worker, to Kafka and to Redis while events stream in, every feature of every entity ends with the value that the oracle computes from the events alone, and Redis with one vector for each entity. What Redis
// loses after that comes back to the byte.
func TestReal_NoFaultChangesAValue(t *testing.T) {
	broker := kafkatest.Start(t)
	for _, c := range []struct {
		name        string
		redis       func(*testing.T) *redisUnderTest
		definitions func(name string) string
		partitions  int
	}{
		{"redis/ads", oneRedis, adsDefinitions, 1},
		{"redis/two sources of three partitions", oneRedis, twoSources, 3},
		{"cluster/ads", redisCluster, adsDefinitions, 1},
		{"cluster/two sources of three partitions", redisCluster, twoSources, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			name := strings.NewReplacer("/", "_", " ", "_").Replace(c.name)
			s := newService(t, broker, c.redis(t), c.definitions(name), c.partitions)
			s.createTopics(nil)
			s.startServe()
			s.startWorker()
			s.runThroughFaults()
			s.checkValues()
			s.checkGroup()
			s.checkBytesComeBack()
		})
	}
}

// runThroughFaults loads half of the events, and the rest in slices while one thing after the other goes wrong.
func (s *service) runThroughFaults() {
	s.t.Helper()
	total := len(s.feed)
	loaded := total / 2
	s.load(loaded)
	s.awaitMore(5)
	faults := []struct {
		name string
		do   func()
	}{
		{"Redis loses what it has", func() { s.awaitRepublished(s.redis.lose) }},
		{"Kafka restarts", func() {
			must(s.t, s.broker.Stop())
			must(s.t, s.broker.Start())
		}},
		{"the worker is killed", func() { s.killWorker(); s.startWorker() }},
		{"the worker is stopped", func() { s.stopWorker(); s.startWorker() }},
		{"Kafka is killed", func() {
			must(s.t, s.broker.Kill())
			must(s.t, s.broker.Start())
		}},
		{"Redis loses what it has again", func() { s.awaitRepublished(s.redis.lose) }},
		{"the worker is killed, and Redis loses what it has before the next one starts", func() {
			s.killWorker()
			s.redis.lose()
			s.startWorker()
			s.worker.AwaitLog(republishedLine)
		}},
	}
	for i, fault := range faults {
		from, upTo := loaded, total/2+(total-total/2)*(i+1)/len(faults)
		slice := make(chan error, 1)
		go func() { slice <- s.tryLoad(upTo) }()
		s.awaitMore(1)
		at := s.position()
		fault.do()
		must(s.t, <-slice)
		loaded = upTo
		s.t.Logf("%s: at sequence %d, when %d events were committed, between event %d and %d", fault.name, at.Sequence, at.Counters.Events, from, upTo)
		s.awaitMore(1)
	}
}

// checkValues waits until all is committed and compares, over HTTP, every feature with the oracle's.
func (s *service) checkValues() {
	s.t.Helper()
	s.checkValuesOf(s.feed)
}

// checkValuesOf is checkValues where not all of the feed can be read.
func (s *service) checkValuesOf(events []fed) {
	s.t.Helper()
	w := e2e.NewWorld(s.project, s.partitions)
	tell(w, events)
	s.checkWorld(w, 0)
}

func tell(w *e2e.World, events []fed) {
	for _, e := range events {
		w.TellOf(e.source, e.event)
	}
}

// checkWorld is checkValues of what a world was told, beside so many dead letters.
func (s *service) checkWorld(w *e2e.World, dead int64) {
	s.t.Helper()
	s.await(fmt.Sprintf("%d events to be committed", w.Events), func(p inspectedPosition) bool { return p.Counters.Events == w.Events })
	s.awaitStatus(w.Events)
	if p := s.position(); p.Counters.Late != w.Late || p.Counters.DeadLetter != dead {
		s.t.Fatalf("%d late events and %d dead letters, want %d and %d", p.Counters.Late, p.Counters.DeadLetter, w.Late, dead)
	}
	compared := w.Check(s.t, s.client, false)
	if n := len(s.vectors()); n != w.Entities() || compared == 0 {
		s.t.Fatalf("Redis holds %d vectors, want one for each of %d entities; %d values were compared", n, w.Entities(), compared)
	}
	s.t.Logf("compared %d values of %d entities at sequence %d", compared, w.Entities(), s.position().Sequence)
}

// checkGroup looks at the consumer group, as lag tools do: it stands at the end of every partition.
func (s *service) checkGroup() {
	s.t.Helper()
	client, err := s.broker.Client()
	must(s.t, err)
	defer client.Close()
	group := "highwater-" + s.project.Name
	eventually(s.t, "the consumer group to stand where the worker does", func() error {
		lags, err := kadm.NewClient(client).Lag(s.t.Context(), group)
		if err != nil {
			return err
		}
		lag := lags[group]
		if err := lag.Error(); err != nil {
			return err
		}
		if want := s.partitions * len(s.project.Sources); len(lag.Lag.Sorted()) != want || lag.Lag.Total() != 0 {
			return fmt.Errorf("group %s: a lag of %d over %d partitions, want 0 over %d", group, lag.Lag.Total(), len(lag.Lag.Sorted()), want)
		}
		return nil
	})
}

// checkBytesComeBack lets Redis lose vectors while nothing else happens.
func (s *service) checkBytesComeBack() {
	s.t.Helper()
	before := s.vectors()
	for range s.redis.parts {
		s.awaitRepublished(s.redis.lose)
	}
	if after := s.vectors(); !maps.Equal(before, after) {
		s.t.Fatalf("Redis held %d vectors and now holds %d, not all of them the same", len(before), len(after))
	}
}

// redisUnderTest is what a test does with Redis, one server or a cluster.
type redisUnderTest struct {
	addrs  []string
	flags  []string // of worker and serve, beside --redis
	client redis.UniversalClient
	parts  int
	lose   func() // restarts one of the parts, empty: each in its turn
}

func oneRedis(t *testing.T) *redisUnderTest {
	s := redistest.Start(t)
	return &redisUnderTest{addrs: []string{s.Addr}, client: s.Client(t), parts: 1, lose: func() { s.Restart(t) }}
}

func redisCluster(t *testing.T) *redisUnderTest {
	c := redistest.StartCluster(t)
	turn := 0
	return &redisUnderTest{addrs: c.Addrs, client: c.Client(t), parts: len(c.Nodes), lose: func() {
		c.Nodes[turn%len(c.Nodes)].Restart(t)
		turn++
	}}
}

// service is Highwater as it runs in production, with the outside in the test's hands.
type service struct {
	t           *testing.T
	broker      *kafkatest.Broker
	brokers     string // where the worker finds it; "" for where everybody does
	redis       *redisUnderTest
	project     *features.Project
	definitions string // the file
	dataDir     string
	partitions  int // of each topic
	feed        []fed
	env         []string // of worker and serve

	worker *e2e.Process
	client e2e.Client // of serve
}

// fed is one event of the feed: to Kafka a row of a source's topic, and to the oracle an event.
type fed struct {
	source int
	row    kafka.Row
	event  e2e.Event
}

// newService starts nothing. The feed is the ads example's events; a project of two sources gets impressions from the first and clicks from the second.
func newService(t *testing.T, broker *kafkatest.Broker, r *redisUnderTest, definitions string, partitions int) *service {
	t.Helper()
	dir := t.TempDir()
	s := &service{t: t, broker: broker, redis: r, definitions: filepath.Join(dir, "definitions.yaml"), dataDir: filepath.Join(dir, "data"), partitions: partitions}
	must(t, os.WriteFile(s.definitions, []byte(definitions), 0o600))
	var err error
	s.project, err = features.Load(s.definitions)
	must(t, err)
	s.feed = adsFeed(t, s.project)
	return s
}

// createTopics creates the sources' topics, with more settings than that they keep events of long ago.
func (s *service) createTopics(settings map[string]string) {
	s.t.Helper()
	all := map[string]string{"retention.ms": "-1"}
	maps.Copy(all, settings)
	for _, source := range s.project.Sources {
		must(s.t, s.broker.CreateTopic(source.Topic, s.partitions, all))
	}
}

// adsFeed returns the ads example's events as the project's sources take them, in the file's order.
func adsFeed(t *testing.T, p *features.Project) []fed {
	t.Helper()
	name, gz := examples.Events("ads")
	feed := []fed{}
	for i, source := range p.Sources {
		rows, err := decode.NewEvents(name, bytes.NewReader(gz), source)
		must(t, err)
		events := e2e.Events(t, gz, source)
		n := 0
		for row, err := range loadRows(rows) {
			must(t, err)
			if i == 0 {
				feed = append(feed, fed{source: 0, row: row, event: events[n]})
			} else if bytes.Contains(row.Value, []byte(`"click"`)) {
				feed[n] = fed{source: i, row: row, event: events[n]}
			}
			n++
		}
		if n != len(events) || n != len(feed) {
			t.Fatalf("the loader reads %d rows, the oracle %d", n, len(events))
		}
	}
	return feed
}

// adsDefinitions are the ads example's, cut into many small batches, under a name of their own.
func adsDefinitions(name string) string {
	return strings.NewReplacer("project: ads", "project: "+name, "topic: ad_events", "topic: "+name, "{interval: 5s, max_records: 100000}", "{interval: 100ms, max_records: 40}").Replace(string(examples.Definitions("ads")))
}

// twoSources are definitions of impressions and clicks as two topics, whose frontier and watermark are one.
func twoSources(name string) string {
	return strings.ReplaceAll(`
project: NAME
clock: event
batch: {interval: 100ms, max_records: 40}
entities:
  item: {join_key: item, type: string}
  segment: {join_key: user_segment, type: string}
sources:
  impressions:
    kafka: {topic: NAME_impressions}
    timestamp: {field: ts_ms, unit: ms}
    key: user_segment
    max_lateness: 30s
    fields: {user_segment: string, campaign: string, item: string, position: int64, event_type: string}
  clicks:
    kafka: {topic: NAME_clicks}
    timestamp: {field: ts_ms, unit: ms}
    key: item
    max_lateness: 30s
    fields: {user_segment: string, item: string, position: int64, event_type: string}
feature_views:
  item_impressions:
    source: impressions
    entity: item
    features:
      impressions_1h: {aggregate: count, window: {tumbling: 1h}}
      position_6h: {aggregate: mean, of: position, window: 6h}
      segments: {aggregate: count_distinct, of: user_segment}
  item_clicks:
    source: clicks
    entity: item
    features:
      clicks_24h: {aggregate: count, window: 24h}
      clicks_1h: {aggregate: count, window: {tumbling: 1h}}
      recent: {aggregate: timestamps, window: 24h, limit: 3}
      last_segment: {aggregate: last, of: user_segment}
  segment_shown:
    source: impressions
    entity: segment
    ttl: 12h
    features:
      shown_10m: {aggregate: count, window: 10m}
      first_campaign: {aggregate: first, of: campaign}
      best_position: {aggregate: min, of: position, window: {tumbling: 10m}}
`, "NAME", name)
}

// load puts the first n events of the feed into their topics; what is there already stays.
func (s *service) load(n int) {
	s.t.Helper()
	must(s.t, s.tryLoad(n))
}

// tryLoad waits for a broker that is down.
func (s *service) tryLoad(n int) error {
	for i, source := range s.project.Sources {
		rows := []kafka.Row{}
		for _, e := range s.feed[:n] {
			if e.source == i {
				rows = append(rows, e.row)
			}
		}
		if _, err := kafka.Load(s.t.Context(), kafka.LoadOptions{Brokers: []string{s.broker.Addr()}, Topic: source.Topic}, rowsOf(rows), nil); err != nil {
			return err
		}
	}
	return nil
}

// republishedLine is what a worker logs when everything that Redis may have lost is there again.
const republishedLine = "msg=republished"

// startWorker starts a worker, which ends with the test; where that has failed, the end of its log is shown.
func (s *service) startWorker(flags ...string) {
	s.t.Helper()
	args := []string{"worker", "--definitions", s.definitions, "--kafka", cmp.Or(s.brokers, s.broker.Addr()), "--redis", strings.Join(s.redis.addrs, ","), "--data-dir", s.dataDir, "--addr", "127.0.0.1:0"}
	args = append(args, s.redis.flags...)
	worker := e2e.StartWith(s.t, s.env, append(args, flags...)...)
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Logf("a worker's log ends so:\n%s", tail(worker.Stderr()))
		}
	})
	s.worker = worker
}

// tail is the end of a log.
func tail(log string) string { return log[max(0, len(log)-6000):] }

// killWorker ends the worker as kill -9 does, and returns when it is gone.
func (s *service) killWorker() {
	s.t.Helper()
	s.worker.Kill()
	s.worker.Wait()
}

// stopWorker asks the worker to end, as an orchestrator does, and wants it to end well.
func (s *service) stopWorker() {
	s.t.Helper()
	s.worker.Terminate()
	if code := s.worker.Wait(); code != exitDone {
		s.t.Fatalf("a worker that was asked to stop ended with %d:\n%s", code, tail(s.worker.Stderr()))
	}
}

// refused waits until the worker has ended by itself, which must be with exit code 1 and all of these in its last words.
func (s *service) refused(words ...string) {
	s.t.Helper()
	code := s.worker.Wait()
	_, last, _ := strings.Cut(s.worker.Stderr(), "\nhighwater: ")
	if last == "" {
		last = strings.TrimPrefix(s.worker.Stderr(), "highwater: ")
	}
	for _, word := range words {
		if !strings.Contains(last, word) {
			s.t.Errorf("the worker does not say %q, but: %s", word, last)
		}
	}
	if code != exitFailed {
		s.t.Errorf("the worker ended with %d, want %d", code, exitFailed)
	}
}

// startServe starts a server of features, which ends with the test.
func (s *service) startServe() {
	s.t.Helper()
	args := append([]string{"serve", "--project", s.project.Name, "--redis", strings.Join(s.redis.addrs, ","), "--addr", "127.0.0.1:0"}, s.redis.flags...)
	serve := e2e.StartWith(s.t, s.env, args...)
	s.client = e2e.Client{Base: "http://" + e2e.Log(serve.AwaitLog("msg=serving"), "msg=serving", "addr")}
}

// position asks the worker where it stands, over its control socket.
func (s *service) position() inspectedPosition {
	s.t.Helper()
	var p inspectedPosition
	s.await("the worker to answer", func(at inspectedPosition) bool { p = at; return true })
	return p
}

// await waits until the worker's committed position is as wanted. A worker that ends meanwhile fails the test.
func (s *service) await(what string, wanted func(inspectedPosition) bool) {
	s.t.Helper()
	eventually(s.t, what, func() error {
		select {
		case <-s.worker.Ended():
			s.t.Fatalf("waited for %s: the worker has ended with %d", what, s.worker.Wait())
		default:
		}
		var in inspection
		running, err := askWorker(s.t.Context(), s.dataDir, http.MethodGet, "/inspect", inspectQuery{plans: 1}.values(), &in)
		switch {
		case err != nil:
			return err
		case !running:
			return fmt.Errorf("no worker answers on %s", s.dataDir)
		case !wanted(in.Position):
			return fmt.Errorf("the worker is at %+v", in.Position)
		}
		return nil
	})
}

// awaitMore waits until so many more batches have been committed.
func (s *service) awaitMore(batches uint64) {
	s.t.Helper()
	first := s.position().Sequence
	s.await(fmt.Sprintf("%d more batches", batches), func(p inspectedPosition) bool { return p.Sequence >= first+batches })
}

// awaitRepublished does what makes the worker republish, and waits until it has.
func (s *service) awaitRepublished(lose func()) {
	s.t.Helper()
	worker := s.worker
	times := func() int { return strings.Count(worker.Stderr(), republishedLine) }
	before := times()
	lose()
	eventually(s.t, "the worker to republish", func() error {
		if times() == before {
			return errors.New("it has not said so")
		}
		return nil
	})
}

// awaitStatus waits until GET /v1/status tells of so many events, nothing behind them and no sink that stalls, and lookups tell the same frontier.
func (s *service) awaitStatus(events int64) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("the status to tell of %d events", events), func() error {
		code, text := s.client.Get(s.t, "/v1/status")
		var status struct {
			Tasks []struct {
				Counters      struct{ Events int64 }
				RecordsBehind int64             `json:"records_behind"`
				Stalled       map[string]string `json:"stalled"`
			}
		}
		err := json.Unmarshal(text, &status)
		if code != http.StatusOK || err != nil || len(status.Tasks) != 1 {
			return fmt.Errorf("status %d: %.500s (%w)", code, text, err)
		}
		if task := status.Tasks[0]; task.Counters.Events != events || task.RecordsBehind != 0 || len(task.Stalled) != 0 {
			return fmt.Errorf("%+v", task)
		}
		return nil
	})
}

// vectors returns what Redis holds.
func (s *service) vectors() map[string]string {
	return redistest.Vectors(context.WithoutCancel(s.t.Context()), s.redis.client, s.project.Name)
}

// eventually calls try until it returns nil. What it waits for is bound to happen.
func eventually(t testing.TB, what string, try func() error) {
	t.Helper()
	deadline := time.After(patience)
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		err := try()
		if err == nil {
			return
		}
		select {
		case <-again.C:
		case <-deadline:
			t.Fatalf("waited %s for %s: %v", patience, what, err)
		}
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
