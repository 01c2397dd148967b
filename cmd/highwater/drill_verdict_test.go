package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
	"github.com/schollz/progressbar/v3"

	"highwater/features"
	"highwater/store/keys"
	"highwater/testutil/redistest"
)

// drilled is what `highwater drill` printed, in both forms, and what it ended with.
type drilled struct {
	text    string
	Verdict string        `json:"verdict"`
	Error   string        `json:"error"`
	Rounds  []roundResult `json:"rounds"`
	err     error
	code    int
}

// runDrill runs a drill's rounds.
func runDrill(t *testing.T, ctx context.Context, d *drill, asJSON bool) (got drilled) {
	t.Helper()
	var out bytes.Buffer
	d.out, d.JSON = &out, asJSON
	got.err = d.run(ctx)
	got.code, got.text = exitCode(got.err, io.Discard), out.String()
	if asJSON {
		if err := json.Unmarshal(out.Bytes(), &got); err != nil {
			t.Fatalf("%v:\n%s", err, got.text)
		}
	}
	return got
}

// A vector that no run makes is a difference, in values and in bytes: that is the verdict, the exit code, and the directory stays.
func TestDrill_SaysThatSomethingDiffers(t *testing.T) {
	t.Parallel()
	d := startDrill(t)
	d.bar = progressbar.NewOptions64(100, progressbar.OptionSetWriter(io.Discard))
	shown := map[int64]bool{}
	d.meddle = func(addr string, committed features.Version) {
		shown[d.bar.State().CurrentNum] = true
		client := redis.NewClient(&redis.Options{Addr: addr, DisableIdentity: true})
		defer client.Close()
		project := strings.TrimSuffix(client.Keys(t.Context(), "*:catalogue").Val()[0], ":catalogue")
		for key, value := range redistest.Vectors(t.Context(), client, project) {
			_, view, entity, _ := keys.ParseVector(key)
			client.Set(t.Context(), string(keys.AppendVector(nil, project, view, "nobody-"+entity)), value, 0)
			return
		}
	}
	for _, asJSON := range []bool{true, false} {
		got := runDrill(t, t.Context(), d, asJSON)
		if got.code != exitFailed || !errors.Is(got.err, errDiffers) {
			t.Errorf("exit %d: %v", got.code, got.err)
		}
		if asJSON && (got.Verdict != "different" || got.Error != "" || len(got.Rounds) != 1 || got.Rounds[0].Differences == 0 || len(got.Rounds[0].First) == 0) {
			t.Errorf("%+v", got)
		}
		if !asJSON && (!strings.Contains(got.text, "want no vector, got one") || !strings.Contains(got.text, "again: highwater drill") || strings.Contains(got.text, ": 0 differences")) {
			t.Error(got.text)
		}
		if _, err := os.Stat(d.roundDir(0)); err != nil || !d.keep {
			t.Errorf("what differs is gone: %v, keep %v", err, d.keep)
		}
		must(t, d.forget(0))
	}
	if len(shown) < 5 {
		t.Errorf("within its rounds the bar has stood at %v alone", shown)
	}
}

// A round that cannot be brought to its end is no proof of anything: the verdict says so in a word of its own, with the error.
func TestDrill_SaysThatItHasFailed(t *testing.T) {
	t.Parallel()
	d := startDrill(t)
	var err error
	d.program, err = exec.LookPath("false")
	must(t, err)
	for _, asJSON := range []bool{true, false} {
		got := runDrill(t, t.Context(), d, asJSON)
		if got.code != exitFailed || got.err == nil || errors.Is(got.err, errDiffers) || !strings.Contains(got.err.Error(), d.roundDir(0)) {
			t.Errorf("exit %d: %v", got.code, got.err)
		}
		if asJSON && (got.Verdict != "failed" || got.Error != got.err.Error() || len(got.Rounds) != 1 || got.Rounds[0].Error == "" || got.Rounds[0].sound()) {
			t.Errorf("%+v", got)
		}
		must(t, d.forget(0))
		if !asJSON && (!strings.Contains(got.text, "The drill has failed") || !strings.Contains(got.text, "0 of 1 rounds") || strings.Contains(got.text, "differences.")) {
			t.Error(got.text)
		}
	}
}

// Whoever stops a drill is told that it proves nothing, and finds nothing left.
func TestDrill_SaysThatItWasStopped(t *testing.T) {
	t.Parallel()
	d := startDrill(t)
	for _, asJSON := range []bool{true, false} {
		ctx, stop := context.WithCancel(t.Context())
		d.meddle = func(string, features.Version) { stop() }
		got := runDrill(t, ctx, d, asJSON)
		stop()
		if got.code != exitFailed || !errors.Is(got.err, errInterrupted) {
			t.Errorf("exit %d: %v", got.code, got.err)
		}
		if asJSON && (got.Verdict != "interrupted" || got.Error != errInterrupted.Error() || len(got.Rounds) != 0) {
			t.Errorf("%+v", got)
		}
		if !asJSON && (!strings.Contains(got.text, "stopped before its time") || strings.Contains(got.text, "differences.")) {
			t.Error(got.text)
		}
		if _, err := os.Stat(d.roundDir(0)); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("something is left of it: %v", err)
		}
	}
	must(t, d.close(t.Context()))
	if _, err := os.Stat(d.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is left: %v", d.dir, err)
	}
}

// The command that repeats a round says everything that the one before it was told, so that a shell reads it alike; no secret is among it.
func TestDrill_RepeatsWhatItWasTold(t *testing.T) {
	t.Setenv("HIGHWATER_REDIS_PASSWORD", "secret-1")
	dir := t.TempDir()
	file := filepath.Join(dir, "it's mine.yaml")
	must(t, os.WriteFile(file, nil, 0o600))
	parse := func(args []string) *drillCommand {
		t.Helper()
		s, _, err := parseSettings(args, io.Discard, io.Discard)
		must(t, err)
		return &s.cli.Drill
	}
	for _, args := range [][]string{
		{"drill", "--example", "surge"},
		{"drill", "--definitions", file, "--events", "a=" + dir + "/a b.csv", "--events", "$c.csv", "--kills", "3", "--partitions", "2", "--data-dir", dir + "/x y",
			"--kafka", "k1:9092", "--kafka", "k2:9092", "--kafka-tls", "--kafka-tls-ca", file, "--kafka-tls-cert", file, "--kafka-tls-key", file, "--kafka-tls-server-name", "k", "--kafka-sasl", "plain", "--kafka-username", "me", "--kafka-password-file", file,
			"--redis", "r1:1", "--redis", "r2:1", "--redis-cluster", "--redis-sentinel-master", "m", "--redis-sentinel-username", "s", "--redis-sentinel-password-file", file, "--redis-username", "u",
			"--redis-tls", "--redis-tls-ca", file, "--redis-tls-cert", file, "--redis-tls-key", file, "--redis-tls-server-name", "r", "--allow-eviction"},
	} {
		want := parse(args)
		seed := uint64(12)
		want.Seed, want.Rounds = &seed, 1
		command := want.repeat(seed)
		out, err := exec.Command("sh", "-c", "printf '%s\\n' "+strings.TrimPrefix(command, "highwater ")).Output()
		must(t, err)
		got := parse(strings.Split(strings.TrimSuffix(string(out), "\n"), "\n"))
		if !reflect.DeepEqual(got, want) || strings.Contains(command, "secret-1") {
			t.Errorf("%s\nis %+v\nwant %+v", command, got, want)
		}
	}
}

// Calls are kept for strays as long as there is room, and counted beyond.
func TestDrill_SaysWhichStraysWereLeftOut(t *testing.T) {
	c := &scriptCalls{}
	large := strings.Repeat("x", mostKept/2)
	for range 3 {
		c.keep([]string{large})
	}
	kept, leftOut := c.take()
	c.keep([]string{"a stray itself"})
	if again, left := c.take(); len(kept) != 2 || leftOut != 1 || len(again) != 0 || left != 1 {
		t.Errorf("%d kept, %d left out; then %d, %d", len(kept), leftOut, len(again), left)
	}
	d := &drill{drillCommand: &drillCommand{Rounds: 1}}
	var out bytes.Buffer
	p := &drillReport{d: d, out: &out, rounds: []roundResult{{Strays: 2, StraysLeft: 1}}}
	if p.print(drillEqual); !strings.Contains(out.String(), "2 stray calls (1 more were not kept for that") {
		t.Error(out.String())
	}
}
