package features_test

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"highwater/features"
)

// Each case changes the design's example by replacing texts: old, new, old, new … Where before is set, the definitions in force are the example after those changes.
func TestCompatibleWith(t *testing.T) {
	const (
		reset   = "begin a new generation with highwater reset --definitions FILE --from earliest (or latest, or a time)"
		onIt    = "; it takes a new generation, which keeps what was aggregated before; to have that empty, rename the feature views on it, or " + reset
		ofView  = "; it takes a new generation, which keeps what was aggregated before; to have that empty, rename the feature view, or " + reset
		feature = "; it takes a new generation, which keeps what was aggregated before; to have that empty, rename the feature, or " + reset
		away    = "; rename the feature view, or " + reset
		shape   = ": the state cannot hold both; rename the feature or the feature view, or " + reset
	)
	noClicks := []string{"  user_clicks:\n", "  other_clicks:\n", "[user_clicks,", "[other_clicks,"}
	csv := []string{"format: json", "format: csv", "fields: {", "fields: {ts_ms: int64, "}
	for name, c := range map[string]struct {
		before, changes []string
		want            []string // kind: error
	}{
		// What goes on as if nothing were.
		"nothing":                            {},
		"a feature more":                     {changes: []string{"      clicks_30m:", "      clicks_5m: {aggregate: count, window: 5m}\n      clicks_30m:"}},
		"a feature less":                     {changes: []string{"      recent:       {aggregate: timestamps, window: 30m, limit: 50}\n", ""}},
		"a view more":                        {changes: []string{"feature_views:\n", "feature_views:\n  new: {source: ad_events, entity: user, features: {n: {aggregate: count}}}\n"}},
		"a view less":                        {changes: noClicks},
		"a view that comes back":             {before: noClicks},
		"a view that comes back as another":  {before: noClicks, changes: []string{"where: event_type == 'click'\n", "where: price > 1\n", "window: 30m}", "window: 45m}", "of: price, window: 1h", "of: price, window: 2h"}},
		"a feature that comes back":          {before: []string{"      spend_1h:     {aggregate: sum, of: price, window: 1h}\n", ""}, changes: []string{"of: price, window: 1h", "of: price, window: 2h"}},
		"a field more, and another order":    {changes: []string{"{user_id: string, campaign: string,", "{page: int64, campaign: string, user_id: string,"}},
		"a field more, from a header":        {changes: []string{"price: double}", "price: double, tenant: {type: string, from: header}}"}},
		"an origin, written out":             {changes: []string{"user_id: string,", "user_id: {type: string, from: value},"}},
		"the batch's limits":                 {changes: []string{"interval: 5s", "interval: 1s", "max_records: 100000", "max_records: 7"}},
		"max_lateness":                       {changes: []string{"max_lateness: 30s", "max_lateness: 5m"}},
		"max_lateness, shorter":              {changes: []string{"max_lateness: 30s", "max_lateness: 0s"}},
		"the source's other limits":          {changes: []string{"    format: json", "    max_future: 1h\n    idle_after: 5m\n    max_record_bytes: 100\n    format: json"}},
		"the partition key":                  {changes: []string{"key: user_id ", "key: campaign "}},
		"a dead-letter topic":                {changes: []string{"{topic: ad_events}", "{topic: ad_events, dead_letter: dead}"}},
		"ttl":                                {changes: []string{"ttl: 24h", "ttl: 48h"}},
		"an entity's name":                   {changes: []string{"  user:     {", "  visitor:  {", "entity: user\n", "entity: visitor\n"}},
		"the same where, written otherwise":  {changes: []string{"where: event_type == 'click'\n", "where: (event_type   == \"click\")\n"}},
		"the default, written out":           {changes: []string{"{aggregate: count, window: 30m}", "{aggregate: count, window: 30m, resolution: 5s}"}},
		"a source that no view goes on with": {before: noClicks, changes: []string{"unit: ms}", "unit: us}", "  campaign_ctr:\n", "  campaigns:\n", "campaign_ctr:ctr_1h", "campaigns:ctr_1h"}},

		// What takes a new generation.
		"clock": {changes: []string{"clock: wall ", "clock: event "}, want: []string{"meaning: clock was wall, is event; it takes a new generation"}},
		"timestamp's unit": {changes: []string{"unit: ms}", "unit: us}"},
			want: []string{"meaning: source ad_events: its timestamp was ts_ms in ms, is ts_ms in us" + onIt}},
		"timestamp's field": {changes: []string{"{field: ts_ms, unit: ms}", "{field: sent, unit: rfc3339}"},
			want: []string{"meaning: source ad_events: its timestamp was ts_ms in ms, is sent in rfc3339" + onIt}},
		"timestamp from a header": {changes: []string{"fields: {", "fields: {ts_ms: {type: int64, from: header}, "},
			want: []string{"meaning: source ad_events: its timestamp was ts_ms in ms, is ts_ms in ms, in header ts_ms" + onIt}},
		"timestamp from a header no more": {before: []string{"fields: {", "fields: {ts_ms: {type: int64, from: header}, "},
			want: []string{"meaning: source ad_events: its timestamp was ts_ms in ms, in header ts_ms, is ts_ms in ms" + onIt}},
		"timestamp from another header": {before: []string{"fields: {", "fields: {ts_ms: {type: int64, from: header}, "}, changes: []string{"fields: {", "fields: {ts_ms: {type: int64, from: header, name: sent}, "},
			want: []string{"meaning: source ad_events: its timestamp was ts_ms in ms, in header ts_ms, is ts_ms in ms, in header sent" + onIt}},
		"timestamp of its own": {changes: []string{"    timestamp: {field: ts_ms, unit: ms}", "   "},
			want: []string{"meaning: source ad_events: its timestamp was ts_ms in ms, is the record's own" + onIt}},
		"format": {changes: csv,
			want: []string{"meaning: source ad_events: its format was json, is csv" + onIt}},
		"cells": {before: csv, changes: append(slices.Clone(csv), "campaign: string, event_type: string,", "event_type: string, campaign: string,"),
			want: []string{"meaning: source ad_events: a row was ts_ms, user_id, campaign, event_type, price, is ts_ms, user_id, event_type, campaign, price" + onIt}},
		"a cell that becomes a header": {before: csv, changes: append(slices.Clone(csv), "campaign: string,", "campaign: {type: string, from: header},"), want: []string{
			"meaning: source ad_events: a row was ts_ms, user_id, campaign, event_type, price, is ts_ms, user_id, event_type, price" + onIt,
			"meaning: source ad_events: field campaign was in the record's value, is in header campaign" + onIt,
		}},
		"a field from the key": {changes: []string{"user_id: string,", "user_id: {type: string, from: key},"},
			want: []string{"meaning: source ad_events: field user_id was in the record's value, is in the record's key" + onIt}},
		"a field from another header": {before: []string{"price: double}", "price: {type: double, from: header}}"}, changes: []string{"price: double}", "price: {type: double, from: header, name: x-price}}"},
			want: []string{"meaning: source ad_events: field price was in header price, is in header x-price" + onIt}},
		"a field's type": {changes: []string{"event_type: string, price: double", "event_type: string, price: int64"}, want: []string{
			"meaning: source ad_events: field price was double, is int64" + onIt,
			"shape: feature view user_clicks: feature spend_1h: aggregate was sum of double, is sum of int64" + shape,
		}},
		"view's where": {changes: []string{"    where: event_type == 'click'\n", ""},
			want: []string{`meaning: feature view user_clicks: its where was event_type == "click", is none` + ofView}},
		"of": {changes: []string{"price: double}", "price: double, cost: double}", "of: price", "of: cost"},
			want: []string{"meaning: feature view user_clicks: feature spend_1h: its of was price, is cost" + feature}},
		"feature's where": {changes: []string{"where: event_type == 'impression'", "where: event_type != 'click'"},
			want: []string{`meaning: feature view campaign_ctr: feature impressions_1h: its where was event_type == "impression", is event_type != "click"` + feature}},
		"expression": {changes: []string{"clicks_1h / impressions_1h", "clicks_1h / (impressions_1h + 1)"},
			want: []string{"meaning: feature view campaign_ctr: feature ctr_1h: its expression was clicks_1h / impressions_1h, is clicks_1h / (impressions_1h + 1); it takes a new generation"}},
		"aggregate to expression": {changes: []string{"{aggregate: count, where: event_type == 'click',      window: {tumbling: 1h}}", "{expression: impressions_1h * 2}"},
			want: []string{"meaning: feature view campaign_ctr: feature clicks_1h was count, is impressions_1h * 2" + feature}},

		// What is refused.
		"project": {changes: []string{"project: ads", "project: adz"},
			want: []string{"shape: the project was called ads, and is called adz; a project has a data directory of its own: name another"}},
		"topic": {changes: []string{"{topic: ad_events}", "{topic: ads}"},
			want: []string{"shape: source ad_events: its topic was ad_events, is ads; rename the source and the feature views on it, or " + reset}},
		"join keys": {changes: []string{"{join_key: campaign, type: string}", "{join_keys: {campaign: string, user_id: string}}"},
			want: []string{"shape: feature view campaign_ctr: its entity was campaign (campaign string), is campaign (campaign string, user_id string)" + away}},
		"join key's type": {changes: []string{"{join_key: campaign, type: string}", "{join_key: campaign, type: int64}", "campaign: string,", "campaign: int64,"}, want: []string{
			"meaning: source ad_events: field campaign was string, is int64" + onIt,
			"shape: feature view campaign_ctr: its entity was campaign (campaign string), is campaign (campaign int64)" + away,
		}},
		"view's entity": {changes: []string{"entity: campaign\n", "entity: user\n"},
			want: []string{"shape: feature view campaign_ctr: its entity was campaign (campaign string), is user (user_id string)" + away}},
		"view's source": {changes: []string{"sources:\n", "sources:\n  more: {kafka: {topic: more}, fields: {campaign: string, event_type: string}}\n", "source: ad_events\n    entity: campaign", "source: more\n    entity: campaign"},
			want: []string{"shape: feature view campaign_ctr: its source was ad_events, is more" + away}},
		"window": {changes: []string{"of: price, window: 1h", "of: price, window: 2h"}, want: []string{
			"shape: feature view user_clicks: feature spend_1h: window was sliding 1h by 10s, is sliding 2h by 30s" + shape}},
		"emit": {changes: []string{"where: event_type == 'impression', window: {tumbling: 1h}", "where: event_type == 'impression', emit: running, window: {tumbling: 1h}"}, want: []string{
			"shape: feature view campaign_ctr: feature impressions_1h: window was tumbling 1h, is running 1h" + shape}},
		"limit": {changes: []string{"limit: 50", "limit: 51"}, want: []string{
			"shape: feature view user_clicks: feature recent: limit was 50, is 51" + shape}},
	} {
		t.Run(name, func(t *testing.T) {
			var have []string
			for _, err := range features.CompatibleWith(changed(t, c.before), changed(t, c.changes)) {
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

// changed returns the design's example after changes: old text, new text, and so on.
func changed(t *testing.T, changes []string) *features.Project {
	t.Helper()
	text, err := os.ReadFile("testdata/design.yml")
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(changes); i += 2 {
		if !strings.Contains(string(text), changes[i]) {
			t.Fatalf("the example has no %q", changes[i])
		}
		text = []byte(strings.ReplaceAll(string(text), changes[i], changes[i+1]))
	}
	p, err := features.Parse("changed.yaml", text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}
