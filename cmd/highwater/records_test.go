package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"highwater/features"
	"highwater/testutil/e2e"
)

// TestRecords_BadOnesAreDeadLetters sends every kind of bad record between good ones. None of them stops anything: each is counted by its reason in the summary, the status and the metrics, and stands in the dead-letter topic with
// headers that say why and where from. The good ones all count.
func TestRecords_BadOnesAreDeadLetters(t *testing.T) {
	t.Parallel()
	s := newShop(t, shopDefinitions(features.WallClock, 50*time.Millisecond))
	s.startKafka()
	s.startRedis()
	now := time.Now()
	good := func() []byte { return clickOf(t, click{User: "u1", Item: 7, Price: 1, TS: now.UnixMilli()}) }
	huge := fmt.Appendf(nil, `{"user_id":"u1","ts":%d,"note":"%s"}`, now.UnixMilli(), bytes.Repeat([]byte("x"), 10<<20))
	type refusal struct {
		value  []byte
		reason string // "" for a good one
		detail string // a part of it
	}
	records := []refusal{
		{good(), "", ""},
		{[]byte(`clicks, many of them`), "malformed", "want a JSON object"},
		{[]byte(`{"user_id":"u1","ts":`), "malformed", ""},
		{nil, "malformed", ""},
		{[]byte(`{"user_id":"u1","item":7}`), "no_time", "ts"},
		{[]byte(`{"user_id":"u1","ts":"yesterday"}`), "type", "ts"},
		{fmt.Appendf(nil, `{"user_id":17,"ts":%d}`, now.UnixMilli()), "type", "user_id"},
		{fmt.Appendf(nil, `{"user_id":"u1","item":"7","ts":%d}`, now.UnixMilli()), "type", "item"},
		{good(), "", ""},
		{huge, "too_large", "max_record_bytes is 1048576"},
		{fmt.Appendf(nil, `{"user_id":"u1","ts":%d}`, now.Add(time.Hour).UnixMilli()), "absurd", "max_future (10m0s)"},
		{fmt.Appendf(nil, `{"user_id":"u1","ts":%d}`, now.Add(-time.Hour).UnixMilli()), "late", "behind the partition's watermark"},
		{fmt.Appendf(nil, `{"user_id":"u1","user_id":"u2","ts":%d}`, now.UnixMilli()), "duplicate", "user_id"},
		{good(), "", ""},
	}
	want, refused := map[string]int64{}, int64(0)
	for _, r := range records {
		s.send(r.value)
		if r.reason != "" {
			want[r.reason]++
			refused++
		}
	}
	w := s.worker()
	client := e2e.Client{Base: "http://" + e2e.Log(w.AwaitLog("worker started"), "worker started", "addr")}
	at := s.awaitCommitted(w)
	if c := at.Counters; c.Events != 4 || c.Late != 1 || c.DeadLetter != refused-1 || fmt.Sprint(c.Reasons) != fmt.Sprint(want) {
		t.Errorf("counters %+v, want 4 events of which 1 is late, and %v", c, want)
	}
	checkClicks(t, client, "u1", 3)

	_, metrics := client.Get(t, "/metrics")
	for reason, n := range want {
		line := fmt.Sprintf("highwater_dead_letters_total{reason=%q} %d\n", reason, n)
		if reason == "late" {
			line = fmt.Sprintf("highwater_late_total %d\n", n)
		}
		if !strings.Contains(string(metrics), line) {
			t.Errorf("/metrics lacks %q", line)
		}
	}
	var status struct {
		Tasks []struct {
			Dead []struct {
				Topic  string
				Offset int64
				Reason string
				Detail string
			} `json:"dead_letters"`
		}
	}
	eventually(t, "the status to show dead letters", func() error {
		_, text := client.Get(t, "/v1/status")
		if err := json.Unmarshal(text, &status); err != nil {
			return err
		}
		if len(status.Tasks) != 1 || len(status.Tasks[0].Dead) == 0 {
			return fmt.Errorf("%s", text)
		}
		return nil
	})
	for _, d := range status.Tasks[0].Dead {
		if r := records[d.Offset]; d.Topic != "clicks" || d.Reason != r.reason || !strings.Contains(d.Detail, r.detail) {
			t.Errorf("the status shows %+v, want reason %s with %q", d, r.reason, r.detail)
		}
	}

	letters := s.deadLetters(int(refused))
	next := 0
	for offset, r := range records {
		if r.reason == "" {
			continue
		}
		letter := letters[next]
		next++
		headers := map[string]string{}
		for _, h := range letter.Headers {
			headers[h.Key] = string(h.Value)
		}
		value := r.value
		if r.reason == "too_large" {
			value = nil
			if headers["value"] != "omitted" {
				t.Errorf("the dead letter of offset %d does not say that its value was left out", offset)
			}
		}
		if !bytes.Equal(letter.Value, value) {
			t.Errorf("the dead letter of offset %d holds %.100q, want %.100q", offset, letter.Value, value)
		}
		if headers["reason"] != r.reason || !strings.Contains(headers["detail"], r.detail) || headers["detail"] == "" || headers["topic"] != "clicks" || headers["source"] != "clicks" ||
			headers["partition"] != "0" || headers["offset"] != fmt.Sprint(offset) || headers["generation"] != "1" || headers["sequence"] == "" {
			t.Errorf("the dead letter of offset %d has the headers %v, want reason %s with %q", offset, headers, r.reason, r.detail)
		}
	}
	stopped(t, w)

	// The summary of dev tells the same of the same topic.
	history := filepath.Join(t.TempDir(), "history.yaml")
	must(t, os.WriteFile(history, []byte(shopDefinitions(features.EventClock, 50*time.Millisecond)), 0o600))
	code, out, log := e2e.Run(t, "dev", "--definitions", history, "--kafka", s.kafka, "--addr", "127.0.0.1:0", "--exit-when-drained", "--json")
	var sum summary
	if err := json.Unmarshal([]byte(out), &sum); code != exitDone || err != nil || sum.Events != 4 || sum.Late != 1 || sum.DeadLetter != refused-1 {
		t.Errorf("dev ended with %d and %q (%v), want 4 events, 1 late, %d dead letters; its log:\n%s", code, out, err, refused-1, log)
	}
}

// deadLetters reads the first n records of the dead-letter topic.
func (s *shop) deadLetters(n int) []*kgo.Record {
	s.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.kafka), kgo.ConsumeTopics("clicks_refused"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	must(s.t, err)
	defer client.Close()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	var records []*kgo.Record
	for len(records) < n {
		fetches := client.PollFetches(ctx)
		must(s.t, fetches.Err())
		records = append(records, fetches.Records()...)
	}
	return records
}
