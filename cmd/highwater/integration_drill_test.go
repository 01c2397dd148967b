package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"highwater/testutil/e2e"
	"highwater/testutil/kafkatest"
	"highwater/testutil/redistest"
)

// A drill on a real Kafka, and on a real Redis or Redis Cluster, ends as promised, and leaves both as they were.
func TestReal_Drill(t *testing.T) {
	broker := kafkatest.Start(t)
	topics := func() []string {
		client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr())) // one that has asked before answers from memory
		must(t, err)
		defer client.Close()
		all, err := kadm.NewClient(client).ListTopics(t.Context())
		must(t, err)
		return all.Names()
	}
	single, cluster := redistest.Start(t), redistest.StartCluster(t)
	for name, addrs := range map[string][]string{"redis": {single.Addr}, "cluster": cluster.Addrs} {
		t.Run(name, func(t *testing.T) {
			keys := func() (all []string) {
				if name == "redis" {
					return single.Client(t).Keys(t.Context(), "*").Val()
				}
				for _, node := range cluster.Nodes {
					all = append(all, node.Client(t).Keys(t.Context(), "*").Val()...)
				}
				return all
			}
			if name == "redis" {
				must(t, single.Client(t).Set(t.Context(), "ads:catalogue", "somebody's", 0).Err())
			}
			before, topicsBefore := keys(), topics()
			code, out, log := e2e.Run(t, "drill", "--example", "ads", "--rounds", "2", "--kills", "4", "--partitions", "2", "--json", "--data-dir", t.TempDir(),
				"--kafka", broker.Addr(), "--redis", strings.Join(addrs, ","))
			var got struct {
				Verdict string `json:"verdict"`
				Rounds  []roundResult
			}
			if err := json.Unmarshal([]byte(out), &got); err != nil || code != exitDone || got.Verdict != "equal" || len(got.Rounds) != 2 {
				t.Fatalf("exit %d, %v:\n%s\n%s", code, err, out, log)
			}
			for _, r := range got.Rounds {
				if r.Kills+r.Stopped < 2 { // at least half of the lives are drawn to end before their time
					t.Errorf("a round killed nobody: %+v", r)
				}
			}
			if after := keys(); !slices.Equal(before, after) {
				t.Errorf("redis had the keys %.5q, and has %.5q", before, after)
			}
			if after := topics(); !slices.Equal(topicsBefore, after) {
				t.Errorf("kafka had the topics %q, and has %q", topicsBefore, after)
			}
		})
	}
}
