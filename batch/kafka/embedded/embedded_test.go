package embedded_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"highwater/batch/kafka/embedded"
)

const childVariable = "HIGHWATER_EMBEDDED_CHILD"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childVariable); dir != "" {
		child(dir)
	}
	goleak.VerifyTestMain(m)
}

func start(t testing.TB, o embedded.Options) *embedded.Broker {
	t.Helper()
	b, err := embedded.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func client(t testing.TB, b *embedded.Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	c, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(b.Addrs()...), kgo.DefaultProduceTopic("events"), kgo.RecordPartitioner(kgo.ManualPartitioner())}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func produce(t testing.TB, c *kgo.Client, partition int32, values ...string) {
	t.Helper()
	for _, v := range values {
		if err := c.ProduceSync(context.Background(), &kgo.Record{Partition: partition, Value: []byte(v), Timestamp: time.UnixMilli(1000)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// first reads the first n values of a partition.
func first(t testing.TB, b *embedded.Broker, partition int32, n int) []string {
	t.Helper()
	c := client(t, b, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"events": {partition: kgo.NewOffset().At(0)}}))
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var values []string
	for len(values) < n {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err0(); err != nil {
			t.Fatalf("%d of %d records: %v", len(values), n, err)
		}
		for _, r := range fetches.Records() {
			values = append(values, string(r.Value))
		}
	}
	return values
}

func closed(t testing.TB, b *embedded.Broker) {
	t.Helper()
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
}

// Records of 1970 are still there after a restart: nothing retires them.
func TestStart_KeepsRecords(t *testing.T) {
	o := embedded.Options{DataDir: t.TempDir(), Topics: map[string]int{"events": 2}}
	b := start(t, o)
	produce(t, client(t, b), 1, "one", "two")
	closed(t, b)
	o.Topics["more"] = 1 // one topic more than before
	b = start(t, o)
	defer closed(t, b)
	if got := first(t, b, 1, 2); strings.Join(got, " ") != "one two" {
		t.Errorf("after a restart there is %v", got)
	}
	produce(t, client(t, b, kgo.DefaultProduceTopic("more")), 0, "three")
}

func TestStart_InMemory(t *testing.T) {
	b := start(t, embedded.Options{Topics: map[string]int{"events": 1}, Listen: "127.0.0.1:0"})
	defer closed(t, b)
	produce(t, client(t, b), 0, "one")
	if got := first(t, b, 0, 1); got[0] != "one" {
		t.Errorf("there is %v", got)
	}
}

func TestStart_Refuses(t *testing.T) {
	o := embedded.Options{DataDir: t.TempDir(), Topics: map[string]int{"events": 2}}
	b := start(t, o)
	refuses(t, o, "another process has it", o.DataDir)
	closed(t, b)
	other := o
	other.Topics = map[string]int{"events": 3}
	refuses(t, other, "topic events", "has 2 partitions, not 3")
	other.Topics = map[string]int{"none": 0}
	refuses(t, other, "topic none", "want at least 1")
	other.Listen = "127.0.0.1:not-a-port"
	refuses(t, other, "start the embedded Kafka broker")
	closed(t, start(t, o)) // no refusal kept the lock, or hurt what is there
}

func refuses(t *testing.T, o embedded.Options, parts ...string) {
	t.Helper()
	b, err := embedded.Start(o)
	if err == nil {
		closed(t, b)
		t.Fatalf("started; want an error that says %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

// A process killed while it writes loses nothing that it was told is acknowledged, round after round on the same directory.
func TestStart_SurvivesKill(t *testing.T) {
	dir := t.TempDir()
	acknowledged := 0
	for range 3 {
		acknowledged = killedAfter(t, dir, acknowledged+200)
	}
	b := start(t, embedded.Options{DataDir: dir, Topics: map[string]int{"events": 1}})
	defer closed(t, b)
	for i, v := range first(t, b, 0, acknowledged) {
		if v != fmt.Sprint(i) {
			t.Fatalf("record %d is %q", i, v)
		}
	}
}

// A transaction that is open when the process is killed is aborted, for every reader and after every further start, and hides nothing that the same producer commits later.
func TestStart_EndsWhatWasOpen(t *testing.T) {
	dir := t.TempDir()
	o := embedded.Options{DataDir: dir, Topics: map[string]int{"events": 1}}
	want := ""
	for life := range 3 {
		transactions(t, start(t, o), fmt.Sprintf("kept-%d", life), fmt.Sprintf("lost-%d", life))
		dir = copied(t, dir) // as a process that is killed leaves it: the broker that runs never gets to close it
		o.DataDir = dir
		want += fmt.Sprintf("kept-%d ", life)
		b := start(t, o)
		if got := committed(t, b); got != want {
			t.Fatalf("after life %d readers see %q, want %q", life, got, want)
		}
		closed(t, b)
	}
}

// transactions commits one record, and leaves a transaction open with another. The broker is closed at the test's end.
func transactions(t *testing.T, b *embedded.Broker, keep, lose string) {
	t.Helper()
	t.Cleanup(func() { closed(t, b) })
	c := client(t, b, kgo.TransactionalID("loader"))
	for _, value := range []string{keep, lose} {
		if err := c.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		produce(t, c, 0, value)
		if value == keep {
			if err := c.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// copied copies a directory that is in use.
func copied(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return to
}

// committed returns what a reader of committed records finds, up to the log's end.
func committed(t *testing.T, b *embedded.Broker) (values string) {
	t.Helper()
	c := client(t, b, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"events": {0: kgo.NewOffset().At(0)}}), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords())
	ends, err := kadm.NewClient(c).ListCommittedOffsets(t.Context(), "events")
	if err != nil {
		t.Fatal(err)
	}
	end, _ := ends.Lookup("events", 0)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for next := int64(0); next < end.Offset; {
		fetches := c.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("at offset %d of %d: %v", next, end.Offset, err)
		}
		for _, r := range fetches.Records() {
			if next = r.Offset + 1; !r.Attrs.IsControl() {
				values += string(r.Value) + " "
			}
		}
	}
	return values
}

// killedAfter runs a process that writes numbers from where the log ends, and kills it when it has said that so many are acknowledged. It returns how many there were in the end.
func killedAfter(t *testing.T, dir string, enough int) int {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childVariable+"="+dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	acknowledged := 0
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if _, err := fmt.Sscan(lines.Text(), &acknowledged); err != nil {
			t.Fatalf("the child says %q", lines.Text())
		}
		if acknowledged >= enough {
			_ = cmd.Process.Kill() // it may say a few more first
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the child ended by itself")
	}
	if acknowledged < enough {
		t.Fatalf("the child ended after %d records, want %d", acknowledged, enough)
	}
	return acknowledged
}

// child is the process that is killed.
func child(dir string) {
	b, err := embedded.Start(embedded.Options{DataDir: dir, Topics: map[string]int{"events": 1}})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	c, err := kgo.NewClient(kgo.SeedBrokers(b.Addrs()...), kgo.DefaultProduceTopic("events"), kgo.ProducerLinger(0))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	next, err := kadm.NewClient(c).ListEndOffsets(context.Background(), "events")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	end, _ := next.Lookup("events", 0)
	for n := end.Offset; ; n++ {
		if err := c.ProduceSync(context.Background(), kgo.StringRecord(fmt.Sprint(n))).FirstErr(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(n + 1)
	}
}

// A broker that hangs answers nothing for as long, and then everything.
func TestDisturb_Hangs(t *testing.T) {
	b := start(t, embedded.Options{Topics: map[string]int{"events": 1}})
	defer closed(t, b)
	c := client(t, b)
	produce(t, c, 0, "one")
	const long = 80 * time.Millisecond
	begun := time.Now()
	if err := b.Disturb(embedded.Disturbance{Act: embedded.Hang, For: long}); err != nil {
		t.Fatal(err)
	}
	produce(t, c, 0, "two")
	if took := time.Since(begun); took < long {
		t.Errorf("a record was acknowledged after %v by a broker that hangs for %v", took, long)
	}
	if got := first(t, b, 0, 2); strings.Join(got, " ") != "one two" {
		t.Errorf("there is %v", got)
	}
}
