package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"highwater/batch"
)

// An error of a partition that is not about the brokers' health is met this often in a row, with growing pauses (about 40 s in all), before it counts.
const maxStrikes = 16

var errMissing = errors.New("nothing was said of it")

// fetcher is the state of the fetching goroutine.
type fetcher struct {
	*Source
	paused  []bool      // by partition, as the client was told
	strikes []int       // by partition: errors in a row
	struck  []time.Time // by partition: when the last of them was
	told    []time.Time // by partition: when it was last said that it may not be read
}

// fetch polls until Close.
func (s *Source) fetch() {
	n := len(s.partitions)
	f := &fetcher{Source: s, paused: make([]bool, n), strikes: make([]int, n), struck: make([]time.Time, n), told: make([]time.Time, n)}
	for {
		ctx, cancel, err := f.admit()
		if err != nil {
			return
		}
		fetches := s.client.PollFetches(ctx)
		cancel()
		worst := 0
		for _, fetch := range fetches {
			for _, t := range fetch.Topics {
				for _, p := range t.Partitions {
					worst = max(worst, f.absorb(t.Topic, p))
				}
			}
		}
		if worst > 0 && pause(s.ctx, min(firstBackoff<<min(worst-1, 8), lastBackoff)) != nil {
			return
		}
	}
}

// admit waits until something may be fetched: everything while there is memory, and else what a Take waits for. It returns the context of the poll, which ends when that changes.
func (f *fetcher) admit() (context.Context, context.CancelFunc, error) {
	for {
		if f.ctx.Err() != nil {
			return nil, nil, errClosed
		}
		ctx, cancel := context.WithCancel(f.ctx)
		f.mu.Lock()
		open, full := f.open()
		f.narrow = nil
		if full {
			f.narrow = cancel
		}
		f.mu.Unlock()
		if f.allow(open) {
			return ctx, cancel, nil
		}
		cancel()
		notify(f.arrived) // memory is full: Cut has something to say
		select {
		case <-f.room:
		case <-f.ctx.Done():
		}
	}
}

// open says by partition whether it is to be fetched, and whether memory is full. s.mu is held.
func (f *fetcher) open() (open []bool, full bool) {
	full = f.memory() >= f.memoryBytes
	open = make([]bool, len(f.partitions))
	for i := range open {
		open[i] = f.failures[i] == nil && (!full || f.wanted != nil && f.queues[i].fetched < f.wanted[i])
	}
	return open, full
}

// allow tells the client what to fetch, and reports whether that is anything at all.
func (f *fetcher) allow(open []bool) bool {
	shut, resume, some := map[string][]int32{}, map[string][]int32{}, false
	for i, p := range f.partitions {
		switch {
		case open[i] && f.paused[i]:
			resume[p.Topic] = append(resume[p.Topic], p.Number)
		case !open[i] && !f.paused[i]:
			shut[p.Topic] = append(shut[p.Topic], p.Number)
		}
		some = some || open[i]
	}
	if !some {
		return false // nothing is polled: there is no need to pause
	}
	for i := range f.paused {
		f.paused[i] = !open[i]
	}
	if len(shut) > 0 {
		f.client.PauseFetchPartitions(shut)
	}
	if len(resume) > 0 {
		f.client.ResumeFetchPartitions(resume)
	}
	return true
}

// absorb puts one partition's answer into its queue, and returns how often in a row it has been an error.
func (f *fetcher) absorb(topic string, p kgo.FetchPartition) (strikes int) {
	numbers := f.index[topic]
	if p.Partition < 0 || int(p.Partition) >= len(numbers) {
		return f.aside(topic, p.Err)
	}
	i := numbers[p.Partition]
	if len(p.Records) > 0 {
		f.enqueue(i, p)
		f.strikes[i] = 0
	}
	if p.Err == nil {
		f.noteEnd(i, p)
		f.troubles.over(actRead + topic)
		return 0
	}
	return f.fault(i, p.Err)
}

// aside hears an error that is no partition's: the poll's own end, or a topic's, which the watcher sees to.
func (f *fetcher) aside(topic string, err error) (strikes int) {
	if topic == "" || err == nil {
		return 0
	}
	f.log.Warn("fetching met an error of a topic", "act", "read", "topic", topic, "err", err)
	notify(f.suspect)
	return 1
}

// enqueue converts records and appends them to their queue.
func (f *fetcher) enqueue(i int, p kgo.FetchPartition) {
	f.mu.Lock()
	from, failed := f.queues[i].fetched, f.failures[i] != nil
	f.mu.Unlock()
	if failed { // what stands there now is not what was to follow
		return
	}
	records, end := convert(p.Records, from)
	if end == from {
		return
	}
	f.mu.Lock()
	f.queues[i].add(end, records)
	f.mu.Unlock()
	notify(f.arrived)
	notify(f.grown)
}

// convert makes batch records of the client's from an offset on, and returns the offset after the last. They lie in one slice, and so do their headers. Control records have offsets, and are nothing else here.
func convert(from []*kgo.Record, next int64) ([]batch.Record, int64) {
	records, n := make([]batch.Record, 0, len(from)), 0
	for _, r := range from {
		n += len(r.Headers)
	}
	headers := make([]batch.Header, 0, n)
	for _, r := range from {
		if r.Offset < next {
			continue
		}
		next = r.Offset + 1
		if r.Attrs.IsControl() {
			continue
		}
		record := batch.Record{Offset: r.Offset, Time: r.Timestamp.UnixMicro(), Key: r.Key, Value: r.Value}
		if len(r.Headers) > 0 {
			first := len(headers)
			for _, h := range r.Headers {
				headers = append(headers, batch.Header{Key: h.Key, Value: h.Value})
			}
			record.Headers = headers[first:len(headers):len(headers)]
		}
		records = append(records, record)
	}
	return records, next
}

func (f *fetcher) noteEnd(i int, p kgo.FetchPartition) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.stable[i] = max(f.stable[i], p.LastStableOffset)
}

// fault decides what an error of a partition means, and returns how often in a row there was one.
func (f *fetcher) fault(i int, err error) (strikes int) {
	p := f.partitions[i]
	var lost *kgo.ErrDataLoss
	var unreadable *decompressError
	switch {
	case f.ctx.Err() != nil, errors.Is(err, context.Canceled), errors.Is(err, kgo.ErrClientClosed):
		return 0
	case errors.As(err, &lost):
		f.stop(i, batch.Permanent(&batch.TruncatedError{Partition: p, Next: lost.ConsumedTo, End: lost.ResetTo}))
		return 0
	case errors.As(err, &unreadable):
		f.stop(i, batch.Permanent(fmt.Errorf("topic %s, partition %d: the batch of records at offset %d cannot be read: %w; nothing was skipped: have it written again by a producer that compresses by gzip, snappy, lz4 or zstd, or delete it "+
			"(kafka-delete-records.sh) and start with --accept-loss", p.Topic, p.Number, f.fetchedTo(i), unreadable)))
		return 0
	case errors.Is(err, kerr.OffsetOutOfRange):
		if f.outOfRange(i) {
			return 0
		}
	case errors.Is(err, kerr.UnknownTopicID), errors.Is(err, kerr.UnknownTopicOrPartition), errors.Is(err, kerr.InconsistentTopicID):
		notify(f.suspect)
		f.strikes[i] = 0 // the watcher decides
		return 1
	case errors.Is(err, kerr.TopicAuthorizationFailed):
		return f.denied(i, err)
	}
	return f.strike(i, err)
}

// strike counts an error that should not last, and gives the partition up when it does.
func (f *fetcher) strike(i int, err error) (strikes int) {
	p := f.partitions[i]
	if time.Since(f.struck[i]) > logEvery {
		f.strikes[i] = 0 // an old story
	}
	f.struck[i] = time.Now()
	f.strikes[i]++
	f.log.Warn("fetching met an error, trying again", "act", "read", "topic", p.Topic, "partition", p.Number, "offset", f.fetchedTo(i), "err", err)
	if f.strikes[i] >= maxStrikes {
		f.stop(i, batch.Permanent(fmt.Errorf("topic %s, partition %d: fetching at offset %d met the same kind of error %d times in a row: %w", p.Topic, p.Number, f.fetchedTo(i), maxStrikes, err)))
	}
	return f.strikes[i]
}

// denied waits for a right that was taken away: who took it may give it back.
func (f *fetcher) denied(i int, err error) (strikes int) {
	topic := f.partitions[i].Topic
	f.strikes[i]++
	if time.Since(f.told[i]) >= remindEvery {
		f.told[i] = time.Now()
		f.log.Error("the brokers no longer let this client read a topic: waiting until the right is given back (Read on the topic); nothing is lost", "act", "read", "topic", topic, "err", err)
	}
	f.troubles.met(actRead+topic, fmt.Errorf("the right to read it was taken away: %w", err))
	return f.strikes[i]
}

// stop gives a partition up.
func (f *fetcher) stop(i int, err error) {
	f.fail(i, err)
	p := f.partitions[i]
	f.client.PauseFetchPartitions(map[string][]int32{p.Topic: {p.Number}})
	f.paused[i] = true
}

func (f *fetcher) fetchedTo(i int) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.queues[i].fetched
}

// outOfRange finds out on which side of the log the position lies, and reports whether that settled it.
func (f *fetcher) outOfRange(i int) bool {
	var logs []extent
	err := f.patience.until(f.ctx, "find where the logs begin and end", func(ctx context.Context) (err error) {
		if err := f.another(); err != nil {
			return err
		}
		logs, err = f.extents(ctx)
		return err
	})
	if err != nil {
		return f.ctx.Err() != nil // else the topic is gone, and said to be
	}
	p, next := f.partitions[i], f.fetchedTo(i)
	switch log := logs[i]; {
	case next > log.end:
		f.stop(i, batch.Permanent(&batch.TruncatedError{Partition: p, Next: next, End: log.end}))
	case next >= log.start:
		return false // it is there by now
	case !f.options.AcceptLoss:
		f.stop(i, &batch.LostError{Partition: p, Start: next, End: log.start})
	default:
		f.jump(i, next, log.start)
	}
	return true
}

// jump goes on at the log's start.
func (f *fetcher) jump(i int, from, to int64) {
	p := f.partitions[i]
	f.logLoss(p, from, to)
	f.mu.Lock()
	f.queues[i].lose(to)
	f.mu.Unlock()
	f.client.SetOffsets(map[string]map[int32]kgo.EpochOffset{p.Topic: {p.Number: {Epoch: -1, Offset: to}}})
	notify(f.arrived)
	notify(f.grown)
}
