package main

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"highwater/testutil/e2e"
)

// The deployment file that people start from is one that worker and serve take.
func TestDeploy_TheExampleIsTaken(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	text, err := os.ReadFile("../../deploy/highwater.yaml")
	must(t, err)
	file := filepath.Join(dir, "highwater.yaml")
	must(t, os.WriteFile(file, text, 0o600))
	must(t, os.WriteFile(filepath.Join(dir, "redis-password"), []byte("open-sesame\n"), 0o600))
	for _, command := range []string{"worker", "serve"} {
		code, out, log := e2e.Run(t, command, "--config", file, "--data-dir", dir, "--print-config")
		if command == "serve" {
			code, out, log = e2e.Run(t, command, "--config", file, "--print-config")
		}
		if code != exitDone {
			t.Errorf("%s ends with %d: %s", command, code, log)
		}
		says(t, out, masked, "file "+filepath.Join(dir, "redis-password"), "file "+file+":5")
	}
}

// What the service files call is there, and what they count on is so: the exit code of wrong settings, and the secret's variable.
func TestDeploy_ServiceFilesNameWhatIsThere(t *testing.T) {
	app := grammar(t)
	flags := map[string]bool{}
	commands := map[string]bool{}
	for _, c := range app.Children {
		commands[c.Name] = true
		for _, f := range append(c.Flags, app.Flags...) {
			flags["--"+f.Name] = true
			for _, env := range f.Envs {
				flags[env] = true
			}
		}
	}
	files, err := filepath.Glob("../../deploy/*/*.service")
	must(t, err)
	for _, name := range append(files, "../../deploy/docker/Dockerfile") {
		text, err := os.ReadFile(name)
		must(t, err)
		named := regexp.MustCompile(`HIGHWATER_[A-Z_]+`).FindAllString(string(text), -1)
		for _, m := range regexp.MustCompile(`(?m)^Exec\w+=/usr/local/bin/highwater (\w+)(.*)$`).FindAllStringSubmatch(string(text), -1) {
			if !commands[m[1]] {
				t.Errorf("%s starts highwater %s, which does not exist", name, m[1])
			}
			named = append(named, regexp.MustCompile(`--[a-z-]+`).FindAllString(m[2], -1)...)
		}
		if len(named) == 0 {
			t.Errorf("%s names no setting: does this test still read it?", name)
		}
		for _, n := range named {
			if !flags[n] {
				t.Errorf("%s names %s, which is no setting", name, n)
			}
		}
	}
	if len(files) != 2 || exitUsage != 2 {
		t.Errorf("%d service files, exit code %d for wrong settings", len(files), exitUsage)
	}
}
