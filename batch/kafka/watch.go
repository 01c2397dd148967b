package kafka

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"highwater/batch"
)

const (
	watchEvery = 3 * time.Second
	missingFor = time.Second // a topic that was missing for so long is gone: a broker that starts may not know it yet
)

// watch looks from time to time whether the topics are still those that were opened, until Close. Fetching alone cannot tell: the client takes a deleted topic for one that is late.
func (s *Source) watch() {
	missing := map[string]time.Time{} // since when
	grown := map[string]int{}
	every := time.NewTimer(watchEvery)
	defer every.Stop()
	for {
		select {
		case <-every.C:
		case <-s.suspect:
		case <-s.ctx.Done():
			return
		}
		wait := watchEvery
		if s.look(missing, grown) {
			wait = watchEvery / 10 // something is missing: make sure soon
		}
		every.Reset(wait)
	}
}

// look compares the topics with those that were opened, and reports whether one was missing. Brokers that do not answer are no finding.
func (s *Source) look(missing map[string]time.Time, grown map[string]int) (suspicious bool) {
	ctx, cancel := context.WithTimeout(s.ctx, attemptTimeout)
	defer cancel()
	found, err := s.describe(ctx)
	if err != nil {
		clear(missing)
		return false
	}
	for _, src := range s.options.Sources {
		was, is := s.topics[src.Topic], found[src.Topic]
		switch {
		case errors.Is(is.err, kerr.UnknownTopicOrPartition):
			suspicious = true
			if since, ok := missing[src.Topic]; !ok {
				missing[src.Topic] = time.Now()
			} else if time.Since(since) >= missingFor {
				s.failTopic(src.Topic, fmt.Errorf("topic %s was deleted while it was read", src.Topic))
			}
			continue
		case is.err != nil:
		case is.id != was.id:
			s.failTopic(src.Topic, fmt.Errorf("topic %s was deleted and made again while it was read: its offsets mean other records now; start over with an empty data directory, under another project name or after deleting the project's keys from Redis", src.Topic))
		case is.partitions != was.partitions && is.partitions != grown[src.Topic]:
			grown[src.Topic] = is.partitions
			s.log.Error("a topic has got more partitions: the new ones are not read until the task starts again", "topic", src.Topic, "had", was.partitions, "has", is.partitions)
		}
		delete(missing, src.Topic)
	}
	return suspicious
}

func (s *Source) failTopic(topic string, err error) {
	err = batch.Permanent(err)
	s.mu.Lock()
	s.gone = err
	s.mu.Unlock()
	for _, i := range s.index[topic] {
		s.fail(i, err)
	}
}
