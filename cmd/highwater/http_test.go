package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"highwater/features"
	"highwater/testutil/e2e"
)

// TestHTTP_BadRequests asks over a real listener, of real vectors, what cannot be answered. Each answer is a problem document that says what would be right, and the server goes on.
func TestHTTP_BadRequests(t *testing.T) {
	t.Parallel()
	client := clickedShop(t)
	many := func(n int) string {
		return `{"feature_service":"model","entities":[` + strings.TrimSuffix(strings.Repeat(`{"user_id":"u1"},`, n), ",") + `]}`
	}
	requests := []struct {
		name   string
		path   string // GET, where there is no body
		body   string
		status int
		says   string // within the problem's detail and suggestion
	}{
		{"an unknown view", "/v1/features/user/u1", "", 404, "there is no feature view \"user\" users"},
		{"an entity without a vector", "/v1/features/users/u2", "", 404, "feature view users has no vector of user_id=\"u2\""},
		{"a key of the wrong type in the path", "/v1/features/items/seven", "", 400, "join key item is an int64"},
		{"too many keys in the path", "/v1/features/items/7/8", "", 400, "values wanted: 1, given: 2"},
		{"no key in the path", "/v1/features/users/", "", 400, "join key user_id is empty"},
		{"a path escaped wrongly", "/v2/features", "", 404, "there is no route"},
		{"an unknown service", "/v1/features", `{"feature_service":"modle","entities":[{"user_id":"u1"}]}`, 404, " model"},
		{"an unknown feature", "/v1/features", `{"features":["users:click"],"entities":[{"user_id":"u1"}]}`, 404, "users:clicks"},
		{"a feature of an unknown view", "/v1/features", `{"features":["buyers:clicks"],"entities":[{"user_id":"u1"}]}`, 404, "buyers"},
		{"a key of the wrong type", "/v1/features", `{"feature_service":"model","entities":[{"user_id":17}]}`, 400, "entities[0] has user_id as a number (17): want a string"},
		{"another key of the wrong type", "/v1/features", `{"features":["items:clicks"],"entities":[{"item":"7"}]}`, 400, "entities[0] has item as a string (\"7\"): want an int64"},
		{"a key that is missing", "/v1/features", `{"feature_service":"shelf","entities":[{"item":7}]}`, 400, "entities[0] lacks the join key user_id"},
		{"a key that nobody knows", "/v1/features", `{"feature_service":"model","entities":[{"user":"u1"}]}`, 400, "want user_id"},
		{"no entities", "/v1/features", `{"feature_service":"model","entities":[]}`, 400, "entities is empty: want at least one entity"},
		{"100,000 entities", "/v1/features", many(100_000), 413, "the body is larger than 1048576 bytes: ask for fewer entities at a time"},
		{"more entities than a request may have", "/v1/features", many(5001), 413, "more than 5000 entities"},
		{"what is not JSON", "/v1/features", `feature_service=model`, 400, "JSON"},
		{"nothing", "/v1/features", ` `, 400, "empty"},
		{"a method that is none", "/healthz", `{}`, 405, "want GET or HEAD"},
	}
	for _, r := range requests {
		var status int
		var answer []byte
		if r.body == "" {
			status, answer = client.Get(t, r.path)
		} else {
			status, answer = client.Post(t, r.path, []byte(r.body))
		}
		var problem struct {
			Type, Title, Detail, Suggestion string
			Status                          int
		}
		err := json.Unmarshal(answer, &problem)
		if status != r.status || problem.Status != r.status || err != nil || !strings.HasPrefix(problem.Type, "urn:highwater:problem:") || problem.Title == "" || !strings.Contains(problem.Detail+" "+problem.Suggestion, r.says) {
			t.Errorf("%s: %d: %.500s, want %d with %s", r.name, status, answer, r.status, r.says)
		}
	}
	eventually(t, "all of them to be counted", func() error { // each is, a moment after it has been answered
		if n := metric(t, client, `highwater_http_requests_total\{.*,status="4[0-9][0-9]"\}`); n != float64(len(requests)) {
			return fmt.Errorf("%v requests with a status of 4xx are counted, want %d", n, len(requests))
		}
		return nil
	})
	checkClicks(t, client, "u1", 3)
}

// TestHTTP_UnfinishedRequests opens requests that are never finished: each is ended with its reason, and others are answered meanwhile.
func TestHTTP_UnfinishedRequests(t *testing.T) {
	t.Parallel()
	client := clickedShop(t)
	addr := strings.TrimPrefix(client.Base, "http://")
	open := func(text string) net.Conn {
		conn, err := net.Dial("tcp", addr)
		must(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		must(t, conn.SetDeadline(time.Now().Add(patience)))
		_, err = io.WriteString(conn, text)
		must(t, err)
		return conn
	}
	header := open("POST /v1/features HTTP/1.1\r\nHost: shop\r\nContent-")
	body := open("POST /v1/features HTTP/1.1\r\nHost: shop\r\nContent-Length: 100\r\n\r\n{\"feature_service\":")
	gone := open("POST /v1/features HTTP/1.1\r\nHost: shop\r\nContent-Length: 100\r\n\r\n{\"feature_service\":")
	must(t, gone.Close())
	checkClicks(t, client, "u1", 3)

	start := time.Now()
	answer, err := io.ReadAll(header)
	if took := time.Since(start); err != nil && !errors.Is(err, io.EOF) || took > 14*time.Second || len(answer) > 0 && !strings.HasPrefix(string(answer), "HTTP/1.1 4") {
		t.Errorf("a header that did not come: after %s %q, %v; want the connection closed after 5s", took, answer, err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(body), nil)
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	if resp.StatusCode != http.StatusRequestTimeout || !strings.Contains(string(text), "the body did not arrive in time") {
		t.Errorf("a body that did not come: status %d: %s, want 408 with a problem", resp.StatusCode, text)
	}
	checkClicks(t, client, "u1", 3)
}

// clickedShop is a pipeline of the shop after three clicks of u1, drained.
func clickedShop(t *testing.T) e2e.Client {
	t.Helper()
	p, err := features.Parse("shop.yaml", []byte(shopDefinitions(features.EventClock, 50*time.Millisecond)))
	must(t, err)
	pl := startPipeline(t, p, pipelineOptions{})
	pl.load(clickRows(3, time.Now()))
	pl.awaitEvents(3)
	return pl.client
}

// TestStop_RequestsInHand tells a server to stop while it has requests in hand that will never be finished, and idle connections: it still stops in time, and well.
func TestStop_RequestsInHand(t *testing.T) {
	t.Parallel()
	s := newShop(t, shopDefinitions(features.EventClock, 50*time.Millisecond))
	s.startRedis()
	p, client := s.serve()
	_, _ = client.Get(t, "/healthz") // leaves an idle connection
	conn, err := net.Dial("tcp", strings.TrimPrefix(client.Base, "http://"))
	must(t, err)
	defer conn.Close()
	_, err = fmt.Fprint(conn, "POST /v1/features HTTP/1.1\r\nHost: shop\r\nContent-Length: 100\r\n\r\n{")
	must(t, err)
	_, _ = client.Get(t, "/healthz") // what was sent before it has been accepted
	stopped(t, p)
}
