package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"highwater/batch"
	"highwater/features"
)

const (
	watchEvery    = 3 * time.Second
	settingsEvery = 30 * time.Second
	missingFor    = time.Second // a topic that was missing for so long is said to be: a broker that starts may not know it yet
)

// watcher looks from time to time whether the topics are still those that were opened, until Close. Fetching alone cannot tell: the client takes a deleted topic for one that is late.
type watcher struct {
	*Source
	missing  map[string]time.Time // by topic: since when
	told     map[string]time.Time // by topic: when that was last said
	settings time.Time            // when the settings were last looked at
}

func (s *Source) watch() {
	w := &watcher{Source: s, missing: map[string]time.Time{}, told: map[string]time.Time{}, settings: time.Now()}
	every := time.NewTimer(s.options.watchEvery)
	defer every.Stop()
	for {
		select {
		case <-every.C:
		case <-s.suspect:
		case <-s.ctx.Done():
			return
		}
		wait := s.options.watchEvery
		if w.look() {
			wait = s.options.watchEvery / 10 // something is missing: make sure soon
		}
		if time.Since(w.settings) >= s.options.settingsEvery {
			w.settings = time.Now()
			w.lookAtSettings()
		}
		every.Reset(wait)
	}
}

// look compares the topics with those that were opened, and reports whether one was missing. Brokers that do not answer are no finding.
func (w *watcher) look() (suspicious bool) {
	const act = "look whether the topics are there"
	ctx, cancel := context.WithTimeout(w.ctx, attemptTimeout)
	defer cancel()
	found, err := w.describe(ctx)
	if err != nil {
		clear(w.missing)
		if w.ctx.Err() == nil {
			w.troubles.met(act, w.options.Security.explain(w.options.Brokers, err))
		}
		return false
	}
	w.troubles.over(act)
	for _, src := range w.options.Sources {
		if w.compare(src, w.topics[src.Topic], found[src.Topic]) {
			suspicious = true
		}
	}
	return suspicious
}

// compare looks at one topic, and reports whether it was missing.
func (w *watcher) compare(src *features.Source, was, is topic) (missing bool) {
	if errors.Is(is.err, kerr.UnknownTopicOrPartition) {
		w.tellMissing(src.Topic)
		return true
	}
	delete(w.missing, src.Topic)
	if is.err != nil {
		return false
	}
	delete(w.told, src.Topic)
	w.troubles.over(actFind + src.Topic)
	if is.mayRead {
		w.troubles.over(actRead + src.Topic)
	}
	switch {
	case is.id != was.id && is.id != ([16]byte{}) && was.id != ([16]byte{}), is.partitions < was.partitions:
		w.change(fmt.Sprintf("topic %s was deleted and made again while it was read: its offsets mean other records now", src.Topic), true)
	case is.partitions > was.partitions:
		w.change(fmt.Sprintf("topic %s has %d partitions now, it had %d", src.Topic, is.partitions, was.partitions), false)
	}
	return false
}

// tellMissing says of a topic that has been missing for more than a moment that it is waited for.
func (w *watcher) tellMissing(topic string) {
	since, ok := w.missing[topic]
	if !ok {
		w.missing[topic] = time.Now()
		return
	}
	if time.Since(since) < missingFor || time.Since(w.told[topic]) < remindEvery {
		return
	}
	w.told[topic] = time.Now()
	w.troubles.met(actFind+topic, fmt.Errorf("it was deleted while it was read: waiting until it is there again"))
	w.log.Error("a topic was deleted while it was read: waiting until it is there again; where it should be gone, stop this worker and take its source out of the definitions", "act", "read", "topic", topic, "missing_since", since.UTC().Format(time.RFC3339))
}

// lookAtSettings gives up topics that have become compacted. What it may not see it has been told of at Open.
func (w *watcher) lookAtSettings() {
	ctx, cancel := context.WithTimeout(w.ctx, attemptTimeout)
	defer cancel()
	compacted, err := w.compacted(ctx, func([]string, error) {})
	if err != nil {
		return // it is looked at again
	}
	for _, topic := range compacted {
		err := batch.Permanent(compactedError(topic, "has become compacted while it was read"))
		for _, i := range w.index[topic] {
			w.fail(i, err)
		}
	}
}
