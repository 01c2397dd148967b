package main

import "github.com/prometheus/client_golang/prometheus"

// tellInfo registers a series that says what a process runs: project, build, and the hash of its definitions as plans and the log have it; "" where it has none.
func tellInfo(r prometheus.Registerer, project, definitions string) {
	info := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "highwater_info", Help: "1; its labels say which project, build and definitions the process runs."}, []string{"project", "version", "definitions"})
	r.MustRegister(info)
	info.WithLabelValues(project, buildVersion(), definitions).Set(1)
}
