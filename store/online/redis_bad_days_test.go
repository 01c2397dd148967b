package online_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"highwater/batch"
	"highwater/features"
	"highwater/store/online"
	"highwater/testutil/redistest"

	"github.com/redis/go-redis/v9"
)

// Bad days of a real Redis. In each the error says what is wrong, is of its kind, and is retried; and when the day is mended the same call succeeds.

// expectKind expects an error that is retried.
func expectKind(t *testing.T, err error, kind string, words ...string) {
	t.Helper()
	expectOutage(t, err, words...)
	if have := batch.KindOf(err); have != kind {
		t.Errorf("%v is of the kind %s, want %s", err, have, kind)
	}
}

// mended publishes one more version of an entity, as the driver would: until it is confirmed.
func mended(t *testing.T, s *online.Store, v features.Vector) {
	t.Helper()
	patiently(t, func() error {
		_, err := s.Publish(t.Context(), output(v))
		return err
	})
}

func do(t *testing.T, c *redis.Client, args ...any) {
	t.Helper()
	if err := c.Do(t.Context(), args...).Err(); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
}

// fields are a command's words, to be given to do.
func fields(command string) []any {
	var words []any
	for word := range strings.FieldsSeq(command) {
		words = append(words, word)
	}
	return words
}

func TestRedis_BadDays(t *testing.T) {
	w, server := realWorld(t)
	client := w.client.(*redis.Client)
	o := w.project()
	s := openStore(t, o)
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	sequence := uint64(0)
	next := func() features.Vector {
		sequence++
		return live(clicks(), "a", version(1, sequence), 0)
	}
	for _, day := range []struct {
		name, kind string
		spoil      func()
		words      []string
		mend       func()
	}{
		{"min-replicas-to-write", batch.KindReadOnly, func() { do(t, client, "config", "set", "min-replicas-to-write", 1) }, []string{"NOREPLICAS", "min-replicas-to-write"}, func() { do(t, client, "config", "set", "min-replicas-to-write", 0) }},
		{"hung", batch.KindTimeout, func() { server.Pause(t) }, []string{"no answer in time"}, func() { server.Resume(t) }},
		{"down", batch.KindUnreachable, server.Stop, []string{"Redis running"}, func() { server.Restart(t) }},
		{"loading", batch.KindLoading, func() {
			for i := range 100 {
				do(t, server.Client(t), "set", fmt.Sprint("other", i), strings.Repeat("x", 4096))
			}
			server.Snapshot(t)
			server.RestartFromSnapshot(t, "Loading RDB produced by", "--key-load-delay", "100000", "--loading-process-events-interval-bytes", "1024")
		}, []string{"LOADING", "from disk"}, func() { server.RestartFromSnapshot(t, "", "--key-load-delay", "0") }},
	} {
		t.Run(day.name, func(t *testing.T) {
			mended(t, s, next())
			day.spoil()
			v := next()
			var err error
			redistest.Eventually(t, "the day to begin", func() error { // connections of before may only tell that they were cut
				if _, err = s.Publish(t.Context(), output(v)); err == nil || !strings.Contains(err.Error(), day.words[0]) {
					return fmt.Errorf("publish says: %w", err)
				}
				return nil
			})
			expectKind(t, err, day.kind, day.words...)
			day.mend()
			mended(t, s, v)
			w.expectStored(t, o, v)
		})
	}
}

func TestRedis_TLS(t *testing.T) {
	certificates := redistest.NewCertificates(t)
	certificates.AskClients = true
	server := redistest.StartTLS(t, certificates)
	stranger := redistest.NewCertificates(t)
	good := online.TLS{On: true, CAFile: certificates.CA, CertFile: certificates.ClientCert, KeyFile: certificates.ClientKey}
	w := &world{addrs: []string{server.Addr}, client: server.Client(t), as: online.Options{TLS: good}}
	check := func(spoil func(*online.TLS)) error {
		o := w.project()
		spoil(&o.TLS)
		return openStore(t, o).Check(t.Context())
	}
	if err := check(func(c *online.TLS) { c.ServerName = "redis.test" }); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		words string
		spoil func(*online.TLS)
	}{
		{"--redis-tls-ca", func(c *online.TLS) { c.CAFile = stranger.CA }},
		{"--redis-tls-ca", func(c *online.TLS) { c.CAFile = "" }},
		{"--redis-tls-server-name", func(c *online.TLS) { c.ServerName = "redis.example" }},
		{"--redis-tls-cert", func(c *online.TLS) { c.CertFile, c.KeyFile = stranger.ClientCert, stranger.ClientKey }},
	} {
		err := check(c.spoil)
		expectPermanent(t, err, server.Addr, c.words)
		if kind := batch.KindOf(err); kind != batch.KindAuth {
			t.Errorf("%v is of the kind %s", err, kind)
		}
	}
	expectKind(t, check(func(c *online.TLS) { *c = online.TLS{} }), batch.KindUnreachable, "--redis-tls")
	plain := redistest.Start(t)
	o := w.project()
	o.Addrs = []string{plain.Addr}
	err := openStore(t, o).Check(t.Context())
	if err == nil {
		t.Fatal("a server without TLS was taken for one with it")
	}
	expectWords(t, err, plain.Addr, "agree on TLS")

	// An authority that is renewed while a store is open: the next connection knows it.
	file := filepath.Join(t.TempDir(), "ca.pem")
	copyFile(t, certificates.CA, file)
	o = w.project()
	o.TLS.CAFile = file
	s := openStore(t, o)
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	killClients := func() { do(t, w.client.(*redis.Client), "client", "kill", "type", "normal", "skipme", "yes") }
	copyFile(t, stranger.CA, file)
	killClients()
	redistest.Eventually(t, "a connection to be refused", func() error {
		_, err = s.Publish(t.Context(), output(live(clicks(), "a", version(1, 1), 0)))
		if err == nil || !strings.Contains(err.Error(), "agree on TLS") {
			return fmt.Errorf("publish says: %w", err)
		}
		return nil
	})
	expectKind(t, err, batch.KindAuth, "--redis-tls-ca")
	copyFile(t, certificates.CA, file)
	mended(t, s, live(clicks(), "a", version(1, 1), 0))
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// A password that is changed while a store is open is waited for, and the new one is taken up by the next connection.
func TestRedis_PasswordIsRotated(t *testing.T) {
	server := redistest.Start(t)
	client := server.Client(t)
	do(t, client, fields("acl setuser writer on >old ~* +@all")...)
	var mu sync.Mutex // guards secret
	secret := "old"
	w := &world{addrs: []string{server.Addr}, client: client, as: online.Options{Username: "writer", Password: func() (string, error) {
		mu.Lock()
		defer mu.Unlock()
		return secret, nil
	}}}
	o := w.project()
	s := openStore(t, o)
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	do(t, client, fields("acl setuser writer resetpass >new")...)
	mended(t, s, live(clicks(), "a", version(1, 1), 0)) // who is logged in stays so
	do(t, client, fields("client kill user writer")...)
	var err error
	redistest.Eventually(t, "the password to be refused", func() error {
		_, err = s.Publish(t.Context(), output(live(clicks(), "a", version(1, 2), 0)))
		if err == nil || !strings.Contains(err.Error(), "WRONGPASS") {
			return fmt.Errorf("publish says: %w", err)
		}
		return nil
	})
	expectKind(t, err, batch.KindAuth, "user or password are wrong")
	if strings.Contains(err.Error(), "old") || strings.Contains(err.Error(), "new") {
		t.Errorf("the password is in the error: %v", err)
	}
	mu.Lock()
	secret = "new"
	mu.Unlock()
	mended(t, s, live(clicks(), "a", version(1, 2), 0))
	w.expectStored(t, o, live(clicks(), "a", version(1, 2), 0))
}

// The rights that docs/operations/redis.md names are enough for all that a worker and a server do, and each of them is needed.
func TestRedis_Rights(t *testing.T) {
	w, _ := realWorld(t)
	for i, line := range documentedRights(t) {
		testRights(t, w, []*redis.Client{w.client.(*redis.Client)}, line, i == 0)
	}
}

func TestCluster_Rights(t *testing.T) {
	w, cluster := clusterWorld(t)
	rights := documentedRights(t)
	testRights(t, w, nodesOf(t, cluster), rights[0]+" +cluster|slots +asking +cluster|nodes", true)
	testRights(t, w, nodesOf(t, cluster), rights[1]+" +cluster|slots +asking", false)
}

func nodesOf(t *testing.T, c *redistest.Cluster) (nodes []*redis.Client) {
	for _, s := range c.Nodes {
		nodes = append(nodes, s.Client(t))
	}
	return nodes
}

// documentedRights are the writer's and the reader's, as the page has them.
func documentedRights(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile("../../docs/operations/redis.md")
	if err != nil {
		t.Fatal(err)
	}
	var rights []string
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "ACL SETUSER ") {
			rights = append(rights, strings.TrimSpace(line))
		}
	}
	if len(rights) != 2 {
		t.Fatalf("the page has %d ACL lines, want the writer's and the reader's", len(rights))
	}
	return rights
}

func testRights(t *testing.T, w *world, servers []*redis.Client, line string, writes bool) {
	t.Helper()
	o := w.project()
	name := strings.Fields(line)[2]
	grant := func(rights string) {
		t.Helper()
		for _, c := range servers {
			do(t, c, fields(rights)...)
			_ = c.Do(t.Context(), "client", "kill", "user", name).Err() // nobody may be there
		}
	}
	line = strings.ReplaceAll(line, "ads:", o.Project+":")
	grant(line)
	as := o
	as.Username, as.Password = name, password("PASSWORD")
	a := live(clicks(), "a", version(1, 1), 0)
	read := func(o online.Options) error {
		r := openReader(t, o)
		_, _, catalogueErr := r.Catalogue(t.Context())
		_, heartbeatsErr := r.Heartbeats(t.Context())
		_, fetchErr := r.Fetch(t.Context(), []features.VectorKey{{View: "clicks", Entity: "a"}, {View: "clicks", Entity: "b"}})
		return errors.Join(catalogueErr, heartbeatsErr, fetchErr)
	}
	if !writes {
		prepare := openStore(t, o)
		if err := prepare.WriteCatalogue(t.Context(), features.Catalogue{Project: o.Project, Tasks: 1}); err != nil {
			t.Fatal(err)
		}
		publish(t, prepare, batch.Outcome{Written: 1}, a)
		if err := read(as); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		_, err := openStore(t, as).Publish(t.Context(), output(a))
		expectPermanent(t, err, "NOPERM")
		for _, right := range rightsIn(line, "+info", "+asking") {
			grant(strings.ReplaceAll(line+" ", " "+right+" ", " "))
			if err := read(as); err == nil {
				t.Errorf("nothing that reads needs %s", right)
			}
		}
		return
	}
	work := func(s *online.Store) error {
		if err := s.Check(t.Context()); err != nil {
			return err
		}
		v := version(1, 1)
		_, publishErr := s.Publish(t.Context(), output(a, tombstone(clicks(), "b", v)))
		_, confirmErr := s.Confirmed(t.Context(), version(0, 0), batch.Key{Version: v, Log: "log"})
		_, sweepErr := s.Sweep(t.Context(), version(1, 0), time.Now().UnixMicro(), 0, nil)
		_, _, readErr := s.Read(t.Context())
		restoringErr := s.Restoring(t.Context(), batch.Key{Version: v, Log: "log"})
		_, restoreErr := s.Restore(t.Context(), batch.Key{Version: v, Log: "log"})
		_, _, ownerErr := s.Owner(t.Context())
		return errors.Join(publishErr, s.Claim(t.Context(), batch.Claim{Version: v, Log: "log"}), s.Planned(t.Context(), v, "log"), confirmErr, restoringErr, restoreErr, ownerErr, s.Beat(t.Context(), batch.Heartbeat{}),
			s.WriteCatalogue(t.Context(), features.Catalogue{Project: o.Project, Tasks: 1}), sweepErr, readErr)
	}
	s := openStore(t, as)
	if err := work(s); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	for _, right := range rightsIn(line, "+info", "+asking") { // what is only missed on some day
		grant(strings.ReplaceAll(line+" ", " "+right+" ", " "))
		err := work(openStore(t, as))
		if err == nil {
			t.Errorf("nothing that writes needs %s", right)
			continue
		}
		if !strings.Contains(right, "cluster") {
			expectPermanent(t, err, "docs/operations/redis.md")
			if kind := batch.KindOf(err); kind != batch.KindDenied {
				t.Errorf("without %s: %v is of the kind %s", right, err, kind)
			}
		}
	}
	grant("ACL SETUSER " + name + " resetkeys ~other:*")
	expectPermanent(t, openStore(t, as).Check(t.Context()), "may not run", "MSET "+o.Project)
	retried := func(words string) { // by a store that had the rights before
		t.Helper()
		var err error
		redistest.Eventually(t, "the store to be denied", func() error {
			if _, err = s.Publish(t.Context(), output(live(clicks(), "a", version(1, 2), 0))); err == nil || !strings.Contains(err.Error(), words) {
				return fmt.Errorf("publish says: %w", err)
			}
			return nil
		})
		expectKind(t, err, batch.KindDenied, "docs/operations/redis.md")
	}
	retried("NOPERM")
	grant(line + " -mset")
	retried("executing the script")
	grant(line)
	mended(t, s, live(clicks(), "a", version(1, 2), 0))
}

// rightsIn are the commands that a line grants, but for those.
func rightsIn(line string, but ...string) (rights []string) {
	for word := range strings.FieldsSeq(line) {
		if strings.HasPrefix(word, "+") && !slices.Contains(but, word) {
			rights = append(rights, word)
		}
	}
	return rights
}

// A policy that is changed while a task runs is told, loudly and once; what was evicted is republished when there is an end to it.
func TestRedis_BeginsToEvict(t *testing.T) {
	w, server := realWorld(t)
	client := w.client.(*redis.Client)
	var log bytes.Buffer
	var heard []online.Eviction
	o := w.project()
	o.Log = slog.New(slog.NewTextHandler(&log, nil))
	o.OnEviction = func(e online.Eviction) { heard = append(heard, e) }
	s := openStore(t, o)
	if err := s.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	publish(t, s, batch.Outcome{Written: 1}, live(clicks(), "a", version(1, 1), 0))
	planned(t, s, version(1, 1), "log")
	k := batch.Key{Planned: version(1, 1), Version: version(1, 1), Log: "log"}
	confirmed(t, s, version(0, 0), k, true)
	beat := func(lost string) {
		t.Helper()
		if err := s.Beat(t.Context(), batch.Heartbeat{}); err != nil {
			t.Fatal(err)
		}
		if got, _, err := s.Read(t.Context()); err != nil || (got.Lost != "") != (lost != "") || !strings.Contains(got.Lost, lost) {
			t.Fatalf("the task key says it is lost by %q, %v; want %q", got.Lost, err, lost)
		}
	}
	logged := func(want string) {
		t.Helper()
		if got := log.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, want) || !strings.Contains(got, server.Addr) {
			t.Fatalf("the log is %q, want one line with %q", got, want)
		}
		log.Reset()
	}
	beat("")
	do(t, client, "config", "set", "maxmemory-policy", "allkeys-random")
	beat("")
	logged("may evict vectors now")
	beat("") // it has been told
	if log.Len() > 0 || len(heard) != 1 || heard[0].Policy != "allkeys-random" || !heard[0].Evicts() {
		t.Fatalf("log %q, heard %+v", log.String(), heard)
	}
	for i := range 50 {
		do(t, client, "set", fmt.Sprint("other", i), strings.Repeat("x", 10_000))
	}
	do(t, client, "config", "set", "maxmemory", "1mb")
	evicted := func() bool {
		info, err := client.Info(t.Context(), "stats").Result()
		return err == nil && !strings.Contains(info, "evicted_keys:0\r")
	}
	redistest.Eventually(t, "Redis to evict", func() error {
		if !evicted() {
			return client.Set(t.Context(), fmt.Sprint("more", time.Now().UnixNano()), strings.Repeat("x", 10_000), 0).Err()
		}
		return nil
	})
	do(t, client, "config", "set", "maxmemory", 0)
	if _, found, _ := s.Read(t.Context()); !found { // evicted itself: a loss of the other sort
		planned(t, s, version(1, 1), "log")
		restore(t, s, k)
	}
	beat("") // not yet: as long as it may evict, writing more is no use
	logged("Redis evicts vectors")
	if last := heard[len(heard)-1]; last.Evicted == 0 {
		t.Errorf("heard %+v, want how many keys were evicted", last)
	}
	do(t, client, "config", "set", "maxmemory-policy", "noeviction")
	beat("evicted keys")
	logged("does not evict any more")
	beat("evicted keys")
	restore(t, s, k)
	beat("")
}

// A slot that nobody owns is waited for.
func TestCluster_SlotWithoutOwner(t *testing.T) {
	w, cluster := clusterWorld(t)
	o := w.project()
	s := openStore(t, o)
	a := live(clicks(), "a", version(1, 1), 0)
	publish(t, s, batch.Outcome{Written: 1}, a)
	slot := w.client.(*redis.ClusterClient).ClusterKeySlot(t.Context(), keyOf(o, a)).Val()
	owner := -1
	for i, c := range nodesOf(t, cluster) {
		if c.Get(t.Context(), keyOf(o, a)).Err() == nil {
			owner = i
		}
	}
	nodes := nodesOf(t, cluster)
	for _, c := range nodes {
		do(t, c, "cluster", "delslots", slot)
	}
	var err error
	redistest.Eventually(t, "the cluster to miss the slot", func() error {
		_, err = s.Publish(t.Context(), output(live(clicks(), "a", version(1, 2), 0)))
		if err == nil || !strings.Contains(err.Error(), "CLUSTERDOWN") {
			return fmt.Errorf("publish says: %w", err)
		}
		return nil
	})
	expectKind(t, err, batch.KindMoving, "CLUSTERDOWN", "does not cover all slots")
	do(t, nodes[owner], "cluster", "addslots", slot)
	mended(t, s, live(clicks(), "a", version(1, 2), 0))
	w.client.(*redis.ClusterClient).ReloadState(context.Background())
	redistest.Eventually(t, "the vector to be there", func() error { return w.client.Get(t.Context(), keyOf(o, a)).Err() })
	w.expectStored(t, o, live(clicks(), "a", version(1, 2), 0))
}
