package api_test

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var rewrite = flag.Bool("rewrite", false, "write what the tests got into their golden files")

// TestGolden runs the request scripts of testdata. A script is a list of exchanges, parted by blank lines: comments (#), a line METHOD TARGET, the request's header lines (Name: value),
// its body (lines after "> "), a line ----, and what was answered: the status, the headers that matter, the body.
func TestGolden(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.http")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts in testdata: %v", err)
	}
	for _, script := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(script), ".http"), func(t *testing.T) {
			want, err := os.ReadFile(script)
			if err != nil {
				t.Fatal(err)
			}
			got := runScript(t, newFixture(t), string(want))
			if *rewrite {
				if err := os.WriteFile(script, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Fatalf("%s: answers differ (-want +got); -rewrite takes the new ones:\n%s", script, diff)
			}
		})
	}
}

// runScript runs every exchange of a script, and returns the script with the answers that it got.
func runScript(t *testing.T, f *fixture, script string) string {
	t.Helper()
	var out strings.Builder
	for i, exchange := range strings.Split(strings.TrimSpace(script), "\n\n") {
		if i > 0 {
			out.WriteString("\n")
		}
		question, _, _ := strings.Cut(exchange, "\n----")
		out.WriteString(question + "\n----\n" + f.exchange(t, question))
	}
	return out.String()
}

// exchange asks one question of a script, and returns the answer as scripts show it.
func (f *fixture) exchange(t *testing.T, question string) string {
	t.Helper()
	var method, target, body string
	var header []string
	for line := range strings.Lines(question + "\n") {
		line = strings.TrimSuffix(line, "\n")
		switch text, isBody := strings.CutPrefix(line, "> "); {
		case strings.HasPrefix(line, "#"):
		case isBody:
			body += text + "\n"
		case method == "":
			method, target, _ = strings.Cut(line, " ")
		default:
			header = append(header, line)
		}
	}
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, h := range header {
		name, value, _ := strings.Cut(h, ": ")
		r.Header.Set(name, value)
	}
	response := f.send(t, r, body)
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	fmt.Fprintf(&out, "%d %s\n", response.StatusCode, response.Header.Get("Content-Type"))
	for _, name := range []string{"Allow", "Retry-After", "Connection"} {
		if value := response.Header.Get(name); value != "" {
			fmt.Fprintf(&out, "%s: %s\n", name, value)
		}
	}
	if method != http.MethodHead { // the recorder keeps what a server leaves out
		out.Write(answer)
	}
	return out.String()
}
