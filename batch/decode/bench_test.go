package decode_test

import (
	"encoding/json"
	"testing"

	"highwater/batch"
	"highwater/batch/decode"
	"highwater/features"
	"highwater/windows"
)

// ysbf is a record of the peers' workload, about 180 bytes.
const ysbf = `{"user_id":"u0000123","page_id":"p000456789","ad_id":"a00012","campaign":"c00003","ad_type":"banner","event_type":"view","event_time":1700000000000,"ip_address":"1.2.3.4"}`

func ysbfSource() *features.Source {
	return &features.Source{
		Name: "ad_events", Format: features.JSON, MaxRecordBytes: 1 << 20, Key: "user_id",
		Timestamp: features.Timestamp{Field: "event_time", Unit: features.Milliseconds},
		Fields: []features.Field{
			{Name: "user_id", Kind: windows.String}, {Name: "campaign", Kind: windows.String}, {Name: "event_type", Kind: windows.String},
		},
	}
}

func BenchmarkJSON_ysbf(b *testing.B) {
	d := decode.New(ysbfSource())
	rec := &batch.Record{Value: []byte(ysbf)}
	fields := make([]windows.Value, 3)
	b.SetBytes(int64(len(ysbf)))
	b.ReportAllocs()
	for b.Loop() {
		if _, reject, detail := d.Decode(rec, fields); reject != "" {
			b.Fatal(detail)
		}
	}
}

func BenchmarkEncodingJSON_ysbf(b *testing.B) {
	var event struct {
		User  string `json:"user_id"`
		Camp  string `json:"campaign"`
		Event string `json:"event_type"`
		Time  int64  `json:"event_time"`
	}
	b.SetBytes(int64(len(ysbf)))
	b.ReportAllocs()
	for b.Loop() {
		if err := json.Unmarshal([]byte(ysbf), &event); err != nil {
			b.Fatal(err)
		}
	}
}
