package features_test

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"highwater/features"
)

// Each case changes the design's example by replacing texts: old, new, old, new …
func TestCompatibleWith(t *testing.T) {
	for name, c := range map[string]struct {
		changes []string
		want    []string // kind: error
	}{
		"nothing":                           {},
		"a feature more":                    {changes: []string{"      clicks_30m:", "      clicks_5m: {aggregate: count, window: 5m}\n      clicks_30m:"}},
		"a feature less":                    {changes: []string{"      recent:       {aggregate: timestamps, window: 30m, limit: 50}\n", ""}},
		"a view more":                       {changes: []string{"feature_views:\n", "feature_views:\n  new: {source: ad_events, entity: user, features: {n: {aggregate: count}}}\n"}},
		"a view less":                       {changes: []string{"  user_clicks:\n", "  other_clicks:\n", "[user_clicks,", "[other_clicks,"}},
		"a field more, and another order":   {changes: []string{"{user_id: string, campaign: string,", "{page: int64, campaign: string, user_id: string,"}},
		"limits and patience":               {changes: []string{"interval: 5s", "interval: 1s", "max_lateness: 30s", "max_lateness: 5m", "ttl: 24h", "ttl: 48h"}},
		"the same where, written otherwise": {changes: []string{"where: event_type == 'click'\n", "where: (event_type   == \"click\")\n"}},
		"the default, written out":          {changes: []string{"{aggregate: count, window: 30m}", "{aggregate: count, window: 30m, resolution: 5s}"}},

		"project": {[]string{"project: ads", "project: adz"}, []string{"shape: the project was called ads, and is called adz; start over in a new data directory"}},
		"clock":   {[]string{"clock: wall ", "clock: event "}, []string{"meaning: clock was wall, is event; rename the project, or begin a new generation"}},
		"join key": {[]string{"{join_key: campaign, type: string}", "{join_keys: {campaign: string, user_id: string}}"},
			[]string{"shape: entity campaign: its join keys were campaign string, are campaign string, user_id string; rename the entity and its views, or start over in a new data directory"}},
		"topic": {[]string{"{topic: ad_events}", "{topic: ads}"},
			[]string{"shape: source ad_events: its topic was ad_events, is ads; rename the source and the views on it, or start over in a new data directory"}},
		"timestamp": {[]string{"unit: ms}", "unit: us}"},
			[]string{"meaning: source ad_events: its timestamp was ts_ms in ms, is ts_ms in us; rename the source, or begin a new generation"}},
		"format": {[]string{"format: json", "format: csv", "fields: {", "fields: {ts_ms: int64, "},
			[]string{"meaning: source ad_events: its format was json, is csv; rename the source, or begin a new generation"}},
		"field": {[]string{"event_type: string, price: double", "event_type: string, price: int64"}, []string{
			"meaning: source ad_events: field price was double, is int64; rename the source, or begin a new generation",
			"shape: feature view user_clicks: feature spend_1h: aggregate was sum of double, is sum of int64: the state cannot hold both; rename the feature or the feature view, or start over in a new data directory",
		}},
		"view's entity": {[]string{"entity: campaign\n", "entity: user\n"},
			[]string{"shape: feature view campaign_ctr: its entity was campaign, is user; rename the feature view, or start over in a new data directory"}},
		"view's source": {[]string{"sources:\n", "sources:\n  more: {kafka: {topic: more}, fields: {campaign: string, event_type: string}}\n", "source: ad_events\n    entity: campaign", "source: more\n    entity: campaign"},
			[]string{"shape: feature view campaign_ctr: its source was ad_events, is more; rename the feature view, or start over in a new data directory"}},
		"view's where": {[]string{"    where: event_type == 'click'\n", ""},
			[]string{`meaning: feature view user_clicks: its where was event_type == "click", is none; rename the feature view, or begin a new generation`}},
		"window": {[]string{"of: price, window: 1h", "of: price, window: 2h"}, []string{
			"shape: feature view user_clicks: feature spend_1h: window was sliding 1h by 10s, is sliding 2h by 30s: the state cannot hold both; rename the feature or the feature view, or start over in a new data directory"}},
		"of": {[]string{"price: double}", "price: double, cost: double}", "of: price", "of: cost"},
			[]string{"meaning: feature view user_clicks: feature spend_1h: its of was price, is cost; rename the feature, or begin a new generation"}},
		"feature's where": {[]string{"where: event_type == 'impression'", "where: event_type != 'click'"},
			[]string{`meaning: feature view campaign_ctr: feature impressions_1h: its where was event_type == "impression", is event_type != "click"; rename the feature, or begin a new generation`}},
		"expression": {[]string{"clicks_1h / impressions_1h", "clicks_1h / (impressions_1h + 1)"},
			[]string{"meaning: feature view campaign_ctr: feature ctr_1h: its expression was clicks_1h / impressions_1h, is clicks_1h / (impressions_1h + 1); rename the feature, or begin a new generation"}},
		"aggregate to expression": {[]string{"{aggregate: count, where: event_type == 'click',      window: {tumbling: 1h}}", "{expression: impressions_1h * 2}"},
			[]string{"meaning: feature view campaign_ctr: feature clicks_1h was count, is impressions_1h * 2; rename the feature, or begin a new generation"}},
	} {
		t.Run(name, func(t *testing.T) {
			old := load(t, "testdata/design.yml")
			text, err := os.ReadFile("testdata/design.yml")
			if err != nil {
				t.Fatal(err)
			}
			for i := 0; i < len(c.changes); i += 2 {
				if !strings.Contains(string(text), c.changes[i]) {
					t.Fatalf("the example has no %q", c.changes[i])
				}
				text = []byte(strings.ReplaceAll(string(text), c.changes[i], c.changes[i+1]))
			}
			now, err := features.Parse("new.yaml", text)
			if err != nil {
				t.Fatal(err)
			}
			var have []string
			for _, err := range features.CompatibleWith(old, now) {
				var change *features.Change
				if !errors.As(err, &change) {
					t.Fatalf("want a change, have %v", err)
				}
				have = append(have, string(change.Kind)+": "+err.Error())
			}
			if diff := cmp.Diff(c.want, have); diff != "" {
				t.Error(diff)
			}
		})
	}
}
