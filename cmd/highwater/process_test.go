package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"highwater/batch/kafka"
	"highwater/examples"
	"highwater/features"
	"highwater/store/keys"
	"highwater/testutil/e2e"
)

// fails runs highwater, which must end with that code and say all of what is wanted on stderr, and nothing on stdout.
func fails(t *testing.T, code int, says []string, args ...string) {
	t.Helper()
	got, out, log := e2e.Run(t, args...)
	if got != code || out != "" {
		t.Errorf("highwater %v ended with %d and wrote %q, want %d and nothing; its log:\n%s", args, got, out, code, log)
	}
	for _, s := range says {
		if !strings.Contains(log, s) {
			t.Errorf("highwater %v does not say %q:\n%s", args, s, log)
		}
	}
}

// TestRefused_PortInUse: whoever would listen where another does is told so before anything else starts.
func TestRefused_PortInUse(t *testing.T) {
	t.Parallel()
	l := listen(t)
	defer l.Close()
	addr := l.Addr().String()
	says := []string{"highwater: listen on " + addr + ": the port is in use by another process: stop that one, or choose another port"}
	s := newShop(t, shopDefinitions(features.EventClock, 50*time.Millisecond))
	fails(t, exitFailed, says, "dev", "--addr", addr, "--data-dir", s.dataDir)
	fails(t, exitFailed, says, "serve", "--project", "shop", "--redis", s.redisAddr, "--addr", addr)
	fails(t, exitFailed, says, "worker", "--definitions", s.definitions, "--kafka", s.kafka, "--redis", s.redisAddr, "--data-dir", s.dataDir, "--addr", addr)
	if _, err := os.Stat(filepath.Join(s.dataDir, "state")); err == nil {
		t.Error("a state directory has been made all the same")
	}
}

// TestRefused_TopicMissing: a topic that does not exist is an error that says how to create it, for worker and for dev on a real Kafka.
func TestRefused_TopicMissing(t *testing.T) {
	t.Parallel()
	s := newShop(t, strings.ReplaceAll(shopDefinitions(features.EventClock, 50*time.Millisecond), "topic: clicks,", "topic: clix,"))
	s.startKafka()
	s.startRedis()
	says := []string{fmt.Sprintf(`source clicks: topic "clix" does not exist on %s; create it (kafka-topics.sh --bootstrap-server %s --create --topic clix --partitions N), or correct kafka.topic in the definitions`, s.kafka, s.kafka)}
	fails(t, exitFailed, says, "worker", "--definitions", s.definitions, "--kafka", s.kafka, "--redis", s.redisAddr, "--data-dir", s.dataDir, "--addr", "127.0.0.1:0")
	fails(t, exitFailed, says, "dev", "--definitions", s.definitions, "--kafka", s.kafka, "--addr", "127.0.0.1:0", "--exit-when-drained")
}

// TestRefused_DataDirectory: a directory has one owner at a time, and none that is older than what wrote it.
func TestRefused_DataDirectory(t *testing.T) {
	t.Parallel()
	s := newShop(t, shopDefinitions(features.EventClock, 50*time.Millisecond))
	s.startKafka()
	s.startRedis()
	w := s.worker()
	w.AwaitLog("worker started")
	again := []string{"worker", "--definitions", s.definitions, "--kafka", s.kafka, "--redis", s.redisAddr, "--data-dir", s.dataDir, "--addr", "127.0.0.1:0"}
	fails(t, exitFailed, []string{"highwater: data directory " + s.dataDir + "/state is in use by ", "a directory has one owner at a time; stop that process, or name another directory"}, again...)
	s.sendClicks("u1", 1)
	s.awaitCommitted(w) // the owner goes on
	stopped(t, w)

	db, err := pebble.Open(filepath.Join(s.dataDir, "state"), &pebble.Options{FormatMajorVersion: pebble.FormatNewest, Logger: quiet{}})
	must(t, err)
	must(t, db.Set(keys.Meta("format"), []byte("99"), pebble.Sync))
	must(t, db.Close())
	fails(t, exitFailed, []string{"was written by a newer Highwater (format 99; this one reads 1): run that version, or name a new directory"}, again...)

	// Two devs on one directory: the embedded broker is the first to see it.
	dir := t.TempDir()
	d := e2e.Start(t, "dev", "--data-dir", dir, "--addr", "127.0.0.1:0")
	d.AwaitOut("frontier")
	fails(t, exitFailed, []string{"another process has it: stop that one, or use another data directory"}, "dev", "--data-dir", dir, "--addr", "127.0.0.1:0", "--exit-when-drained")
	stopped(t, d)
}

// TestRefused_AnothersVectors: an empty directory does not take over what another directory has written.
func TestRefused_AnothersVectors(t *testing.T) {
	t.Parallel()
	s := newShop(t, shopDefinitions(features.EventClock, 50*time.Millisecond))
	s.startKafka()
	s.startRedis()
	s.sendClicks("u1", 3)
	w := s.worker()
	s.awaitCommitted(w)
	w.Kill()
	fails(t, exitFailed, []string{"superseded: ", "an empty data directory", s.dataDir, "--take-over"},
		"worker", "--definitions", s.definitions, "--kafka", s.kafka, "--redis", s.redisAddr, "--data-dir", t.TempDir(), "--addr", "127.0.0.1:0")
}

type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}

// TestDev_PlainUse runs the ads example as a newcomer does: every request that dev suggests is answered, get and inspect show what is there, republish writes it again, and SIGTERM stops it in time.
func TestDev_PlainUse(t *testing.T) {
	t.Parallel()
	s := newShop(t, "")
	s.startRedis()
	dir := t.TempDir()
	d := e2e.Start(t, "dev", "--redis", s.redisAddr, "--data-dir", dir, "--addr", "127.0.0.1:0")
	out := d.AwaitOut("grep highwater_stage")
	if !regexp.MustCompile(`(?m)^ads: 20115 events in \d+ batches became \d+ vectors in [\d.]+ s \(late 0, dead letters 0, stale 0, divergent 0\); frontier 2019-11-30T23:59:21\.587Z$`).MatchString(out) {
		t.Errorf("the summary reads:\n%s", out)
	}
	followSuggestions(t, out, 7)

	segment := regexp.MustCompile(`segment_activity/(\w+)`).FindStringSubmatch(out)[1]
	code, table, log := e2e.Run(t, "get", "--project", "ads", "--redis", s.redisAddr, "segment_activity", segment)
	if code != exitDone || !regexp.MustCompile(`(?m)^status +PRESENT$`).MatchString(table) || !regexp.MustCompile(`(?m)^impressions_30m +\d+$`).MatchString(table) || !strings.Contains(table, "2019-11-30T23:59:21.587Z") {
		t.Errorf("get ended with %d:\n%s\n%s", code, table, log)
	}
	code, vector, log := e2e.Run(t, "get", "--project", "ads", "--redis", s.redisAddr, "--json", "segment_activity", segment)
	var v struct {
		View     string `json:"feature_view"`
		Status   string
		Features map[string]any
	}
	if err := json.Unmarshal([]byte(vector), &v); code != exitDone || err != nil || v.View != "segment_activity" || v.Status != "PRESENT" || len(v.Features) != 3 {
		t.Errorf("get --json ended with %d (%v): %s\n%s", code, err, vector, log)
	}
	fails(t, exitFailed, []string{"highwater: segment_activity has no vector of that entity"}, "get", "--project", "ads", "--redis", s.redisAddr, "segment_activity", "nobody")
	fails(t, exitFailed, []string{"segment_activty", `did you mean "segment_activity"?`}, "get", "--project", "ads", "--redis", s.redisAddr, "segment_activty", segment)
	fails(t, exitFailed, []string{"looked up by user_segment/item: values wanted: 2, given: 1"}, "get", "--project", "ads", "--redis", s.redisAddr, "segment_item", segment)

	inspectBeside(t, dir, segment)
	if code, out, log := e2e.Run(t, "republish", "--data-dir", dir); code != exitDone || out != "republished 3916 vectors\n" {
		t.Errorf("republish ended with %d and %q:\n%s", code, out, log)
	}
	s.redis.FlushAll()
	d.AwaitLog("why=\"the task key")
	d.AwaitLog("msg=republished")
	if code, again, log := e2e.Run(t, "get", "--project", "ads", "--redis", s.redisAddr, "--json", "segment_activity", segment); code != exitDone || again != vector {
		t.Errorf("after Redis has lost everything, get ended with %d and %q, want %q:\n%s", code, again, vector, log)
	}
	stopped(t, d)
}

// inspectBeside looks at the task while it runs, and checks that it is the running one that answers. The 20115 events were loaded in two transactions, whose markers have offsets too.
func inspectBeside(t *testing.T, dir, segment string) {
	t.Helper()
	code, out, log := e2e.Run(t, "inspect", "--data-dir", dir, "--entity", "segment_activity/"+segment)
	for _, line := range []string{`frontier +2019-11-30T23:59:21\.587Z`, `events +20115 \(late 0, dead letters 0\)`, `ad_events +0 +20117 +2019-11-30T23:59:21\.587Z`, `segment_activity/` + segment + ` +published generation 1, .*`, `last_item +.*`} {
		if !regexp.MustCompile(`(?m)^` + line + `$`).MatchString(out) {
			t.Errorf("inspect ended with %d and does not show %q:\n%s\n%s", code, line, out, log)
		}
	}
	code, out, log = e2e.Run(t, "inspect", "--data-dir", dir, "--json", "--plans", "1")
	var in inspection
	if err := json.Unmarshal([]byte(out), &in); code != exitDone || err != nil || in.Position.Counters.Events != 20115 || len(in.Plans) != 1 || in.Pending != 0 || len(in.Timers) == 0 {
		t.Errorf("inspect --json ended with %d (%v):\n%s\n%s", code, err, out, log)
	}
	fails(t, exitFailed, []string{`the running worker: there is no view "nothing" in the state`}, "inspect", "--data-dir", dir, "--entity", "nothing/x")
}

// followSuggestions does what dev says to try: at least so many requests, each of which must be answered with 200.
func followSuggestions(t *testing.T, out string, least int) {
	t.Helper()
	found := regexp.MustCompile(`(?m)^  curl -s (http://[^/ ]+)(\S+)(?: -d '(.*)')?`).FindAllStringSubmatch(out, -1)
	if len(found) < least {
		t.Fatalf("dev suggests %d requests, want at least %d:\n%s", len(found), least, out)
	}
	for _, f := range found {
		client := e2e.Client{Base: f[1]}
		status, answer := 0, []byte(nil)
		if f[3] != "" {
			status, answer = client.Post(t, f[2], []byte(f[3]))
		} else {
			status, answer = client.Get(t, f[2])
		}
		if status != http.StatusOK {
			t.Errorf("%s: %d: %.300s", f[0], status, answer)
		}
	}
}

// TestDev_EveryExampleSuggestsWhatWorks follows the suggestions of the other examples.
func TestDev_EveryExampleSuggestsWhatWorks(t *testing.T) {
	t.Parallel()
	for _, example := range examples.Names() {
		d := e2e.Start(t, "dev", "--example", example, "--addr", "127.0.0.1:0")
		followSuggestions(t, d.AwaitOut("grep highwater_stage"), 5)
		stopped(t, d)
	}
}

// TestDev_WallClockDrains: also where time goes on by itself, there is a moment when all that was loaded is committed, and few batches have led to it.
func TestDev_WallClockDrains(t *testing.T) {
	t.Parallel()
	s := newShop(t, shopDefinitions(features.WallClock, time.Second))
	events := filepath.Join(t.TempDir(), "clicks.csv")
	must(t, os.WriteFile(events, fmt.Appendf(nil, "ts,user_id,item,price\n%d,u1,7,1\n%d,u2,8,1\n", time.Now().UnixMilli()-1000, time.Now().UnixMilli()), 0o600))
	d := e2e.Start(t, "dev", "--definitions", s.definitions, "--events", events, "--addr", "127.0.0.1:0", "--exit-when-drained", "--json")
	select {
	case <-d.Ended():
	case <-time.After(30 * time.Second):
		t.Fatalf("dev --exit-when-drained has not drained two events with clock: wall")
	}
	var sum summary
	if err := json.Unmarshal([]byte(d.Stdout()), &sum); err != nil || d.Wait() != exitDone || sum.Events != 2 || sum.Batches > 5 {
		t.Errorf("it ended with %d and %q (%v), want 2 events in a few batches:\n%s", d.Wait(), d.Stdout(), err, d.Stderr())
	}
}

// TestWorkerAndServe_PlainUse runs the feature writer and a server of features as two processes, on a broker and a Redis of their own: the ads example's values, read from serve, are the oracle's.
func TestWorkerAndServe_PlainUse(t *testing.T) {
	t.Parallel()
	text := strings.NewReplacer("topic: ad_events", "topic: clicks", "{interval: 5s, max_records: 100000}", "{interval: 100ms, max_records: 500}").Replace(string(examples.Definitions("ads")))
	s := newShop(t, text)
	s.startKafka()
	s.startRedis()
	p, err := features.Load(s.definitions)
	must(t, err)
	_, gz := examples.Events("ads")
	rows := exampleRows(t, "ads", p)
	world := e2e.NewWorld(p, 1)
	for _, e := range e2e.Events(t, gz, p.Sources[0]) {
		world.Tell(e)
	}
	w := s.worker()
	serve := e2e.Start(t, "serve", "--project", "ads", "--redis", s.redisAddr, "--addr", "127.0.0.1:0")
	client := e2e.Client{Base: "http://" + e2e.Log(serve.AwaitLog("msg=serving"), "msg=serving", "addr")}
	_, err = kafka.Load(t.Context(), kafka.LoadOptions{Brokers: []string{s.kafka}, Topic: "clicks"}, rowsOf(rows), nil)
	must(t, err)
	s.sent = int64(len(rows))
	eventually(t, "some of it to be committed", func() error {
		if in, err := s.inspect(); err != nil || in.Position.Sequence == 0 {
			return fmt.Errorf("at sequence %d (%w)", in.Position.Sequence, err)
		}
		return nil
	})
	stopped(t, w) // in the middle of it
	w = s.worker()
	s.awaitCommitted(w)
	if n := world.Check(t, client, false); n == 0 {
		t.Error("nothing was compared")
	}
	own := e2e.Client{Base: "http://" + e2e.Log(w.AwaitLog("worker started"), "worker started", "addr")}
	if n := metric(t, own, `highwater_records_total`); n > float64(len(rows)) { // it counts its own process's
		t.Errorf("highwater_records_total is %v, want at most %d", n, len(rows))
	}
	if a, b := metric(t, own, `highwater_info\{definitions="[0-9a-f]{16}",project="ads",version="[^"]+"\}`), metric(t, client, `highwater_info\{definitions="",project="ads",version="[^"]+"\}`); a != 1 || b != 1 {
		t.Errorf("worker and serve say what they run %v and %v times, want once each", a, b)
	}
	eventually(t, "the status to be read from serve", func() error {
		if status, text := client.Get(t, "/v1/status"); status != http.StatusOK || !bytes.Contains(text, fmt.Appendf(nil, `"events":%d,`, len(rows))) {
			return fmt.Errorf("status %d: %s", status, text)
		}
		return nil
	})
	stopped(t, w)
	if n := world.Check(t, client, false); n == 0 { // reading needs no writer
		t.Error("nothing was compared")
	}
	stopped(t, serve)
}
