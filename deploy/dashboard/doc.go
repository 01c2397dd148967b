// Package dashboard draws the Grafana dashboard of deploy/grafana without Grafana: it evaluates every panel's queries against a real Prometheus, for a stretch of time, and writes one HTML page
// with every panel as SVG, in which the times at which alerts fired are bands.
//
// It reads the parts of Grafana's format that the dashboard uses, and no more: rows, stats, time series (lines and stacks), state timelines, overrides by regular expression, and annotations that are Prometheus queries.
package dashboard
