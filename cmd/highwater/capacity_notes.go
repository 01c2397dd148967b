package main

import (
	"fmt"
	"io"
	"math"
	"strings"
	"time"
)

// printMeasurement writes what was measured, on what, and what to make of it.
func (r *capacityReport) printMeasurement(t io.Writer) {
	m := r.measured
	line := func(name, format string, args ...any) { fmt.Fprintf(t, "%s\t%s\n", name, fmt.Sprintf(format, args...)) }
	line("measured speed", "%s events/s: the median of %d rounds, from %s to %s", grouped(m.Speed), len(m.Rounds), grouped(m.Slowest), grouped(m.Fastest))
	line("run", "%s events in %s batches of %s, %.1f s; start-up is left out", grouped(m.Events), grouped(int64(m.Batches)), grouped(m.BatchEvents), m.Seconds)
	line("sample", "%s events of %.0f bytes over %s, repeated with later times: %s", grouped(m.SampleEvents), m.EventBytes, spanText(m.SampleSeconds), m.sources)
	redis, inside := "the Redis given", "the worker and the embedded Kafka"
	if m.EmbeddedRedis {
		redis, inside = "the embedded Redis", "the worker, the embedded Kafka and the embedded Redis"
	}
	line("machine", "%s; with %s", m.Machine, redis)
	line("processor", "%.1f µs an event, %.1f cores: %s together%s", m.ProcessorMicros, m.ProcessorMicros*float64(m.Events)/1e6/m.Seconds, inside, othersText(m))
	stages := make([]string, 0, len(stageNames))
	for _, name := range stageNames {
		stages = append(stages, fmt.Sprintf("%s %.0f ms", name, 1000*m.Stages[name]))
	}
	line("a batch took", "%.0f ms: %s (read runs beside the batch before, transform beside publish)", 1000*m.Seconds/float64(m.Batches), strings.Join(stages, ", "))
	line("vectors", "%.2f an event at this size of batch, %s/s; %.0f bytes of key and value each%s", m.VectorsPerEvent, grouped(int64(m.VectorsPerEvent*float64(m.Speed))), m.VectorBytes, memoryText(m))
	line("state", "%.0f bytes an entity, before compression (%s entities)", m.StateBytes, grouped(m.Entities))
	if r.rated {
		rate := float64(r.answer.Rate)
		line("at the peak", "%s from Kafka and, if vectors an event stay as they are, %s vectors/s, %s to Redis; protocol not included",
			trafficText(rate*m.EventBytes), grouped(int64(rate*m.VectorsPerEvent)), trafficText(rate*m.VectorsPerEvent*m.VectorBytes))
	}
	for _, note := range r.notes() {
		line("note", "%s", note)
	}
}

// notes says in which way the measured speed may be wrong.
func (r *capacityReport) notes() []string {
	m := r.measured
	var notes []string
	note := func(format string, args ...any) { notes = append(notes, fmt.Sprintf(format, args...)) }
	if m.EmbeddedRedis {
		note("The embedded Redis is many times slower than a real one, so the speed is understated: measure with --redis.")
	}
	if m.BatchEvents < m.maxRecords && m.BatchEvents >= m.SampleEvents {
		note("A batch was the whole sample. Larger ones (max_records is %s) change fewer vectors an event, so the speed is understated: give more events.", grouped(m.maxRecords))
	}
	if m.BatchEvents > m.SampleEvents {
		note("A batch was larger than the sample, so it met each entity more often than your events would, and the speed is overstated: give more events, or a smaller --batch-max-records.")
	}
	if r.rated {
		peak := float64(m.BatchEvents) * float64(r.answer.Bare.Count) / float64(r.answer.Rate) // the seconds that one of the workers' batches covers then
		const text = "A batch covered %s of event time; at the peak it covers %s. Windows slid and closed %s often than they will, so the speed may be %s: give a sample of the peak, as dense as one worker's part of it."
		switch {
		case m.EventSeconds > 5*peak:
			note(text, spanText(m.EventSeconds), spanText(peak), "more", "understated")
		case m.EventSeconds < peak/5:
			note(text, spanText(m.EventSeconds), spanText(peak), "less", "overstated")
		}
	}
	if lost := m.Late + m.DeadLetters; lost*100 > m.Events {
		note("%.0f %% of the events were late (%s) or dead letters (%s), which are less work: sort the sample by time, and look at them with `highwater dev`.", 100*float64(lost)/float64(m.Events), grouped(m.Late), grouped(m.DeadLetters))
	}
	if m.SampleCut {
		note("The files hold more events than are kept in memory: their first %s were used.", grouped(m.SampleEvents))
	}
	if m.OtherCores != nil && *m.OtherCores > 0.5 {
		note("Other processes were busy meanwhile (the Redis given among them, if it runs here): where a worker has its machine to itself, it is faster.")
	}
	if float64(m.Fastest) > 1.5*float64(m.Slowest) {
		note("The rounds differ by more than half: the machine was busy with other things, or the disk is slow. Measure again.")
	}
	return notes
}

// spanText writes seconds to three digits, or as a duration where they are many.
func spanText(seconds float64) string {
	switch {
	case seconds < 1:
		return fmt.Sprintf("%.3g ms", seconds*1000)
	case seconds < 100:
		return fmt.Sprintf("%.3g s", seconds)
	}
	return time.Duration(math.Min(seconds, 1e9) * float64(time.Second)).Round(time.Second).String()
}

func othersText(m *measurement) string {
	if m.OtherCores == nil {
		return ""
	}
	return fmt.Sprintf("; other processes %.1f cores", *m.OtherCores)
}

func memoryText(m *measurement) string {
	if m.VectorMemoryBytes == 0 {
		return ""
	}
	return fmt.Sprintf(", %.0f of Redis's memory", m.VectorMemoryBytes)
}

// trafficText writes bytes a second.
func trafficText(bytes float64) string {
	if bytes < 1e5 {
		return fmt.Sprintf("%.1f kB/s", bytes/1e3)
	}
	return fmt.Sprintf("%.1f MB/s", bytes/1e6)
}
