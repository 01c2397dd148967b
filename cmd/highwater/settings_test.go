package main

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"highwater/features"
	"highwater/testutil/e2e"
)

// deployed is a shop whose worker has a deployment file, and a Redis with a password, which lies in a file too.
type deployed struct {
	*shop
	config, secret string // files
	said           []string
}

func newDeployed(t *testing.T, password string) *deployed {
	t.Helper()
	d := &deployed{shop: newShop(t, shopDefinitions(features.WallClock, 50*time.Millisecond))}
	dir := filepath.Dir(d.definitions)
	d.config, d.secret = filepath.Join(dir, "place.yaml"), filepath.Join(dir, "password")
	d.write(d.secret, password+"\n")
	d.startKafka()
	d.redis.RequireAuth(password)
	d.startRedis()
	return d
}

func (d *deployed) write(path, text string) {
	d.t.Helper()
	must(d.t, os.WriteFile(path, []byte(text), 0o600))
}

// configure writes the deployment file: settings of all commands, and settings of the worker.
func (d *deployed) configure(common, worker string) {
	d.t.Helper()
	d.write(d.config, common+`
redis: `+d.redisAddr+`
redis-password-file: password
worker: {definitions: shop.yaml, kafka: "`+d.kafka+`", data-dir: data, `+worker+`}
serve: {project: shop, addr: "127.0.0.1:0"}
`)
}

// run runs a command to its end and keeps what it said.
func (d *deployed) run(t *testing.T, want int, args ...string) string {
	t.Helper()
	code, out, err := e2e.Run(t, args...)
	if code != want {
		t.Errorf("highwater %v ended with %d, want %d:\n%s%s", args, code, want, out, err)
	}
	d.said = append(d.said, out, err)
	return out + err
}

// keepsSecret checks that no process has said any of the passwords.
func (d *deployed) keepsSecret(t *testing.T, passwords []string, processes ...*e2e.Process) {
	t.Helper()
	for _, p := range processes {
		d.said = append(d.said, p.Stdout(), p.Stderr())
	}
	for _, text := range d.said {
		for _, password := range passwords {
			if at := strings.Index(text, password); at >= 0 {
				t.Errorf("the password %s is in …%s", password, text[max(0, at-200):min(len(text), at+50)])
			}
		}
	}
}

// TestReload_TakesUpWhatMayChange changes the deployment file of a running worker, rightly and wrongly, and rotates its password.
func TestReload_TakesUpWhatMayChange(t *testing.T) {
	t.Parallel()
	d := newDeployed(t, "open-sesame")
	d.configure("log-level: info", `addr: "127.0.0.1:0"`)
	w := e2e.Start(t, "worker", "--config", d.config)
	w.AwaitLog("worker started")
	d.sendClicks("u1", 5)
	d.awaitCommitted(w)
	if strings.Contains(w.Stderr(), "batch committed") {
		t.Error("batches are told of at level info")
	}

	d.configure("log-level: debug", `addr: "127.0.0.1:1", ready-behind: 3, republish-rate: 7, cache-size: 64MiB`)
	says(t, d.run(t, exitDone, "reload", "--data-dir", d.dataDir),
		"taken up: log-level: info → debug\n", "taken up: ready-behind: 10 → 3\n", "taken up: republish-rate: 100000 → 7\n", "taken up: cache-size: 128MiB → 64MiB\n", "needs a restart: addr: 127.0.0.1:0 → 127.0.0.1:1\n")
	d.sendClicks("u1", 5)
	w.AwaitLog("batch committed")
	says(t, d.run(t, exitDone, "reload", "--data-dir", d.dataDir, "--json"), `{"changed":[],"restart":[{"name":"addr","was":"127.0.0.1:0","is":"127.0.0.1:1"}]}`)

	d.configure("log-level: info\nlog-levle: x", `addr: "127.0.0.1:0"`)
	w.Hangup()
	w.AwaitLog("the settings were not reloaded: everything stays as it was")
	says(t, d.run(t, exitFailed, "reload", "--data-dir", d.dataDir), "everything stays as it was: "+d.config+":2:1: there is no setting log-levle; did you mean log-level?")
	d.write(d.secret, "")
	d.configure("log-level: info", `addr: "127.0.0.1:0"`)
	says(t, d.run(t, exitFailed, "reload", "--data-dir", d.dataDir), "everything stays as it was: read redis-password: "+d.secret+" is empty")

	d.write(d.secret, "open-barley\n")
	d.stopRedis()
	d.redis.RequireAuth("open-barley")
	d.startRedis()
	w.Hangup()
	log := w.AwaitLog("settings reloaded\" project=shop act=reload changed=\"cache-size: 64MiB → 128MiB, log-level: debug → info, ready-behind: 3 → 10, redis-password, republish-rate: 7 → 100000\" need_a_restart=\"\"")
	d.sendClicks("u1", 5)
	d.awaitCommitted(w)
	if !strings.Contains(log, "settings reloaded") {
		t.Error("a hangup is not told of")
	}
	serve := e2e.Start(t, "serve", "--config", d.config)
	client := e2e.Client{Base: "http://" + e2e.Log(serve.AwaitLog("msg=serving"), "msg=serving", "addr")}
	checkClicks(t, client, "u1", 15)
	d.configure("log-level: debug", `addr: "127.0.0.1:0"`)
	serve.Hangup()
	serve.AwaitLog("log-level: info → debug")
	stopped(t, serve)
	stopped(t, w)
	d.keepsSecret(t, []string{"open-sesame", "open-barley"}, w, serve)
}

// TestSecrets_AreNeverShown runs every command that knows a password, with the right one and with wrong ones, at its most talkative.
func TestSecrets_AreNeverShown(t *testing.T) {
	t.Parallel()
	const right, wrong = "open-sesame", "open-barley"
	d := newDeployed(t, right)
	d.configure("log-level: debug", `addr: "127.0.0.1:0"`)
	w := e2e.Start(t, "worker", "--config", d.config)
	w.AwaitLog("worker started")
	d.sendClicks("u1", 5)
	d.awaitCommitted(w)
	says(t, d.run(t, exitDone, "get", "--config", d.config, "--project", "shop", "users", "u1"), "clicks")
	says(t, d.run(t, exitDone, "worker", "--config", d.config, "--print-config"), masked)
	d.run(t, exitDone, "republish", "--data-dir", d.dataDir)
	stopped(t, w)

	d.write(d.secret, wrong)
	says(t, d.run(t, exitFailed, "get", "--config", d.config, "--project", "shop", "users", "u1"), "WRONGPASS")
	refused := e2e.Start(t, "worker", "--config", d.config)
	refused.AwaitLog("WRONGPASS")
	serve := e2e.Start(t, "serve", "--config", d.config)
	client := e2e.Client{Base: "http://" + e2e.Log(serve.AwaitLog("msg=serving"), "msg=serving", "addr")}
	_, text := client.Get(t, "/v1/features/users/u1")
	d.said = append(d.said, string(text))
	both := e2e.StartWith(t, []string{"HIGHWATER_REDIS_PASSWORD=" + right}, "get", "--config", d.config, "--project", "shop", "users", "u1")
	if code := both.Wait(); code != exitFailed {
		t.Errorf("a password given twice: exit code %d", code)
	}
	says(t, both.Stderr(), "redis-password is given twice, by HIGHWATER_REDIS_PASSWORD and in the file "+d.secret)
	d.run(t, exitUsage, "get", "--redis", "redis://me:"+right+"@"+d.redisAddr, "--project", "shop", "users", "u1")
	d.run(t, exitUsage, "get", "--redis", d.redisAddr, "--redis-password", right, "--project", "shop", "users", "u1")
	d.keepsSecret(t, []string{right, wrong}, w, refused, serve, both)
}

// A cache size that is taken up while memory is tight is what the cache grows up to, and not what it takes at once.
func TestReload_CacheSizeHeedsTheMemoryLimit(t *testing.T) {
	const mib = 1 << 20
	live, cache := int64(0), int64(0)
	c := newMemoryController(budgetOf(1024*mib, 128*mib, mib), func() int64 { return live }, func(now, _ int64) { cache = now }, slog.New(slog.DiscardHandler))
	for _, step := range []struct{ asked, want int64 }{{64, 64}, {200, 200}, {1000, 256}, {128, 128}} {
		if c.setCache(step.asked * mib); cache != step.want*mib {
			t.Errorf("asked for %d MiB, the cache may take %d MiB, want %d", step.asked, cache/mib, step.want)
		}
	}
	live = 900 * mib
	c.look()
	if cache != 64*mib {
		t.Fatalf("memory is tight, and the cache may take %d MiB", cache/mib)
	}
	if c.setCache(200 * mib); cache != 64*mib {
		t.Errorf("memory is tight, and the cache may take %d MiB", cache/mib)
	}
	live = 0
	for range 2 * regrowN {
		c.look()
	}
	if cache != 200*mib {
		t.Errorf("with room again the cache may take %d MiB, want 200", cache/mib)
	}
}
