package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"highwater/batch"
	"highwater/batch/faults/resp"
	"highwater/batch/kafka"
	"highwater/batch/kafka/embedded"
	"highwater/features"
	"highwater/store/keys"
	"highwater/store/online"
	"highwater/store/state"
	"highwater/testutil/redistest"
)

// replayed is what `highwater replay --json` printed.
type replayed struct {
	code   int
	rows   []replayRow
	total  replayCounts
	plans  int
	before int
	ok     bool
	found  []replayFinding
	log    string
}

// runReplay runs the command in this process.
func runReplay(t *testing.T, args ...string) replayed {
	t.Helper()
	var out, errOut bytes.Buffer
	r := replayed{code: run(t.Context(), append([]string{"replay", "--json", "--log-level", "warn", "--work-dir", t.TempDir()}, args...), &out, &errOut)}
	r.log = errOut.String()
	for line := range strings.Lines(out.String()) {
		if !strings.HasPrefix(line, `{"total"`) {
			var row replayRow
			must(t, json.Unmarshal([]byte(line), &row))
			r.rows = append(r.rows, row)
			continue
		}
		var last struct {
			Total struct {
				Plans  int `json:"plans"`
				Before int `json:"plans_before"`
				replayCounts
				OK       bool            `json:"ok"`
				Findings []replayFinding `json:"findings"`
			} `json:"total"`
		}
		must(t, json.Unmarshal([]byte(line), &last))
		r.total, r.plans, r.before, r.ok, r.found = last.Total.replayCounts, last.Total.Plans, last.Total.Before, last.Total.OK, last.Total.Findings
	}
	return r
}

// wantClean wants a replay that found nothing wrong, of so many plans.
func (r replayed) wantClean(t *testing.T, plans int) {
	t.Helper()
	sum := replayCounts{}
	for _, row := range r.rows {
		sum.add(row.replayCounts)
	}
	c := r.total
	if r.code != exitDone || !r.ok || r.plans != plans || len(r.rows) != plans || c != sum || c.Missing+c.Divergent+c.Expired != 0 || c.Equal == 0 || c.Equal+c.Stale != c.Vectors || len(r.found) != 0 {
		t.Errorf("code %d, %d plans (want %d), ok %v: %+v, sum of the rows %+v; found %v\n%s", r.code, r.plans, plans, r.ok, c, sum, r.found, r.log)
	}
}

// wantRefused wants an error that says so.
func (r replayed) wantRefused(t *testing.T, code int, says ...string) {
	t.Helper()
	for _, s := range says {
		if r.code != code || !strings.Contains(r.log, s) {
			t.Errorf("code %d, want %d, with %q; it says:\n%s", r.code, code, s, r.log)
		}
	}
}

// everythingIn returns all that a Redis holds, the task key included.
func everythingIn(t *testing.T, addr string) map[string]string {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr, DisableIdentity: true})
	defer client.Close()
	all := map[string]string{}
	names, err := client.Keys(t.Context(), "*").Result()
	must(t, err)
	for _, name := range names {
		if strings.HasSuffix(name, ":heartbeat:0") || strings.Contains(name, "heartbeat") {
			continue
		}
		value, err := client.Do(t.Context(), "GET", name).Text()
		if err != nil {
			hash, err := client.HGetAll(t.Context(), name).Result()
			must(t, err)
			value = fmt.Sprint(hash)
		}
		all[name] = value
	}
	return all
}

// A drained dev run, replayed from nothing, where nobody runs any more: what Redis holds is what the plans make, all of it, and nothing has changed anywhere.
func TestReplay_OfExamples(t *testing.T) {
	for _, example := range []string{"ads", "logs", "surge"} {
		t.Run(example, func(t *testing.T) {
			t.Parallel()
			dir, server := t.TempDir(), redistest.Embedded(t, nil)
			var out, errOut bytes.Buffer
			if code := run(t.Context(), []string{"dev", "--example", example, "--data-dir", dir, "--redis", server.Addr(), "--addr", "127.0.0.1:0", "--batch-max-records", "3000", "--batch-interval", "1s", "--exit-when-drained", "--json", "--log-level", "warn"}, &out, &errOut); code != exitDone {
				t.Fatal(errOut.String())
			}
			var s summary
			must(t, json.Unmarshal(out.Bytes(), &s))
			before, state := everythingIn(t, server.Addr()), contents(t, dir)
			r := runReplay(t, "--data-dir", dir, "--redis", server.Addr())
			r.wantClean(t, int(s.Batches))
			if r.total.Records != s.Events || r.total.Vectors != s.VectorsWritten {
				t.Errorf("replayed %+v, dev committed %+v", r.total, s)
			}
			if vectors := int64(len(vectorsIn(server.Addr(), example))); r.total.Equal != vectors {
				t.Errorf("%d are equal, and Redis holds %d vectors", r.total.Equal, vectors)
			}
			if after := everythingIn(t, server.Addr()); !maps.Equal(before, after) {
				t.Errorf("Redis has changed: %s", firstDifference(before, after))
			}
			if after := contents(t, dir); !maps.Equal(state, after) {
				t.Errorf("the data directory has changed: %s", firstDifference(state, after))
			}
		})
	}
}

// contents returns the files of a data directory, by name, but for the words that whoever opens it leaves.
func contents(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || d.Name() == "OWNER" || d.Name() == "LOCK" {
			return err
		}
		text, err := os.ReadFile(path)
		all[path] = string(text)
		return err
	}))
	return all
}

// half is the ads example with half of its events committed, a copy of its directory from then, and a worker that has gone on from there and is alive.
type half struct {
	*pipeline
	dir, copied string
	at          batch.Position // of the copy
	plans       int            // in all
}

func newHalf(t *testing.T) *half {
	t.Helper()
	p := exampleProject(t, "ads")
	p.Batch.Interval, p.Batch.MaxRecords = 20*time.Millisecond, 500
	h := &half{dir: t.TempDir(), copied: filepath.Join(t.TempDir(), "copy")}
	rows := exampleRows(t, "ads", p)[:6000]
	first := startPipeline(t, p, pipelineOptions{dataDir: h.dir})
	first.load(rowsOf(rows[:len(rows)/2]))
	first.awaitEvents(int64(len(rows) / 2))
	must(t, first.stop())
	h.at, _, _ = first.engine.task.Position()
	must(t, os.CopyFS(filepath.Join(h.copied, "state"), os.DirFS(filepath.Join(h.dir, "state"))))
	h.pipeline = startPipeline(t, p, pipelineOptions{dataDir: h.dir, broker: first.broker, redis: first.redis})
	h.load(rowsOf(rows))
	h.plans = int(h.settle().Version.Sequence)
	return h
}

// settle waits until the task has committed all that is in the log, the transactions' markers too, and returns where it stands: no plan follows by itself.
func (pl *pipeline) settle() batch.Position {
	pl.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(pl.broker.Addrs()...))
	must(pl.t, err)
	defer client.Close()
	ends, err := kadm.NewClient(client).ListEndOffsets(pl.t.Context(), pl.project.Sources[0].Topic)
	must(pl.t, err)
	var at batch.Position
	pl.await("the log's end", func(p batch.Position) bool {
		at = p
		return len(p.Partitions) > 0 && !slices.ContainsFunc(p.Partitions, func(pp batch.PartitionPosition) bool {
			end, _ := ends.Lookup(pp.Partition.Topic, pp.Partition.Number)
			return pp.Next < end.Offset
		})
	})
	return at
}

func seq(n int) string { return strconv.Itoa(n) }

// Beside a live worker, which says where its Kafka and its Redis are: from nothing, from a copy, by sequence and by time.
func TestReplay_BesideALiveWorker(t *testing.T) {
	t.Parallel()
	h := newHalf(t)
	base := int(h.at.Version.Sequence)
	rest := h.plans - base
	if base < 3 || rest < 5 {
		t.Fatalf("%d plans, %d of them in the copy", h.plans, base)
	}
	before := everythingIn(t, h.redis.Addr())
	copied := contents(t, h.copied)
	all := runReplay(t, "--data-dir", h.dir)
	all.wantClean(t, h.plans)
	runReplay(t, "--data-dir", h.dir, "--state", h.copied).wantClean(t, rest)
	for _, c := range []struct {
		args          []string
		plans, before int
	}{
		{[]string{"--from", seq(base + 3)}, h.plans - base - 2, base + 2},
		{[]string{"--from", "1/" + seq(base+3), "--state", h.copied}, h.plans - base - 2, 2},
		{[]string{"--from", "2", "--to", seq(base)}, base - 1, 1},
		{[]string{"--from", all.rows[base+1].Clock[:19] + "Z", "--state", h.copied}, -1, -1},
	} {
		r := runReplay(t, append([]string{"--data-dir", h.dir}, c.args...)...)
		if c.plans < 0 {
			second := slices.IndexFunc(all.rows, func(row replayRow) bool {
				return row.Clock[:19] >= all.rows[base+1].Clock[:19] && row.Sequence > uint64(base)
			})
			c.plans, c.before = h.plans-second, second-base
		}
		if r.code != exitDone || r.plans != c.plans || r.before != c.before || r.total.Missing+r.total.Divergent != 0 {
			t.Errorf("%v: code %d, %d plans, %d before them: %+v; want %d and %d\n%s", c.args, r.code, r.plans, r.before, r.total, c.plans, c.before, r.log)
		}
		for _, row := range r.rows {
			if row.replayCounts != all.rows[row.Sequence-1].replayCounts {
				t.Errorf("%v: plan %d is %+v, and in a replay of all %+v", c.args, row.Sequence, row.replayCounts, all.rows[row.Sequence-1].replayCounts)
			}
		}
	}
	idle := time.Now().UTC().Format(time.RFC3339Nano) // since the newest plan
	for _, args := range [][]string{{"--from", idle}, {"--from", idle, "--to", "2200-01-01T00:00:00Z"}} {
		r := runReplay(t, append([]string{"--data-dir", h.dir}, args...)...)
		if r.code != exitDone || !r.ok || r.plans != 0 || r.total != (replayCounts{}) {
			t.Errorf("%v, after the newest plan: code %d, ok %v, %d plans: %+v\n%s", args, r.code, r.ok, r.plans, r.total, r.log)
		}
	}
	if after := everythingIn(t, h.redis.Addr()); !maps.Equal(before, after) {
		t.Errorf("Redis has changed: %s", firstDifference(before, after))
	}
	if after := contents(t, h.copied); !maps.Equal(copied, after) {
		t.Errorf("the copy has changed: %s", firstDifference(copied, after))
	}
	for _, c := range []struct {
		args []string
		says string
	}{
		{[]string{"--from", seq(base), "--state", h.copied}, "the state stands at 1/" + seq(base) + " already"},
		{[]string{"--to", seq(h.plans + 1)}, "there is no committed plan"},
		{[]string{"--from", "5", "--to", "4"}, "there is no committed plan"},
		{[]string{"--from", "2200-01-01T00:00:00Z"}, "there is no committed plan"}, // a mistyped one: it is still to come
		{[]string{"--write", "--to", "4"}, "the store's task key stands at"},
	} {
		runReplay(t, append([]string{"--data-dir", h.dir}, c.args...)...).wantRefused(t, exitUsage, c.says)
	}
	runReplay(t, "--data-dir", h.dir, "--state", h.dir).wantRefused(t, exitFailed, "is in use by")
	must(t, h.stop())
	if dump := dump(t, h.dir); len(dump) == 0 {
		t.Error("the directory cannot be read any more")
	}
}

// What was changed in Redis behind the worker's back is divergent, what was deleted or put back is missing; --write brings it back, and changes nothing else.
func TestReplay_FindsWhatIsWrong(t *testing.T) {
	t.Parallel()
	h := newHalf(t)
	client := redis.NewClient(&redis.Options{Addr: h.redis.Addr(), DisableIdentity: true})
	defer client.Close()
	want := vectorsIn(h.redis.Addr(), "ads")
	names := slices.Sorted(maps.Keys(want))
	r := rand.New(rand.NewPCG(1, 1))
	r.Shuffle(len(names), func(i, j int) { names[i], names[j] = names[j], names[i] })
	deleted, older, tampered := names[:3], names[3], names[4]
	must(t, client.Del(t.Context(), deleted...).Err())
	must(t, client.Set(t.Context(), older, features.Version{Generation: 1}.String()+want[older][20:], 0).Err())
	must(t, client.Set(t.Context(), tampered, want[tampered][:len(want[tampered])-1]+"\x7f", 0).Err())

	dry := runReplay(t, "--data-dir", h.dir)
	if dry.code != exitFailed || dry.ok || dry.total.Divergent != 1 || dry.total.Missing < 4 || len(dry.found) < 5 || !strings.Contains(dry.log, "divergent and") {
		t.Errorf("code %d: %+v, found %v\n%s", dry.code, dry.total, dry.found, dry.log)
	}
	verdicts := map[string]string{}
	for _, f := range dry.found {
		verdicts[string(keys.AppendVector(nil, "ads", f.View, f.Entity))] = f.Verdict
	}
	for _, name := range append(slices.Clone(deleted), older) {
		if verdicts[name] != "missing" {
			t.Errorf("%s is %q", name, verdicts[name])
		}
	}
	if verdicts[tampered] != "divergent" || len(verdicts) != 5 {
		t.Errorf("found %v", verdicts)
	}

	wrote := runReplay(t, "--data-dir", h.dir, "--write")
	if wrote.code != exitFailed || wrote.total.Divergent != 1 || wrote.total.Missing < 4 || wrote.total.Written < 4 {
		t.Errorf("code %d: %+v\n%s", wrote.code, wrote.total, wrote.log)
	}
	must(t, client.Set(t.Context(), tampered, want[tampered], 0).Err())
	if got := vectorsIn(h.redis.Addr(), "ads"); !maps.Equal(got, want) {
		t.Errorf("after --write: %s", firstDifference(got, want))
	}
	must(t, client.Del(t.Context(), names[:50]...).Err())
	mended := runReplay(t, "--data-dir", h.dir, "--write")
	if mended.code != exitDone || !mended.ok || mended.total.Written < 50 || mended.total.Missing != mended.total.Written {
		t.Errorf("code %d: %+v\n%s", mended.code, mended.total, mended.log)
	}
	if got := vectorsIn(h.redis.Addr(), "ads"); !maps.Equal(got, want) {
		t.Errorf("after --write: %s", firstDifference(got, want))
	}
	runReplay(t, "--data-dir", h.dir).wantClean(t, h.plans)
}

// With --write, what an attempt has written that was then made again counts as written; and keys that hold something else are reported, and keep nothing else from being written.
func TestReplay_WritesPastTroubles(t *testing.T) {
	t.Parallel()
	h := newHalf(t)
	client := redis.NewClient(&redis.Options{Addr: h.redis.Addr(), DisableIdentity: true})
	defer client.Close()
	want := vectorsIn(h.redis.Addr(), "ads")
	names := slices.Sorted(maps.Keys(want))
	relay, err := resp.Start(h.redis.Addr())
	must(t, err)
	defer relay.Close()
	must(t, client.Del(t.Context(), names...).Err())
	for nth := range 10 {
		relay.Inject(resp.Fault{Act: resp.DropAfter, Nth: 2 + 3*nth})
	}
	r := runReplay(t, "--data-dir", h.dir, "--write", "--redis", relay.Addr())
	if struck := relay.Struck()[resp.DropAfter]; r.code != exitDone || !r.ok || struck == 0 || r.total.Missing < int64(len(names)) || r.total.Written != r.total.Missing {
		t.Errorf("after %d connections broke: code %d: %+v\n%s", struck, r.code, r.total, r.log)
	}
	if got := vectorsIn(h.redis.Addr(), "ads"); !maps.Equal(got, want) {
		t.Errorf("after --write: %s", firstDifference(got, want))
	}

	text, list := names[0], names[1]
	must(t, client.Del(t.Context(), names...).Err())
	must(t, client.Set(t.Context(), text, "no vector", 0).Err())
	must(t, client.RPush(t.Context(), list, "no vector").Err())
	r = runReplay(t, "--data-dir", h.dir, "--write")
	if r.code != exitFailed || r.ok || r.plans != h.plans || r.total.Divergent < 2 || r.total.Written != r.total.Missing || r.total.Missing < int64(len(names)-2) || !strings.Contains(r.log, "are divergent") {
		t.Errorf("two keys hold no vector: code %d, %d plans: %+v\n%s", r.code, r.plans, r.total, r.log)
	}
	named := map[string]bool{}
	for _, f := range r.found {
		if f.Verdict == "divergent" && strings.Contains(f.Stored, "no vector") {
			named[string(keys.AppendVector(nil, "ads", f.View, f.Entity))] = true
		}
	}
	if !named[text] || !named[list] {
		t.Errorf("%q and %q hold no vector, and the findings are %v", text, list, r.found)
	}
	must(t, client.Del(t.Context(), text, list).Err())
	delete(want, text)
	delete(want, list)
	if got := vectorsIn(h.redis.Addr(), "ads"); !maps.Equal(got, want) {
		t.Errorf("after --write: %s", firstDifference(got, want))
	}
}

// What a replay cannot do, it says, with the way out.
func TestReplay_Refuses(t *testing.T) {
	t.Parallel()
	h := newHalf(t)
	other := newHalf(t)
	runReplay(t, "--data-dir", h.dir, "--state", other.copied).wantRefused(t, exitUsage, "is no copy of --data-dir")
	logs := t.TempDir()
	s, err := state.Open(filepath.Join(logs, "state"), exampleProject(t, "logs"), state.Options{})
	must(t, err)
	must(t, s.Close())
	runReplay(t, "--data-dir", h.dir, "--state", logs).wantRefused(t, exitFailed, "holds no plan and no state yet")
	runReplay(t, "--data-dir", logs, "--redis", h.redis.Addr()).wantRefused(t, exitFailed, "holds no plan and no state yet")
	runReplay(t, "--data-dir", filepath.Join(logs, "nowhere"), "--redis", h.redis.Addr()).wantRefused(t, exitFailed, "does not exist")
	elsewhere := startBroker(t, embedded.Options{Topics: map[string]int{"ad_events": 1}})
	runReplay(t, "--data-dir", other.dir, "--kafka", strings.Join(elsewhere.Addrs(), ",")).wantRefused(t, exitFailed, "this is not the log that they were made of")

	// Retention in Kafka.
	client, err := kgo.NewClient(kgo.SeedBrokers(h.broker.Addrs()...))
	must(t, err)
	defer client.Close()
	offsets := kadm.Offsets{}
	offsets.Add(kadm.Offset{Topic: "ad_events", At: 1234})
	_, err = kadm.NewClient(client).DeleteRecords(t.Context(), offsets)
	must(t, err)
	runReplay(t, "--data-dir", h.dir).wantRefused(t, exitFailed, "the records of these plans are gone: topic ad_events, partition 0, offsets 0 to 1233")
	runReplay(t, "--data-dir", h.dir, "--state", h.copied).wantClean(t, h.plans-int(h.at.Version.Sequence))

	// Plans that are kept no more.
	must(t, other.stop())
	s, err = state.OpenKept(filepath.Join(other.dir, "state"), state.Options{PlanRetention: time.Second})
	must(t, err)
	position, _ := s.Position()
	plans, err := s.PlansBetween(t.Context(), features.Version{Generation: 1, Sequence: position.Version.Sequence - 1}, position.Version)
	must(t, err)
	later := *plans[0]
	later.Version.Sequence++
	later.Clock += time.Hour.Microseconds()
	later.Slices = slices.Clone(later.Slices)
	for i := range later.Slices {
		later.Slices[i].Start = later.Slices[i].End
	}
	_, err = s.Plans().Append(t.Context(), &later)
	must(t, err)
	position.Version, position.Clock = later.Version, later.Clock
	must(t, s.Begin().Commit(t.Context(), position))
	must(t, s.Close())
	args := []string{"--data-dir", other.dir, "--redis", other.redis.Addr(), "--kafka", strings.Join(other.broker.Addrs(), ",")}
	gone := "the oldest one kept is " + versionText(later.Version)
	runReplay(t, args...).wantRefused(t, exitFailed, "the plans from 1/1 on are gone", gone, "--plan-retention", fmt.Sprintf("stands at 1/%d or later", later.Version.Sequence-1))
	runReplay(t, append(args, "--state", other.copied)...).wantRefused(t, exitFailed, fmt.Sprintf("the plans from 1/%d on are gone", other.at.Version.Sequence+1), gone)
}

// Definitions that changed, and generations: each plan is run under what it was made under.
func TestReplay_AcrossDefinitionsAndGenerations(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	p := exampleProject(t, "ads")
	rows := exampleRows(t, "ads", p)[:6000]
	part := func(p *features.Project, from *pipeline, to int) *pipeline {
		p.Batch.Interval, p.Batch.MaxRecords = 20*time.Millisecond, 500
		o := pipelineOptions{dataDir: dir}
		if from != nil {
			o.broker, o.redis = from.broker, from.redis
		}
		pl := startPipeline(t, p, o)
		pl.load(rowsOf(rows[:to]))
		return pl
	}
	first := part(p, nil, 2000)
	first.awaitEvents(2000)
	must(t, first.stop())

	text := strings.Replace(p.Text, "    features:\n", "    features:\n      added_7m: {aggregate: count, window: 7m}\n", 1)
	changed, err := features.Parse("ads.yaml", []byte(text))
	must(t, err)
	second := part(changed, first, 4000)
	at := second.settle()
	runReplay(t, "--data-dir", dir).wantClean(t, int(at.Version.Sequence))
	must(t, second.stop())
	copied := filepath.Join(t.TempDir(), "copy")
	must(t, os.CopyFS(filepath.Join(copied, "state"), os.DirFS(filepath.Join(dir, "state"))))

	reset := func(from string) {
		t.Helper()
		var out, errOut bytes.Buffer
		definitions := filepath.Join(t.TempDir(), "ads.yaml")
		must(t, os.WriteFile(definitions, []byte(text), 0o600))
		if code := run(t.Context(), []string{"reset", "--data-dir", dir, "--from", from, "--definitions", definitions, "--yes"}, &out, &errOut); code != exitDone {
			t.Fatal(errOut.String())
		}
	}
	reset("here")
	third := part(changed, second, 6000)
	now := third.settle()
	crossed := runReplay(t, "--data-dir", dir)
	crossed.wantClean(t, int(at.Version.Sequence+now.Version.Sequence))
	fromCopy := runReplay(t, "--data-dir", dir, "--state", copied)
	fromCopy.wantClean(t, int(now.Version.Sequence))
	if g := fromCopy.rows[0].Generation; g != 2 || now.Version.Generation != 2 {
		t.Errorf("generation %d, of a task at %v", g, now.Version)
	}
	must(t, third.stop())

	reset("earliest")
	fourth := part(changed, third, 6000)
	now = fourth.settle()
	if now.Version.Generation != 3 || now.Counters.Events != 6000 {
		t.Errorf("after a reset the task is at %+v", now)
	}
	runReplay(t, "--data-dir", dir).wantClean(t, int(now.Version.Sequence))
	runReplay(t, "--data-dir", dir, "--state", copied).wantRefused(t, exitFailed, "began with an empty state")
}

const twoSourcesYAML = `
project: shop
clock: event
entities:
  user: {join_key: user_id, type: string}
sources:
  clicks:
    kafka: {topic: clicks}
    timestamp: {field: ts, unit: ms}
    fields: {user_id: string}
  visits:
    kafka: {topic: visits}
    timestamp: {field: ts, unit: ms}
    fields: {user_id: string}
feature_views:
  clicked:
    source: clicks
    entity: user
    features:
      clicks: {aggregate: count, window: 10m}
  visited:
    source: visits
    entity: user
    features:
      visits: {aggregate: count, window: 10m}
`

// A source that was taken out of the definitions, or given another name and topic, is still read for the plans that were made before. Where its topic is gone, or is read under another name, that is said.
func TestReplay_AcrossDefinitionsWithoutASource(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	without, _, _ := strings.Cut(twoSourcesYAML, "  visited:")
	before, visits, _ := strings.Cut(without, "  visits:")
	_, after, _ := strings.Cut(visits, "feature_views:")
	onlyClicks := before + "feature_views:" + after
	renamed := strings.NewReplacer("  clicks:\n", "  taps:\n", "source: clicks", "source: taps", "clicked:", "tapped:").Replace(onlyClicks) // the one way to give a source another topic
	moved := strings.ReplaceAll(renamed, "topic: clicks", "topic: taps")
	broker := startBroker(t, embedded.Options{Topics: map[string]int{"clicks": 1, "visits": 1, "taps": 1, "clicks.dead-letter": 1, "visits.dead-letter": 1, "taps.dead-letter": 1}})
	load := func(topic string, to int) {
		t.Helper()
		var rows []kafka.Row
		for i := range to {
			rows = append(rows, kafka.Row{Value: fmt.Appendf(nil, `{"ts":%d,"user_id":"u%d"}`, 1_700_000_000_000+i*1000, i%7)})
		}
		n, err := kafka.Load(t.Context(), kafka.LoadOptions{Brokers: broker.Addrs(), Topic: topic, Partitions: 1}, rowsOf(rows), nil)
		if must(t, err); n != int64(to) {
			t.Fatalf("%d rows of %s are loaded, want %d", n, topic, to)
		}
	}
	var server *pipeline
	run := func(text string, events int64) batch.Position {
		t.Helper()
		p, err := features.Parse("shop.yaml", []byte(text))
		must(t, err)
		p.Batch.Interval, p.Batch.MaxRecords = 20*time.Millisecond, 30
		o := pipelineOptions{dataDir: dir, broker: broker}
		if server != nil {
			o.redis = server.redis
		}
		server = startPipeline(t, p, o)
		server.awaitEvents(events)
		at := server.settle()
		must(t, server.stop())
		return at
	}
	load("clicks", 100)
	load("visits", 100)
	run(twoSourcesYAML, 200)
	load("clicks", 200)
	run(onlyClicks, 300)
	load("taps", 100)
	at := run(moved, 400)
	if at.Version.Generation != 1 {
		t.Fatalf("a generation began: the task is at %+v", at)
	}
	args := []string{"--data-dir", dir, "--kafka", strings.Join(broker.Addrs(), ","), "--redis", server.redis.Addr()}
	runReplay(t, args...).wantClean(t, int(at.Version.Sequence))

	last := seq(int(at.Version.Sequence))
	run(strings.NewReplacer("  taps:\n", "  pads:\n", "source: taps", "source: pads", "tapped:", "padded:").Replace(moved), 500)
	runReplay(t, args...).wantRefused(t, exitFailed, `topic "taps" was read by source taps up to plan 1/`+last+`, and by source pads later`)
	runReplay(t, append(args, "--to", last)...).wantClean(t, int(at.Version.Sequence))

	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addrs()...))
	must(t, err)
	defer client.Close()
	_, err = kadm.NewClient(client).DeleteTopics(t.Context(), "visits")
	must(t, err)
	runReplay(t, append(args, "--to", last)...).wantRefused(t, exitFailed, `topic "visits" does not exist`, "read sources that the definitions have no more")
}

const wallYAML = `
project: shop
clock: wall
batch: {interval: 50ms}
entities:
  user: {join_key: user_id, type: string}
sources:
  clicks:
    kafka: {topic: clicks, dead_letter: refused}
    timestamp: {field: ts, unit: ms}
    max_lateness: 100ms
    idle_after: 200ms
    fields: {user_id: string, item: int64, price: double}
feature_views:
  users:
    source: clicks
    entity: user
    ttl: 400ms
    features:
      sliding: {aggregate: count, window: 600ms, resolution: 100ms}
      tumbling: {aggregate: count, window: {tumbling: 300ms}}
  kept:
    source: clicks
    entity: user
    features:
      spent: {aggregate: sum, of: price}
      sliding: {aggregate: count, window: 600ms, resolution: 100ms}
`

// By the wall clock, vectors decay and become tombstones in batches without a record: the plans' clock readings make them so again, byte for byte, at any later time. Dead letters are sent once more when that is asked for, and not else.
func TestReplay_ByTheWallClock(t *testing.T) {
	t.Parallel()
	p, err := features.Parse("shop.yaml", []byte(wallYAML))
	must(t, err)
	dir := t.TempDir()
	pl := startPipeline(t, p, pipelineOptions{dataDir: dir})
	rows := []kafka.Row{{Value: []byte("no click")}}
	for i := range 200 {
		rows = append(rows, kafka.Row{Key: []byte("u"), Value: fmt.Appendf(nil, `{"ts":%d,"user_id":"u%d","item":%d,"price":%d.1}`, time.Now().UnixMilli(), i%30, i, i)})
	}
	pl.load(rowsOf(rows))
	pl.awaitEvents(201)
	pl.await("every vector to have decayed", func(batch.Position) bool {
		gone, left := 0, 0
		for _, v := range storedVectors(t, pl.redis.Addr(), "shop") {
			if v.View == "users" && v.Tombstone {
				gone++
			} else if v.View == "kept" && v.Values[1].Int() == 0 {
				left++
			}
		}
		return gone == 30 && left == 30
	})
	must(t, pl.stop())
	at, _, _ := pl.engine.task.Position()
	args := []string{"--data-dir", dir, "--kafka", strings.Join(pl.broker.Addrs(), ","), "--redis", pl.redis.Addr()}
	runReplay(t, args...).wantClean(t, int(at.Version.Sequence))
	client, err := kgo.NewClient(kgo.SeedBrokers(pl.broker.Addrs()...))
	must(t, err)
	defer client.Close()
	refused := func() int64 {
		ends, err := kadm.NewClient(client).ListEndOffsets(t.Context(), "refused")
		must(t, err)
		end, _ := ends.Lookup("refused", 0)
		return end.Offset
	}
	if n := refused(); n != 1 {
		t.Errorf("%d dead letters after a replay, want the task's alone", n)
	}
	runReplay(t, append(args, "--dead-letters")...).wantClean(t, int(at.Version.Sequence))
	if n := refused(); n != 2 {
		t.Errorf("%d dead letters after a replay that was to send them", n)
	}
}

// An entity whose tombstone has expired in Redis is no loss, whichever of its vectors is looked at; one that was never followed by a tombstone is.
func TestReplay_ExpiredTombstonesAreNoLoss(t *testing.T) {
	server := redistest.Embedded(t, nil)
	reader, err := online.NewReader(redisFlags{Redis: []string{server.Addr()}}.options("ads", time.Hour, nil))
	must(t, err)
	defer reader.Close()
	view := &features.View{Name: "clicks", Schema: features.Schema{ID: "0a1b2c3d"}}
	now := time.Now()
	c := newComparer(reader, nil, features.Version{Generation: 1, Sequence: 2}, time.Hour)
	c.now = func() time.Time { return now }
	var ran []replayRow
	publish := func(sequence uint64, age time.Duration, vectors ...features.Vector) {
		t.Helper()
		out := &batch.Output{Version: features.Version{Generation: 1, Sequence: sequence}, Clock: now.Add(-age).UnixMicro()}
		for _, v := range vectors {
			v.View, v.Version = view, out.Version
			out.Vectors = append(out.Vectors, v)
		}
		if c.Takes(out) {
			_, err := c.Publish(t.Context(), out)
			must(t, err)
		}
		ran = append(ran, replayRow{Generation: 1, Sequence: sequence})
	}
	dead := func(entity string) features.Vector { return features.Vector{Entity: entity, Tombstone: true} }
	live := func(entity string) features.Vector { return features.Vector{Entity: entity} }
	publish(1, 9*time.Hour, live("before the first plan that is compared"))
	publish(2, 5*time.Hour, live("a"), live("b"))
	publish(3, 4*time.Hour, live("a"))
	publish(4, 3*time.Hour, dead("a"), dead("c"))
	publish(5, time.Minute, dead("d"), live("e"))
	r := c.report(ran)
	if got, want := r.total(), (replayCounts{Vectors: 7, Expired: 4, Missing: 3}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	var names []string
	for _, f := range r.findings {
		names = append(names, f.Entity)
	}
	if !slices.Equal(names, []string{"b", "d", "e"}) || r.before != 1 || r.verdict() == nil {
		t.Errorf("missing: %q, %d before; verdict %v", names, r.before, r.verdict())
	}
	var table bytes.Buffer
	must(t, r.print(&table))
	for _, line := range []string{"1 plans were executed to get there", "PLAN", " 1/4 ", "in all", `missing: clicks "d", which plan 1/5 makes; the store has nothing`} {
		if !strings.Contains(table.String(), line) {
			t.Errorf("the table lacks %q:\n%s", line, table.String())
		}
	}
}
