package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/twmb/franz-go/pkg/kgo"

	"highwater/batch"
	"highwater/deploy/dashboard"
	"highwater/features"
	"highwater/testutil/e2e"
	"highwater/testutil/kafkatest"
	"highwater/testutil/oracle"
	"highwater/testutil/promtest"
	"highwater/testutil/redistest"
	"highwater/windows"
)

// liveVariable is how long TestReal_Live produces: the long run's length (make live gives 10m). Without it HIGHWATER_INTEGRATION=1 runs the short one.
const liveVariable = "HIGHWATER_LIVE"

// liveYAML is by the wall clock, with windows of the lengths TUMBLING, SLIDING and RESOLUTION.
const liveYAML = `
project: live
clock: wall
batch: {interval: INTERVAL, max_records: 100000}
entities:
  user: {join_key: user_id, type: string}
sources:
  payments:
    kafka: {topic: live_payments}
    timestamp: {field: ts, unit: ms}
    key: user_id
    max_lateness: 30s
    fields: {user_id: string, cents: int64}
feature_views:
  users:
    source: payments
    entity: user
    features:
      ever: {aggregate: count}
      spent: {aggregate: sum, of: cents}
      tumbling: {aggregate: count, window: {tumbling: TUMBLING}}
      sliding: {aggregate: count, window: SLIDING, resolution: RESOLUTION}
      spent_sliding: {aggregate: sum, of: cents, window: SLIDING, resolution: RESOLUTION}
`

// liveScale is what the long run and the short one differ in.
type liveScale struct {
	length                        time.Duration // for which events are produced
	rate                          int           // events a second
	users                         int
	interval                      time.Duration
	tumbling, sliding, resolution time.Duration
	down                          time.Duration     // for how long a server that fails is away
	rules                         map[string]string // what is replaced in the alert rules and in Prometheus's settings, so that alerts fire and clear within the run
	rulesTold                     string
}

const livePartitions = 4

func liveScaleOf(t *testing.T) liveScale {
	t.Helper()
	if text := os.Getenv(liveVariable); text != "" {
		length, err := time.ParseDuration(text)
		must(t, err)
		return liveScale{length: length, rate: 20_000, users: 3000, interval: 2 * time.Second, tumbling: time.Minute, sliding: 5 * time.Minute, resolution: 10 * time.Second, down: 20 * time.Second,
			rules: map[string]string{"for: 15s": "for: 3s", "for: 1m": "for: 10s", "for: 2m": "for: 20s", "_interval: 5s": "_interval: 2s"}, rulesTold: "every `for:` of up to two minutes at a sixth (1m: 10s), scraped and evaluated every 2 s"}
	}
	return liveScale{length: time.Minute, rate: 2000, users: 300, interval: 500 * time.Millisecond, tumbling: 10 * time.Second, sliding: 30 * time.Second, resolution: 5 * time.Second, down: 8 * time.Second,
		rules: map[string]string{"for: 15s": "for: 1s", "for: 1m": "for: 3s", "for: 2m": "for: 6s", "_interval: 5s": "_interval: 1s", "[1m]": "[10s]", "[2m]": "[10s]"}, rulesTold: "every `for:` of up to two minutes at a twentieth (1m: 3s), ranges of [1m] and [2m] at [10s], scraped and evaluated every second"}
}

// TestReal_Live runs the worker as a service would run it, by the wall clock, on a real Kafka and a real Redis, while a producer sends events of now; a real Prometheus scrapes it. At seeded moments Redis is away and comes back with its
// data, Kafka is restarted, the worker is stopped, killed, and Redis comes back empty. In the end every feature of every user is what the events say at the frontier and watermark that were committed, the alerts that had to fire have
// fired and none fires any more. Rates, memory and lags are printed, not judged: they are the machine's. HIGHWATER_SEED repeats the events and the moments.
func TestReal_Live(t *testing.T) {
	l := newLive(t, liveScaleOf(t))
	l.start()
	began := time.Now()
	produced := make(chan error, 1)
	producing, stop := context.WithCancel(context.Background())
	defer stop()
	go func() { produced <- l.produce(producing, began) }()
	l.runFaults(began)
	must(t, <-produced)
	ended := time.Now()
	t.Logf("produced %d events in %s: %.0f a second, of %d wanted", l.sent, ended.Sub(began).Round(time.Second), float64(l.sent)/ended.Sub(began).Seconds(), l.rate)
	l.await(fmt.Sprintf("%d events to be committed", l.sent), func(p inspectedPosition) bool { return p.Counters.Events == l.sent })
	t.Logf("all committed %s after the last event", time.Since(ended).Round(time.Millisecond))
	quiet := l.awaitQuiet()
	t.Logf("no alert fires, %s after the last commit", quiet.Round(time.Second))
	l.tellMemory(began, ended)
	l.tellAlerts(began)
	l.draw(began, time.Now())
	l.stopWorker()
	l.checkLive()
}

// live is a service, a producer and a Prometheus.
type live struct {
	*service
	liveScale
	server *redistest.Server
	prom   *promtest.Prometheus
	addr   string // the worker's, always the same, so that its series are one
	seed   uint64

	sent int64      // by the producer; read once it has ended
	told *liveUsers // likewise
}

func newLive(t *testing.T, scale liveScale) *live {
	t.Helper()
	seed := rand.Uint64()
	if s, err := strconv.ParseUint(os.Getenv("HIGHWATER_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("seed %d", seed)
	broker, server := kafkatest.Start(t), redistest.Start(t)
	dir := t.TempDir()
	l := &live{liveScale: scale, server: server, addr: freeAddr(t), seed: seed, told: newLiveUsers(scale)}
	l.service = &service{t: t, broker: broker, redis: &redisUnderTest{addrs: []string{server.Addr}, client: server.Client(t), parts: 1}, definitions: filepath.Join(dir, "live.yaml"), dataDir: filepath.Join(dir, "data"), partitions: livePartitions}
	l.env = []string{fmt.Sprintf("GOMEMLIMIT=%d", liveGiven)}
	text := strings.NewReplacer("INTERVAL", inMillis(scale.interval), "TUMBLING", inMillis(scale.tumbling), "SLIDING", inMillis(scale.sliding), "RESOLUTION", inMillis(scale.resolution)).Replace(liveYAML)
	must(t, os.WriteFile(l.definitions, []byte(text), 0o600))
	var err error
	l.project, err = features.Load(l.definitions)
	must(t, err)
	return l
}

// liveGiven is what the worker is given, in bytes, as a service would be by its cgroup: caches, memtables and what is fetched ahead take their shares of it.
const liveGiven = 256 << 20

// inMillis writes a duration as definitions take it, of one unit.
func inMillis(d time.Duration) string { return fmt.Sprintf("%dms", d.Milliseconds()) }

// start starts everything but the producer.
func (l *live) start() {
	l.t.Helper()
	l.createTopics(nil)
	l.startServe()
	l.startLiveWorker()
	l.prom = promtest.Start(l.t, l.scaledRules(), "", l.addr, strings.TrimPrefix(l.client.Base, "http://"))
	l.prom.Await(l.t, `up{instance="`+l.addr+`"} == 1`, patience, func(v model.Vector) bool { return len(v) > 0 })
	l.awaitQuiet() // before the first scrape it was absent
}

// startLiveWorker starts the worker where the last one was.
func (l *live) startLiveWorker() {
	l.t.Helper()
	l.startWorker("--addr", l.addr)
}

// scaledRules returns a directory that has the repository's Prometheus settings and alert rules, with the durations of this run.
func (l *live) scaledRules() string {
	l.t.Helper()
	root := l.t.TempDir()
	to := filepath.Join(root, "deploy/prometheus")
	must(l.t, os.MkdirAll(to, 0o755))
	for _, name := range []string{"prometheus.yml", "alerts.yaml"} {
		text, err := os.ReadFile(filepath.Join("../../deploy/prometheus", name))
		must(l.t, err)
		for from, scaled := range l.rules {
			text = bytes.ReplaceAll(text, []byte(from), []byte(scaled))
		}
		must(l.t, os.WriteFile(filepath.Join(to, name), text, 0o600))
	}
	return root
}

// runFaults lets one thing after the other go wrong, each at a seeded moment of its part of the run, and waits for the end of the last.
func (l *live) runFaults(began time.Time) {
	l.t.Helper()
	r := rand.New(rand.NewPCG(l.seed, 1))
	for _, fault := range []struct {
		name     string
		from, to float64 // of the run: when it begins
		do       func()
	}{
		{"Redis is away, and comes back with its data", 0.08, 0.12, func() {
			l.server.Snapshot(l.t)
			l.server.Stop()
			l.wait(l.down)
			l.server.RestartFromSnapshot(l.t, "")
		}},
		{"Kafka is stopped and started", 0.30, 0.34, func() {
			must(l.t, l.broker.Stop())
			l.wait(l.down)
			must(l.t, l.broker.Start())
		}},
		{"the worker is stopped and started", 0.50, 0.53, func() { l.stopWorker(); l.startLiveWorker() }},
		{"the worker is killed, and started later", 0.58, 0.61, func() { l.killWorker(); l.wait(l.down); l.startLiveWorker() }},
		{"Redis is killed, and comes back empty", 0.75, 0.78, func() { l.awaitRepublished(func() { l.server.Restart(l.t) }) }},
	} {
		at := time.Duration((fault.from + r.Float64()*(fault.to-fault.from)) * float64(l.length))
		l.wait(time.Until(began.Add(at)))
		start := time.Since(began)
		fault.do()
		l.t.Logf("%s: from %s to %s of the run", fault.name, start.Round(100*time.Millisecond), time.Since(began).Round(100*time.Millisecond))
	}
}

// wait lets time pass: a live run is told by the clock.
func (l *live) wait(d time.Duration) {
	l.t.Helper()
	select {
	case <-time.After(d):
	case <-l.t.Context().Done():
		l.t.Fatal("the test has ended")
	}
}

// produce sends events of now at the run's rate until its end, and tells them to the users. While Kafka is away they wait in the client, in their order.
func (l *live) produce(ctx context.Context, began time.Time) error {
	client, err := l.broker.Client(kgo.DefaultProduceTopic(l.project.Sources[0].Topic), kgo.ProducerLinger(10*time.Millisecond), kgo.MaxBufferedRecords(2_000_000), kgo.MaxBufferedBytes(1<<30), kgo.UnknownTopicRetries(-1))
	if err != nil {
		return err
	}
	defer client.Close()
	var mu sync.Mutex
	var failed error
	r := rand.New(rand.NewPCG(l.seed, 2))
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for elapsed := time.Duration(0); elapsed < l.length; elapsed = time.Since(began) {
		for due := int64(elapsed.Seconds() * float64(l.rate)); l.sent < due; l.sent++ {
			user, cents, now := r.IntN(l.users), r.Int64N(10_000), time.Now().UnixMilli()
			l.told.tell(user, cents, now*1000)
			key := liveUser(user)
			record := &kgo.Record{Key: []byte(key), Value: fmt.Appendf(nil, `{"user_id":%q,"cents":%d,"ts":%d}`, key, cents, now)}
			client.Produce(ctx, record, func(_ *kgo.Record, err error) {
				mu.Lock()
				failed = errors.Join(failed, err)
				mu.Unlock()
			})
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := client.Flush(ctx); err != nil {
		return err
	}
	mu.Lock()
	defer mu.Unlock()
	return failed
}

func liveUser(n int) string { return "u" + strconv.Itoa(n) }

// liveSample: of every so many users one has all its events kept, for the oracle; of the others there are sums by tile.
const liveSample = 30

// liveUsers is what was sent, by user.
type liveUsers struct {
	resolution int64 // µs
	users      []liveEvents
}

// liveEvents is what was sent of one user.
type liveEvents struct {
	tiles  map[int64]*liveTile // by the tile's number
	events []windows.Event     // of a user of the sample
}

type liveTile struct{ count, cents int64 }

func newLiveUsers(scale liveScale) *liveUsers {
	u := &liveUsers{resolution: scale.resolution.Microseconds(), users: make([]liveEvents, scale.users)}
	for i := range u.users {
		u.users[i].tiles = map[int64]*liveTile{}
	}
	return u
}

// tell tells of the next event. at is in µs.
func (u *liveUsers) tell(user int, cents, at int64) {
	e := &u.users[user]
	tile := e.tiles[at/u.resolution]
	if tile == nil {
		tile = &liveTile{}
		e.tiles[at/u.resolution] = tile
	}
	tile.count++
	tile.cents += cents
	if user%liveSample == 0 {
		e.events = append(e.events, windows.Event{Time: at, Offset: int64(len(e.events)), Takes: []uint64{1<<5 - 1}, Args: []windows.Value{windows.IntOf(cents)}})
	}
}

// want returns a user's features as of a frontier and a watermark, from the sums: tiles are no longer than any window, and divide them.
func (l *live) want(user int, p batch.Position) []windows.Value {
	var ever, sliding liveTile
	var tumbling int64
	r, length, window := l.resolution.Microseconds(), l.sliding.Microseconds(), l.tumbling.Microseconds()
	for n, tile := range l.told.users[user].tiles {
		ever.count, ever.cents = ever.count+tile.count, ever.cents+tile.cents
		if (n+1)*r > p.Frontier-length && n*r <= p.Frontier {
			sliding.count, sliding.cents = sliding.count+tile.count, sliding.cents+tile.cents
		}
		if n*r/window == p.Watermark/window-1 {
			tumbling += tile.count
		}
	}
	return []windows.Value{windows.IntOf(ever.count), windows.IntOf(ever.cents), windows.IntOf(tumbling), windows.IntOf(sliding.count), windows.IntOf(sliding.cents)}
}

// checkLive compares every feature of every user, as a reader gets it, with what was sent, at the position that the stopped worker has committed.
func (l *live) checkLive() {
	l.t.Helper()
	p := l.committed()
	if c := p.Counters; c.Events != l.sent || c.Late+c.DeadLetter != 0 || len(c.LateFeature)+len(c.Keyless) != 0 {
		l.t.Fatalf("counters %+v, want %d events, none of them late or refused", c, l.sent)
	}
	view := l.project.Views[0]
	specs := make([]windows.Spec, len(view.Features))
	for i, f := range view.Features {
		specs[i] = f.Spec
	}
	entities := make([]*e2e.Entity, l.users)
	for i := range entities {
		entities[i] = &e2e.Entity{Keys: []windows.Value{windows.StringOf(liveUser(i))}}
	}
	compared, byOracle, moving := 0, 0, [2]int64{}
	const together = 1000
	for chunk := range slices.Chunk(entities, together) {
		for i, row := range l.client.View(l.t, view, chunk) {
			user := compared / len(specs)
			want := l.want(user, p)
			if diff := oracle.Diff(specs, want, row.Values); diff != "" || row.Times[0] != p.Frontier/1000*1000 { // readers see milliseconds
				l.t.Fatalf("user %s as of %d, at frontier %d and watermark %d: %s", chunk[i].Keys[0].Str(), row.Times[0], p.Frontier, p.Watermark, diff)
			}
			if user%liveSample == 0 {
				if diff := oracle.Diff(specs, oracle.Values(specs, l.told.users[user].events, p.Frontier, p.Watermark), row.Values); diff != "" {
					l.t.Fatalf("user %s, by the oracle: %s", chunk[i].Keys[0].Str(), diff)
				}
				byOracle++
			}
			compared += len(row.Values)
			moving[0], moving[1] = moving[0]+row.Values[2].Int(), moving[1]+row.Values[3].Int()
		}
	}
	if n := len(l.vectors()); n != l.users || moving[0] == 0 || moving[1] == 0 {
		l.t.Fatalf("Redis holds %d vectors of %d users; the tumbling windows hold %d events and the sliding ones %d", n, l.users, moving[0], moving[1])
	}
	l.t.Logf("compared %d values of %d users, of %d of them with the oracle, over %d events in %d batches; the tumbling windows hold %d events, the sliding ones %d", compared, l.users, byOracle, l.sent, p.Counters.Batches, moving[0], moving[1])
}

// committed returns the position of the stopped worker's state.
func (l *live) committed() batch.Position {
	l.t.Helper()
	s := openState(l.t, l.dataDir, l.project)
	defer closeState(l.t, s)
	p, found := s.Position()
	if !found {
		l.t.Fatal("the worker has committed nothing")
	}
	return p
}

// liveAlerts must fire in every run: each is for one of the faults.
var liveAlerts = []string{"HighwaterAbsent", "HighwaterSinkErrors", "HighwaterSourceErrors"} // immutable

// awaitQuiet waits until no alert fires any more, and returns how long that took.
func (l *live) awaitQuiet() time.Duration {
	l.t.Helper()
	start := time.Now()
	l.prom.Await(l.t, `count(ALERTS{alertstate="firing"}) or vector(0)`, 5*time.Minute, func(v model.Vector) bool { return len(v) == 1 && v[0].Value == 0 })
	return time.Since(start)
}

// tellAlerts prints when alerts fired, and wants those of the faults among them.
func (l *live) tellAlerts(began time.Time) {
	l.t.Helper()
	fired := l.prom.Fired(l.t, began, time.Now(), time.Second)
	slices.SortFunc(fired, func(a, b promtest.Firing) int { return a.From.Compare(b.From) })
	names := map[string]bool{}
	l.t.Logf("alerts (%s):", l.rulesTold)
	for _, f := range fired {
		names[f.Alert] = true
		l.t.Logf("  %s from %s to %s of the run", f.Alert, f.From.Sub(began).Round(time.Second), f.To.Sub(began).Round(time.Second))
	}
	for _, name := range liveAlerts {
		if !names[name] {
			l.t.Errorf("%s has not fired", name)
		}
	}
}

// tellMemory prints the worker's resident memory: its mean from a fifth to two fifths of the run (of ten minutes: minutes 2 to 4), over the last fifth, and the most that it ever was, which may not be beyond what it was given.
func (l *live) tellMemory(began, ended time.Time) {
	l.t.Helper()
	mean := func(from, to time.Time) float64 {
		v := l.prom.Query(l.t, fmt.Sprintf(`avg_over_time(process_resident_memory_bytes{instance=%q}[%ds])`, l.addr, int(to.Sub(from).Seconds())), to)
		if len(v) != 1 {
			l.t.Fatalf("Prometheus has no series of the worker's memory: %v", v)
		}
		return float64(v[0].Value)
	}
	early, late := mean(began.Add(l.length/5), began.Add(2*l.length/5)), mean(ended.Add(-l.length/5), ended)
	l.t.Logf("resident memory: %.1f MiB from a fifth to two fifths of the run, %.1f MiB over the last fifth: %.2f times as much", early/(1<<20), late/(1<<20), late/early)
	for _, q := range []string{`max_over_time(process_resident_memory_bytes{instance=%q}[%ds])`, `quantile_over_time(0.5, highwater:published_lag_seconds:p99{instance=%q}[%ds])`, `max_over_time(highwater:published_lag_seconds:p99{instance=%q}[%ds])`, `quantile_over_time(0.5, highwater:published_lag_seconds:p50{instance=%q}[%ds])`} {
		query := fmt.Sprintf(q, l.addr, int(ended.Sub(began).Seconds()))
		for _, s := range l.prom.Query(l.t, query, ended) {
			l.t.Logf("%s = %v", regexp.MustCompile(`\{.*`).ReplaceAllString(query, ""), s.Value)
		}
	}
	// What is given is for Go's heap and stacks; the program itself is mapped beside them.
	const program = 64 << 20
	most := l.prom.Query(l.t, fmt.Sprintf(`max_over_time(process_resident_memory_bytes{instance=%q}[%ds])`, l.addr, int(ended.Sub(began).Seconds())), ended)
	if len(most) != 1 || float64(most[0].Value) > liveGiven+program {
		l.t.Errorf("the worker has had %v bytes resident, of %d that it was given", most, liveGiven)
	}
}

// draw draws the dashboard of the run into .highwater/live/dashboard.html.
func (l *live) draw(from, to time.Time) {
	l.t.Helper()
	text, err := os.ReadFile("../../deploy/grafana/highwater.json")
	must(l.t, err)
	var page bytes.Buffer
	must(l.t, dashboard.Render(l.t.Context(), &page, dashboard.Options{Dashboard: text, Prometheus: "http://" + l.prom.Addr, From: from, To: to, Scrape: 2 * time.Second}))
	if !bytes.Contains(page.Bytes(), []byte(`class="band`)) {
		l.t.Error("the page shows no alert")
	}
	dir := "../../.highwater/live"
	must(l.t, os.MkdirAll(dir, 0o755))
	must(l.t, os.WriteFile(filepath.Join(dir, "dashboard.html"), page.Bytes(), 0o644))
	l.t.Logf("the dashboard is in .highwater/live/dashboard.html")
}
