package kafka

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// Scratch are topics that were made up for a while, and that nobody else knows. [CreateScratch] makes them.
type Scratch struct {
	o      ScratchOptions
	client *kgo.Client
}

// ScratchOptions say where topics are made.
type ScratchOptions struct {
	Brokers  []string
	Security Security
	Topics   map[string]int // with their partitions
}

// CreateScratch creates topics, and none of them where one is there already: it would be somebody's.
func CreateScratch(ctx context.Context, o ScratchOptions) (*Scratch, error) {
	client, err := kgo.NewClient(common(o.Brokers, orDiscard(nil), o.Security, nil, nil)...)
	if err != nil {
		return nil, err
	}
	s := &Scratch{o: o, client: client}
	if err := s.create(ctx); err != nil {
		client.Close()
		return nil, fmt.Errorf("create topics: %w", o.Security.explain(o.Brokers, err))
	}
	return s, nil
}

func (s *Scratch) create(ctx context.Context) error {
	admin := kadm.NewClient(s.client)
	there, err := admin.ListTopics(ctx, s.names()...)
	if err != nil {
		return err
	}
	for _, name := range s.names() {
		if t, listed := there[name]; listed && t.Err == nil {
			return fmt.Errorf("topic %s is there already, and is not touched", name)
		}
	}
	for _, name := range s.names() {
		if _, err := admin.CreateTopic(ctx, int32(s.o.Topics[name]), -1, nil, name); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
	}
	return nil
}

func (s *Scratch) names() []string { return slices.Sorted(maps.Keys(s.o.Topics)) }

// Delete deletes the topics with all that is in them, and lets go of the brokers. It is called once.
func (s *Scratch) Delete(ctx context.Context) error {
	defer s.client.Close()
	deleted, err := kadm.NewClient(s.client).DeleteTopics(ctx, s.names()...)
	if err != nil {
		return fmt.Errorf("delete the topics %s; delete them by hand: %w", strings.Join(s.names(), ", "), s.o.Security.explain(s.o.Brokers, err))
	}
	var errs []error
	for _, d := range deleted.Sorted() {
		if d.Err != nil {
			errs = append(errs, fmt.Errorf("delete topic %s; delete it by hand: %w", d.Topic, d.Err))
		}
	}
	return errors.Join(errs...)
}
