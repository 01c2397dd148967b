package batch

import (
	"highwater/features"
	"highwater/windows"
)

// marks are the high-water marks of event time, after the records judged so far. They follow from the plans and the records alone (I3).
type marks struct {
	eventTime []int64 // by partition: the greatest event time seen
	frontier  int64
	watermark int64
}

func (m marks) clone() marks {
	m.eventTime = append([]int64(nil), m.eventTime...)
	return m
}

// watermarkOf returns a partition's own watermark, NoTime before its first event.
func (m *marks) watermarkOf(partition int, lateness int64) int64 {
	if m.eventTime[partition] == windows.NoTime {
		return windows.NoTime
	}
	return m.eventTime[partition] - lateness
}

// close ends a batch: it moves the task's frontier and watermark to where plan and records have brought them. Neither ever goes back.
func (m *marks) close(p *Plan, partitions []partition, clock features.Clock) {
	for _, t := range m.eventTime {
		m.frontier = max(m.frontier, t)
	}
	if clock == features.WallClock && p.CaughtUp() {
		m.frontier = max(m.frontier, p.Clock)
	}
	m.watermark = max(m.watermark, m.taskWatermark(p, partitions, clock))
}

// taskWatermark is the least watermark over the partitions that count: with the wall clock those that are not idle, with the event clock all of them, unless the plan is final.
func (m *marks) taskWatermark(p *Plan, partitions []partition, clock features.Clock) int64 {
	least, counted := int64(windows.Never), 0
	for i := range partitions {
		switch {
		case partitions[i].absent:
			continue
		case clock == features.WallClock && p.Slices[i].Idle:
			continue
		case clock == features.EventClock && p.Final && m.eventTime[i] == windows.NoTime:
			continue
		}
		counted++
		least = min(least, m.watermarkOf(i, partitions[i].lateness))
	}
	if counted > 0 {
		return least
	}
	if clock == features.EventClock {
		return windows.NoTime
	}
	for i := range partitions { // all idle: the clock itself
		if !partitions[i].absent {
			least = min(least, p.Clock-partitions[i].lateness)
		}
	}
	return least
}
