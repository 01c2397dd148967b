package api_test

import (
	"encoding/json"
	"math"
	"math/big"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"highwater/api"
	"highwater/windows"
)

func TestAppendValue(t *testing.T) {
	at := time.Date(2026, 1, 15, 12, 0, 0, 999_999_000, time.UTC).UnixMicro()
	for want, v := range map[string]windows.Value{
		"null":                       {},
		"true":                       windows.BoolOf(true),
		"-9223372036854775808":       windows.IntOf(math.MinInt64),
		"1.0":                        windows.DoubleOf(1),
		"-0.0":                       windows.DoubleOf(math.Copysign(0, -1)),
		"0.1":                        windows.DoubleOf(0.1),
		"0.000001":                   windows.DoubleOf(1e-6),
		"1.0e-07":                    windows.DoubleOf(1e-7),
		"5.0e-324":                   windows.DoubleOf(math.SmallestNonzeroFloat64),
		"100000000000000000000.0":    windows.DoubleOf(1e20),
		"1.0e+21":                    windows.DoubleOf(1e21),
		"1.5e+21":                    windows.DoubleOf(1.5e21),
		"1.7976931348623157e+308":    windows.DoubleOf(math.MaxFloat64),
		`"2026-01-15T12:00:00.999Z"`: windows.TimeOf(at),
		`"1969-12-31T23:59:59.999Z"`: windows.TimeOf(-1),
		`["1970-01-01T00:00:00.000Z","1970-01-01T00:00:00.001Z"]`: windows.TimesOf([]int64{0, 1000}),
		`[]`:                windows.TimesOf(nil),
		`"tab\tquote\""`:    windows.StringOf("tab\tquote\""),
		"\"\uFFFDa\uFFFD\"": windows.StringOf("\xffa\xed"),
	} {
		if got := string(api.AppendValue(nil, v)); got != want {
			t.Errorf("%v: %s, want %s", v, got, want)
		}
	}
}

func TestAppendTime_BeyondRFC3339IsNull(t *testing.T) {
	for want, us := range map[string]int64{
		"null":                       windows.NoTime,
		`"0000-01-01T00:00:00.000Z"`: time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro(),
		`"9999-12-31T23:59:59.999Z"`: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro() - 1,
	} {
		if got := string(api.AppendTime(nil, us)); got != want {
			t.Errorf("%d: %s, want %s", us, got, want)
		}
	}
	for _, us := range []int64{windows.Never, time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro(), time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC).UnixMicro() - 1} {
		if got := string(api.AppendTime(nil, us)); got != "null" {
			t.Errorf("%d: %s, want null", us, got)
		}
	}
}

func TestAppendDouble_ReadsBackAndHasAPoint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := math.Float64frombits(rapid.Uint64().Draw(t, "bits"))
		text := string(api.AppendDouble(nil, f))
		if math.IsNaN(f) || math.IsInf(f, 0) {
			if text != "null" {
				t.Fatalf("%v: %s, want null", f, text)
			}
			return
		}
		var back float64
		if err := json.Unmarshal([]byte(text), &back); err != nil || back != f || strings.Count(text, ".") != 1 {
			t.Fatalf("%v: %s reads back as %v, %v; want the same, and one point", f, text, back, err)
		}
	})
}

func TestAppendString_ReadsBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := rapid.OneOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "s")
		text := api.AppendString(nil, s)
		var back string
		if err := json.Unmarshal(text, &back); err != nil || !utf8.Valid(text) {
			t.Fatalf("%q: %s: %v", s, text, err)
		}
		var want strings.Builder // byte for byte, what is not UTF-8 becomes one U+FFFD
		for _, r := range s {
			want.WriteRune(r)
		}
		if back != want.String() {
			t.Fatalf("%q reads back as %q, want %q", s, back, want.String())
		}
	})
}

// TestInteger_EqualsExactArithmetic reads random number texts the slow way, as rationals.
func TestInteger_EqualsExactArithmetic(t *testing.T) {
	numbers := rapid.StringMatching(`-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,6}|\.0{1,6})?([eE][-+]?[0-9]{1,2})?`)
	rapid.Check(t, func(t *rapid.T) {
		number := numbers.Draw(t, "number")
		exact, ok := new(big.Rat).SetString(number)
		if !ok {
			t.Fatalf("%s is no number", number)
		}
		n, err := api.Integer(number)
		fits := exact.IsInt() && exact.Num().IsInt64()
		if fits != (err == nil) || fits && n != exact.Num().Int64() {
			t.Fatalf("%s: %d, %v; want %s", number, n, err, exact.RatString())
		}
	})
}

func TestInteger_UnreasonableExponents(t *testing.T) {
	for number, want := range map[string]string{
		"1e99999999999999999999":          "beyond an int64",
		"1e-99999999999999999999":         "not an integer",
		"1" + strings.Repeat("0", 100000): "beyond an int64",
	} {
		if _, err := api.Integer(number); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.30s: %v, want %q", number, err, want)
		}
	}
	for _, zero := range []string{"0", "-0", "0.0", "0e99999999999999999999", "-0.000e5"} {
		if n, err := api.Integer(zero); err != nil || n != 0 {
			t.Errorf("%s: %d, %v; want 0", zero, n, err)
		}
	}
}

// walk reads a JSON text with the package's walker into what encoding/json makes of it.
func walk(text string) any {
	switch text[0] {
	case '{':
		m := map[string]any{}
		for name, value := range api.Members(text) {
			m[name] = walk(value)
		}
		return m
	case '[':
		a := []any{}
		for value := range api.Elements(text) {
			a = append(a, walk(value))
		}
		return a
	case '"':
		return api.Unquote(text)
	case 't', 'f':
		return text == "true"
	case 'n':
		return nil
	default:
		f, _ := strconv.ParseFloat(text, 64)
		return f
	}
}

// FuzzWalk holds the walker against encoding/json on every text that is JSON.
func FuzzWalk(f *testing.F) {
	for _, seed := range []string{`{"a":[1,-2.5e3,"x\"]}",{}],"b":{"c":null,"d":[true,false,[]]}}`, " [ ] ", `"\u00e9\\"`, "{\n\t\"a\" : 1 ,\r \"b\" : [ 1 , 2 ] }", "7", `{"":""}`, "[[[[1]]]]", "{\"a\":\"\xff\"}"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		text, err := api.CheckJSON(body)
		if err != nil {
			if json.Valid(body) && utf8.Valid(body) {
				t.Fatalf("refused: %v", err)
			}
			return
		}
		var want any
		if err := json.Unmarshal(body, &want); err != nil {
			t.Skip() // a number beyond float64
		}
		if diff := cmp.Diff(want, walk(text)); diff != "" {
			t.Fatalf("differs (-encoding/json +walker):\n%s", diff)
		}
	})
}

// FuzzPost holds every answer to any body against the OpenAPI document.
func FuzzPost(f *testing.F) {
	for _, seed := range []string{
		oneEntity, `{"feature_service":"ranker","entities":[{"user_id":"u1","campaign_id":7e0}]}`, `{"features":["a:b"],"entities":[{}]}`, `{"entities":[]}`, `[]`, `{"feature_service":null,"features":["pair_seen:times"],"entities":[{"user_id":"\ud800","campaign_id":-1}]}`, "{", "\xff",
	} {
		f.Add(seed)
	}
	fixture := newFixture(f)
	f.Fuzz(func(t *testing.T, body string) {
		if status := fixture.do(t, "POST", "/v1/features", body).StatusCode; status >= 500 {
			t.Fatalf("status %d", status)
		}
	})
}

// FuzzPath holds every answer to any path against the OpenAPI document.
func FuzzPath(f *testing.F) {
	for _, seed := range []string{"v1/features/user_clicks/u1", "v1/features/pair_seen/a%2Fb/-7", "v1/features/user_clicks/%00%ff", "v1//features", "%2e%2e/metrics", "v1/features/%2F/%2F", "healthz%00"} {
		f.Add(seed)
	}
	fixture := newFixture(f)
	f.Fuzz(func(t *testing.T, path string) {
		target := parseTarget("/" + path)
		if target == "" {
			t.Skip() // net/http would refuse it
		}
		if status := fixture.do(t, "GET", target, "").StatusCode; status >= 500 {
			t.Fatalf("status %d", status)
		}
	})
}

// FuzzRequest holds every answer to any method, path, content type and body against the OpenAPI document: JSON, and never a server's error.
func FuzzRequest(f *testing.F) {
	f.Add("POST", "v1/features", "application/json; charset=utf-8", oneEntity)
	f.Add("PUT", "v1/features/user_clicks/u1?x=%zz", "text/plain", "")
	f.Add("OPTIONS", "v1/status", "multipart/form-data; boundary=", "--")
	f.Add("HEAD", "metrics", "", "{}")
	f.Add("get", "", "application/json", "\x00")
	fixture := newFixture(f)
	f.Fuzz(func(t *testing.T, method, path, contentType, body string) {
		target := parseTarget("/" + path)
		for _, c := range method {
			if c < 'A' || c > 'Z' {
				t.Skip() // net/http would refuse it
			}
		}
		if target == "" || method == "" || strings.ContainsAny(contentType, "\r\n\x00") {
			t.Skip()
		}
		r := httptest.NewRequest(method, target, strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		if status := fixture.send(t, r, body).StatusCode; status >= 500 {
			t.Fatalf("%s %s: status %d", method, target, status)
		}
	})
}
