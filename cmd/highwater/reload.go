package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/alecthomas/kong"
)

// reloader takes up settings that have changed while the process runs: those whose tag has reload. It reads the arguments, the environment and the deployment file again, as at the start, and changes nothing unless all of them are right.
// Safe for concurrent use.
type reloader struct {
	log *slog.Logger

	mu      sync.Mutex // guards what follows
	now     *settings  // as read last
	running map[string]any
	secrets map[string]string // by name, as read last: only to tell that one has changed
	apply   []func(*cli)
}

// reloaded is what a reload did.
type reloaded struct {
	Changed []change `json:"changed"` // taken up
	Restart []change `json:"restart"` // changed, and taken up by the next start
}

// change is one setting that differs from what the process runs with. Of a secret it shows no values.
type change struct {
	Name string `json:"name"`
	Was  string `json:"was,omitempty"`
	Is   string `json:"is,omitempty"`
}

// String is for logs: name: was → is.
func (c change) String() string {
	if c.Was == "" && c.Is == "" {
		return c.Name
	}
	return fmt.Sprintf("%s: %s → %s", c.Name, c.Was, c.Is)
}

func newReloader(s *settings, log *slog.Logger) *reloader {
	r := &reloader{log: log, now: s, running: maps.Clone(s.asked), secrets: secretsOf(s)}
	r.onReload(func(c *cli) { _ = s.level.UnmarshalText([]byte(c.LogLevel)) }) // checked by then
	return r
}

// onReload has f called, now and after each reload, with settings whose reloadable ones are to be taken up.
func (r *reloader) onReload(f func(*cli)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.apply = append(r.apply, f)
	f(&r.now.cli)
}

// reload reads the settings again, and takes up what may change. On a mistake everything stays as it was.
func (r *reloader) reload() (reloaded, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s, _, err := parseSettings(r.now.args, io.Discard, io.Discard)
	if err == nil {
		err = unreadable(s)
	}
	if err != nil {
		r.log.Error("the settings were not reloaded: everything stays as it was", "act", "reload", "err", err)
		return reloaded{}, fmt.Errorf("the settings were not reloaded, and everything stays as it was: %w", err)
	}
	done := reloaded{Changed: []change{}, Restart: []change{}}
	for _, f := range s.flags() {
		was, is := r.running[f.Name], s.asked[f.Name]
		if reflect.DeepEqual(was, is) {
			continue
		}
		c := change{Name: f.Name, Was: shownText(was), Is: shownText(is)}
		if f.Tag.Has("reload") {
			done.Changed = append(done.Changed, c)
			r.running[f.Name] = is
		} else {
			done.Restart = append(done.Restart, c)
		}
	}
	secrets := secretsOf(s)
	for name, value := range secrets {
		if value != r.secrets[name] {
			done.Changed = append(done.Changed, change{Name: name})
		}
	}
	r.now, r.secrets = s, secrets
	for _, f := range r.apply {
		f(&s.cli)
	}
	r.log.Info("settings reloaded", "act", "reload", "changed", texts(done.Changed), "need_a_restart", texts(done.Restart))
	return done, nil
}

func texts(changes []change) string {
	all := make([]string, len(changes))
	for i, c := range changes {
		all[i] = c.String()
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// shownText is a value as --print-config shows it.
func shownText(v any) string {
	text := valueText(shownValue(v))
	if text == "" {
		return "-"
	}
	return text
}

// secretsOf reads the secrets of a command. One that cannot be read counts as empty: whoever uses it says so.
func secretsOf(s *settings) map[string]string {
	values := map[string]string{}
	eachSecret(s, func(one secret) {
		values[one.name], _ = one.Read()
	})
	return values
}

// unreadable names every secret that cannot be read.
func unreadable(s *settings) error {
	var errs []error
	eachSecret(s, func(one secret) {
		if _, err := one.Read(); err != nil {
			errs = append(errs, err)
		}
	})
	return errors.Join(errs...)
}

// eachSecret calls f for every secret of the command.
func eachSecret(s *settings, f func(secret)) {
	for _, flag := range s.flags() {
		if one, ok := secretOf(flag); ok {
			f(one)
		}
	}
}

// secretOf returns the secret whose file a flag names.
func secretOf(f *kong.Flag) (secret, bool) {
	file, ok := f.Target.Interface().(secretFile)
	return newSecret(strings.TrimSuffix(f.Name, secretFileFlag), file), ok
}

// onHangup reloads at each SIGHUP, until ctx ends.
func (r *reloader) onHangup(ctx context.Context) error {
	hangups := make(chan os.Signal, 1)
	signal.Notify(hangups, syscall.SIGHUP)
	defer signal.Stop(hangups)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-hangups:
			_, _ = r.reload() // it has told the log
		}
	}
}

// liveEngine has the engine that runs, and each one opened after it, work by the settings of now. Safe for concurrent use.
type liveEngine struct {
	mu     sync.Mutex // guards what follows
	engine *engine    // nil before the first
	flags  taskFlags
}

// attach says which engine runs now.
func (l *liveEngine) attach(e *engine) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.engine = e
	e.tune(l.flags)
}

// tune takes up settings.
func (l *liveEngine) tune(flags taskFlags) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.flags = flags
	if l.engine != nil {
		l.engine.tune(flags)
	}
}

// tune takes up those settings that may change while the engine runs.
func (e *engine) tune(flags taskFlags) {
	e.task.SetRepublishRate(flags.RepublishRate)
	e.memory.setCache(int64(flags.CacheSize))
}
