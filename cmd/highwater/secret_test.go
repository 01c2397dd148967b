package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSecret_IsReadAnewAtEveryUse(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	s := newSecret("redis-password", secretFile(file))
	for _, c := range []struct{ text, want string }{{"first", "first"}, {"second\n", "second"}, {"third\r\n", "third"}, {" with blanks \n", " with blanks "}} {
		if err := os.WriteFile(file, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if have, err := s.Read(); err != nil || have != c.want {
			t.Errorf("a file with %q reads as %q, %v; want %q", c.text, have, err, c.want)
		}
	}
}

func TestSecret_ComesFromTheEnvironmentOrAFile(t *testing.T) {
	if have, err := newSecret("redis-password", "").Read(); err != nil || have != "" {
		t.Errorf("a secret that nobody gave reads as %q, %v", have, err)
	}
	if have, err := (secret{}).Read(); err != nil || have != "" {
		t.Errorf("the zero secret reads as %q, %v", have, err)
	}
	t.Setenv("HIGHWATER_REDIS_PASSWORD", "hunter2")
	if have, err := newSecret("redis-password", "").Read(); err != nil || have != "hunter2" {
		t.Errorf("from the environment: %q, %v", have, err)
	}
	_, err := newSecret("redis-password", "/run/secrets/redis").Read()
	if err == nil || !strings.Contains(err.Error(), "given twice") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("given twice: %v", err)
	}
}

func TestSecret_RefusesFilesThatHoldNone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "password")
	for text, want := range map[string]string{"": "is empty", "\n": "is empty", "hunter2\nhunter3\n": "more than one line", strings.Repeat("x", largestSecret+1): "larger than"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := newSecret("redis-password", secretFile(file)).Read()
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), file) || strings.Contains(err.Error(), "hunter") {
			t.Errorf("a file of %d bytes: %v, want an error with %q and the file's name", len(text), err, want)
		}
	}
	_, err := newSecret("redis-password", secretFile(file+".missing")).Read()
	if err == nil || !strings.Contains(err.Error(), "read redis-password: open "+file+".missing") {
		t.Errorf("a file that is not there: %v", err)
	}
}

func TestSecret_IsMaskedHoweverItIsPrinted(t *testing.T) {
	t.Setenv("HIGHWATER_REDIS_PASSWORD", "hunter2")
	options := struct{ Password secret }{newSecret("redis-password", "")}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("options", "password", options.Password, "all", options)
	slog.New(slog.NewTextHandler(&log, nil)).Info("options", "password", options.Password, "all", options)
	asJSON, err := json.Marshal(options)
	if err != nil {
		t.Fatal(err)
	}
	shown := map[string]string{"json": string(asJSON), "log": log.String(), "%v": fmt.Sprintf("%v", options), "%+v": fmt.Sprintf("%+v", options), "%#v": fmt.Sprintf("%#v", options), "String": options.Password.String()}
	for how, text := range shown {
		if strings.Contains(text, "hunter2") || !strings.Contains(text, masked) {
			t.Errorf("%s shows %s", how, text)
		}
	}
	if s := newSecret("kafka-password", "").String(); s != "" {
		t.Errorf("a secret that nobody gave shows as %q", s)
	}
}
