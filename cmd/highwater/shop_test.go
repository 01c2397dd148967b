package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"highwater/batch/kafka/embedded"
	"highwater/features"
	embeddedredis "highwater/store/online/embedded"
	"highwater/testutil/e2e"
	"highwater/testutil/ports"
)

// shopYAML is a small live project: by its clock and its interval, which stand for CLOCK and INTERVAL.
const shopYAML = `
project: shop
clock: CLOCK
batch: {interval: INTERVAL}
entities:
  user: {join_key: user_id, type: string}
  item: {join_key: item, type: int64}
sources:
  clicks:
    kafka: {topic: clicks, dead_letter: clicks_refused}
    timestamp: {field: ts, unit: ms}
    key: user_id
    max_lateness: 30s
    fields: {user_id: string, item: int64, price: double}
feature_views:
  users:
    source: clicks
    entity: user
    features:
      clicks: {aggregate: count}
      spent: {aggregate: sum, of: price}
  items:
    source: clicks
    entity: item
    features:
      clicks: {aggregate: count}
feature_services:
  model: [users]
  shelf: [items, users]
`

func shopDefinitions(clock features.Clock, interval time.Duration) string {
	return strings.NewReplacer("CLOCK", string(clock), "INTERVAL", fmt.Sprintf("%dms", interval.Milliseconds())).Replace(shopYAML)
}

// shop is Highwater as it is deployed, with an embedded broker and a miniredis in the places of Kafka and Redis: both have fixed addresses, and can be down.
type shop struct {
	t           testing.TB
	definitions string // the file
	dataDir     string
	brokerDir   string
	kafka       string // the broker's address
	broker      *embedded.Broker
	redis       *embeddedredis.Redis
	redisAddr   string
	sent        int64
}

// newShop makes the definitions and finds addresses; nothing runs yet.
func newShop(t testing.TB, definitions string) *shop {
	t.Helper()
	dir := t.TempDir()
	s := &shop{t: t, definitions: filepath.Join(dir, "shop.yaml"), dataDir: filepath.Join(dir, "data"), brokerDir: filepath.Join(dir, "broker"), kafka: freeAddr(t), redisAddr: freeAddr(t)}
	must(t, os.WriteFile(s.definitions, []byte(definitions), 0o600))
	s.redis = embeddedredis.New(nil)
	t.Cleanup(func() {
		s.stopKafka()
		s.redis.Close()
	})
	return s
}

// startKafka starts the broker, with what it had before.
func (s *shop) startKafka() {
	s.t.Helper()
	var err error
	s.broker, err = embedded.Start(embedded.Options{DataDir: s.brokerDir, Listen: s.kafka, Topics: map[string]int{"clicks": 1, "clicks_refused": 1}})
	must(s.t, err)
}

func (s *shop) stopKafka() {
	if s.broker != nil {
		must(s.t, s.broker.Close())
		s.broker = nil
	}
}

// startRedis starts Redis, with what it had before.
func (s *shop) startRedis() {
	s.t.Helper()
	must(s.t, s.redis.Start(s.redisAddr))
}

func (s *shop) stopRedis() { s.redis.Close() }

// worker starts a worker.
func (s *shop) worker(flags ...string) *e2e.Process {
	s.t.Helper()
	return e2e.Start(s.t, append([]string{"worker", "--definitions", s.definitions, "--kafka", s.kafka, "--redis", s.redisAddr, "--data-dir", s.dataDir, "--addr", "127.0.0.1:0"}, flags...)...)
}

// serve starts a server of features, and returns it with a client of it.
func (s *shop) serve() (*e2e.Process, e2e.Client) {
	s.t.Helper()
	p := e2e.Start(s.t, "serve", "--project", "shop", "--redis", s.redisAddr, "--addr", "127.0.0.1:0")
	return p, e2e.Client{Base: "http://" + e2e.Log(p.AwaitLog("msg=serving"), "msg=serving", "addr")}
}

// click is one event of the shop.
type click struct {
	User  string  `json:"user_id"`
	Item  int64   `json:"item"`
	Price float64 `json:"price"`
	TS    int64   `json:"ts"`
}

// send puts records into the topic clicks, and returns once the broker has them.
func (s *shop) send(values ...[]byte) {
	s.t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(s.kafka), kgo.DefaultProduceTopic("clicks"), kgo.ProducerBatchMaxBytes(32<<20), kgo.MaxBufferedBytes(64<<20))
	must(s.t, err)
	defer client.Close()
	var records []*kgo.Record
	for _, v := range values {
		records = append(records, &kgo.Record{Value: v})
	}
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	must(s.t, client.ProduceSync(ctx, records...).FirstErr())
	s.sent += int64(len(values))
}

// sendClicks sends n clicks of one user, of now, at a price of 1 each.
func (s *shop) sendClicks(user string, n int) {
	s.t.Helper()
	var values [][]byte
	for i := range n {
		values = append(values, clickOf(s.t, click{User: user, Item: int64(i % 7), Price: 1, TS: time.Now().UnixMilli()}))
	}
	s.send(values...)
}

func clickOf(t testing.TB, c click) []byte {
	t.Helper()
	value, err := json.Marshal(c)
	must(t, err)
	return value
}

// inspect asks the worker of the data directory.
func (s *shop) inspect() (inspection, error) {
	var in inspection
	running, err := askWorker(s.t.Context(), s.dataDir, http.MethodGet, "/inspect", inspectQuery{plans: 100}.values(), &in)
	if err == nil && !running {
		err = fmt.Errorf("no worker answers on %s", s.dataDir)
	}
	return in, err
}

// awaitCommitted waits until all that was sent is committed, and returns the counters then.
func (s *shop) awaitCommitted(p *e2e.Process) inspectedPosition {
	s.t.Helper()
	var at inspectedPosition
	eventually(s.t, fmt.Sprintf("%d records to be committed", s.sent), func() error {
		select {
		case <-p.Ended():
			s.t.Fatalf("the worker has ended:\n%s", p.Stderr())
		default:
		}
		in, err := s.inspect()
		if err != nil {
			return err
		}
		if at = in.Position; at.Counters.Events+at.Counters.DeadLetter != s.sent { // offsets may be more: the markers of transactions have some too
			return fmt.Errorf("the worker is at %+v", at)
		}
		return nil
	})
	return at
}

// checkClicks waits until a user's count is n over HTTP: vectors are there before their batch counts as committed, but a reader may have to connect again.
func checkClicks(t testing.TB, c e2e.Client, user string, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d clicks of %s", n, user), func() error {
		status, text := c.Get(t, "/v1/features/users/"+user)
		if want := fmt.Sprintf(`"features":{"clicks":%d,"spent":%d.0}`, n, n); status != http.StatusOK || !strings.Contains(string(text), want) {
			return fmt.Errorf("status %d: %s, want %s", status, text, want)
		}
		return nil
	})
}

// stopped asks a process to stop and checks that it does so within 10 s, and well.
func stopped(t testing.TB, p *e2e.Process) {
	t.Helper()
	start := time.Now()
	p.Terminate()
	if code, took := p.Wait(), time.Since(start); code != exitDone || took > 10*time.Second {
		t.Fatalf("told to stop, it ended with %d after %s, want 0 within 10s; its log:\n%s", code, took, p.Stderr())
	}
}

// freeAddr returns an address of the loopback interface that stays free until somebody listens there.
func freeAddr(t testing.TB) string {
	t.Helper()
	addr, err := ports.Free()
	must(t, err)
	return addr
}
