package promtest

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/api"
	v1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"

	"highwater/testutil/ports"
)

// Integration is the environment variable that asks for real servers.
const Integration = "HIGHWATER_INTEGRATION"

// patience bounds every wait for Prometheus.
const patience = time.Minute

// Prometheus is a running server. It ends with the test at the latest; its data stay in Dir, where another may be started on them.
type Prometheus struct {
	Addr string // host:port
	Dir  string // configuration, rules and data

	cmd  *exec.Cmd
	api  v1.API
	log  *log
	once sync.Once
}

// Start runs a Prometheus with deploy/prometheus/prometheus.yml and its alert rules, scraping the targets (host:port). root is the repository as seen from the test; dir is where everything is kept, "" for a directory
// that goes with the test. The test is skipped unless HIGHWATER_INTEGRATION=1.
func Start(tb testing.TB, root, dir string, targets ...string) *Prometheus {
	tb.Helper()
	if os.Getenv(Integration) != "1" {
		tb.Skipf("SKIPPED: needs a real Prometheus; set %s=1 to run it", Integration)
	}
	binary, err := exec.LookPath("prometheus")
	if err != nil {
		tb.Fatalf("%s=1 asks for real servers, and there is no prometheus: %v", Integration, err)
	}
	if dir == "" {
		dir = tb.TempDir()
	}
	for _, name := range []string{"prometheus.yml", "alerts.yaml"} {
		text, err := os.ReadFile(filepath.Join(root, "deploy/prometheus", name))
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o600)
		}
		if err != nil {
			tb.Fatal(err)
		}
	}
	p := &Prometheus{Dir: dir}
	p.Scrape(tb, targets...)
	const tries = 5 // the port was free a moment ago; another process may have taken it since
	for try := 1; ; try++ {
		err := p.start(binary, freeAddr(tb))
		if err == nil {
			break
		}
		if try == tries {
			tb.Fatalf("start prometheus: %v", err)
		}
	}
	tb.Cleanup(p.Stop)
	return p
}

// Scrape replaces the targets. Prometheus sees to it within a few seconds.
func (p *Prometheus) Scrape(tb testing.TB, targets ...string) {
	tb.Helper()
	quoted := make([]string, len(targets))
	for i, t := range targets {
		quoted[i] = fmt.Sprintf("%q", t)
	}
	text := fmt.Sprintf("- targets: [%s]\n", strings.Join(quoted, ", "))
	if err := os.WriteFile(filepath.Join(p.Dir, "targets.yaml"), []byte(text), 0o600); err != nil {
		tb.Fatal(err)
	}
}

// start runs the process and waits until it answers.
func (p *Prometheus) start(binary, addr string) error {
	client, err := api.NewClient(api.Config{Address: "http://" + addr})
	if err != nil {
		return err
	}
	p.Addr, p.api, p.log = addr, v1.NewAPI(client), newLog()
	p.cmd = exec.Command(binary, "--config.file="+filepath.Join(p.Dir, "prometheus.yml"), "--storage.tsdb.path="+filepath.Join(p.Dir, "data"), "--web.listen-address="+addr)
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		return err
	}
	if err := p.cmd.Start(); err != nil {
		return err
	}
	go p.log.follow(bufio.NewScanner(stderr))
	if err := p.log.await("Server is ready to receive web requests"); err != nil {
		p.Stop()
		return err
	}
	p.once = sync.Once{}
	return nil
}

// Stop asks Prometheus to end, so that its data are whole, and waits for that. It does nothing the second time.
func (p *Prometheus) Stop() {
	p.once.Do(func() {
		_ = p.cmd.Process.Signal(os.Interrupt)
		kill := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
		<-p.log.ended
		_ = p.cmd.Wait()
		kill.Stop()
	})
}

// Query evaluates a query at an instant: the zero time for now.
func (p *Prometheus) Query(tb testing.TB, query string, at time.Time) model.Vector {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	if at.IsZero() {
		at = time.Now()
	}
	value, _, _, err := p.api.Query(ctx, query, at)
	if err != nil {
		tb.Fatalf("query %s: %v", query, err)
	}
	vector, ok := value.(model.Vector)
	if !ok {
		tb.Fatalf("query %s gives a %s, want a vector", query, value.Type())
	}
	return vector
}

// QueryRange evaluates a query at every step of a range.
func (p *Prometheus) QueryRange(tb testing.TB, query string, from, to time.Time, step time.Duration) model.Matrix {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	value, _, _, err := p.api.QueryRange(ctx, query, v1.Range{Start: from, End: to, Step: step})
	if err != nil {
		tb.Fatalf("query %s: %v", query, err)
	}
	matrix, ok := value.(model.Matrix)
	if !ok {
		tb.Fatalf("query %s gives a %s, want a matrix", query, value.Type())
	}
	return matrix
}

// Alerts returns the names of the alerts that fired at an instant, the zero time for now, each with the labels of its series.
func (p *Prometheus) Alerts(tb testing.TB, at time.Time) map[string][]model.Metric {
	tb.Helper()
	firing := map[string][]model.Metric{}
	for _, s := range p.Query(tb, `ALERTS{alertstate="firing"}`, at) {
		name := string(s.Metric["alertname"])
		firing[name] = append(firing[name], s.Metric)
	}
	return firing
}

// Firing is a time for which an alert fired.
type Firing struct {
	Alert    string
	From, To time.Time
}

// Fired returns for what times each alert fired within a range, by whatever labels, to the precision of step.
func (p *Prometheus) Fired(tb testing.TB, from, to time.Time, step time.Duration) []Firing {
	tb.Helper()
	var fired []Firing
	for _, series := range p.QueryRange(tb, `max by (alertname) (ALERTS{alertstate="firing"})`, from, to, step) {
		var last *Firing
		for _, v := range series.Values {
			at := v.Timestamp.Time()
			if last == nil || at.Sub(last.To) > step {
				fired = append(fired, Firing{Alert: string(series.Metric["alertname"]), From: at, To: at})
				last = &fired[len(fired)-1]
			}
			last.To = at
		}
	}
	return fired
}

// Await waits until a query has a result that is to the test's liking.
func (p *Prometheus) Await(tb testing.TB, query string, within time.Duration, good func(model.Vector) bool) model.Vector {
	tb.Helper()
	deadline, again := time.After(within), time.NewTicker(200*time.Millisecond)
	defer again.Stop()
	for {
		v := p.Query(tb, query, time.Time{})
		if good(v) {
			return v
		}
		select {
		case <-again.C:
		case <-deadline:
			tb.Fatalf("waited %s for %s; it gives %v", within, query, v)
		}
	}
}

func freeAddr(tb testing.TB) string {
	tb.Helper()
	addr, err := ports.Free()
	if err != nil {
		tb.Fatal(err)
	}
	return addr
}

// log keeps what a process logs.
type log struct {
	mu    sync.Mutex // guards lines and more
	lines []string
	more  chan struct{} // closed, and made anew, at each line
	ended chan struct{} // closed at the end of the log
}

func newLog() *log { return &log{more: make(chan struct{}), ended: make(chan struct{})} }

func (l *log) follow(s *bufio.Scanner) {
	for s.Scan() {
		l.mu.Lock()
		l.lines = append(l.lines, s.Text())
		close(l.more)
		l.more = make(chan struct{})
		l.mu.Unlock()
	}
	close(l.ended)
}

func (l *log) await(text string) error {
	deadline := time.After(patience)
	for {
		l.mu.Lock()
		all, more := strings.Join(l.lines, "\n"), l.more
		l.mu.Unlock()
		if strings.Contains(all, text) {
			return nil
		}
		select {
		case <-more:
		case <-l.ended:
			return fmt.Errorf("it ended before it logged %q:\n%s", text, all)
		case <-deadline:
			return fmt.Errorf("it did not log %q within %s:\n%s", text, patience, all)
		}
	}
}
