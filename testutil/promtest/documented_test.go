package promtest_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"highwater/testutil/promtest"
)

func TestInQuery(t *testing.T) {
	query := `histogram_quantile(0.99, sum by (sink, le) (rate(highwater_publish_seconds_bucket{instance=~"$instance",sink!="redis"}[1m]))) > on (job) highwater:lag:p99{view="u"} or up{job=~"highwater.*"}`
	want := []promtest.Used{{Name: "highwater_publish_seconds", Labels: []string{"sink"}}, {Name: "highwater:lag:p99", Labels: []string{"view"}}}
	if diff := cmp.Diff(want, promtest.InQuery(query)); diff != "" {
		t.Error(diff)
	}
}
