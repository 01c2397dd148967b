package kafka

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"highwater/batch"
	"highwater/features"
)

// A topic that is not there is looked for this often before it counts as missing: one that was made a moment ago may not be known to every broker.
const missingTries = 4

// Open finds the sources' partitions and checks that they can be read twice alike. It waits for brokers that are down, with a message in the log; ctx ends the wait.
// A topic that does not exist, may not be read or is compacted is an error that [batch.IsPermanent] knows. The caller must Close the source.
func Open(ctx context.Context, o Options) (*Source, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, batch.Permanent(err)
	}
	client, err := kgo.NewClient(o.client()...)
	if err != nil {
		return nil, batch.Permanent(fmt.Errorf("set up the Kafka client: %w", err))
	}
	s := newSource(o, client)
	if err := s.discover(ctx); err != nil {
		client.Close()
		return nil, err
	}
	if err := s.refuseCompacted(ctx); err != nil {
		client.Close()
		return nil, err
	}
	s.run()
	return s, nil
}

func (o Options) check() error {
	if len(o.Brokers) == 0 || len(o.Sources) == 0 {
		return errors.New("open a Kafka source: want at least one broker and one source")
	}
	by := map[string]string{}
	for _, src := range o.Sources {
		if other, ok := by[src.Topic]; ok {
			return fmt.Errorf("sources %s and %s read the same topic %q: a topic belongs to one source", other, src.Name, src.Topic)
		}
		by[src.Topic] = src.Name
	}
	return o.Security.Check()
}

// discover finds every topic's id and partitions.
func (s *Source) discover(ctx context.Context) error {
	var found map[string]topic
	missing := 0
	err := s.patience.until(ctx, "find the topics' partitions", func(ctx context.Context) (err error) {
		if found, err = s.describe(ctx); err != nil {
			return err
		}
		for _, src := range s.options.Sources {
			t := found[src.Topic]
			if errors.Is(t.err, kerr.UnknownTopicOrPartition) && missing < missingTries {
				missing++
				return t.err
			}
			if err := s.openError(src, t); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, src := range s.options.Sources {
		s.own(src, found[src.Topic])
	}
	return nil
}

// own makes a topic's partitions the source's.
func (s *Source) own(src *features.Source, t topic) {
	s.topics[src.Topic] = t
	index := make([]int, t.partitions)
	for n := range index {
		index[n] = len(s.partitions)
		s.partitions = append(s.partitions, batch.Partition{Source: src.Name, Topic: src.Topic, Number: int32(n)})
	}
	s.index[src.Topic] = index
}

// openError says in full what is wrong with a topic; what time may mend is not permanent.
func (s *Source) openError(src *features.Source, t topic) error {
	brokers := strings.Join(s.options.Brokers, ",")
	switch {
	case t.err == nil && !t.mayRead:
		return batch.Permanent(fmt.Errorf("source %s: %s shows topic %q to this client, and does not let it read it; grant it the operation Read on the topic", src.Name, brokers, src.Topic))
	case t.err == nil:
		return nil
	case errors.Is(t.err, kerr.UnknownTopicOrPartition):
		return batch.Permanent(fmt.Errorf("source %s: topic %q does not exist on %s; create it (kafka-topics.sh --bootstrap-server %s --create --topic %s --partitions N), or correct kafka.topic in the definitions",
			src.Name, src.Topic, brokers, s.options.Brokers[0], src.Topic))
	case errors.Is(t.err, kerr.InvalidTopicException):
		return batch.Permanent(fmt.Errorf("source %s: %q cannot be the name of a topic; correct kafka.topic in the definitions", src.Name, src.Topic))
	case errors.Is(t.err, kerr.TopicAuthorizationFailed):
		return batch.Permanent(fmt.Errorf("source %s: %s does not let this client read topic %q; it needs the operations Describe and Read on it", src.Name, brokers, src.Topic))
	}
	return fmt.Errorf("source %s: topic %q: %w", src.Name, src.Topic, t.err)
}

// topic is what the brokers say of one.
type topic struct {
	id         [16]byte // zero where the brokers are too old for ids
	partitions int
	mayRead    bool // also where the brokers do not say
	err        error
}

// describe asks the brokers for the topics, past the client's cache.
func (s *Source) describe(ctx context.Context) (map[string]topic, error) {
	req := kmsg.NewPtrMetadataRequest()
	req.IncludeTopicAuthorizedOperations = true
	for _, src := range s.options.Sources {
		t := kmsg.NewMetadataRequestTopic()
		t.Topic = kmsg.StringPtr(src.Topic)
		req.Topics = append(req.Topics, t)
	}
	resp, err := req.RequestWith(ctx, s.client)
	if err != nil {
		return nil, err
	}
	found := map[string]topic{}
	for _, t := range resp.Topics {
		if t.Topic != nil {
			found[*t.Topic] = describedTopic(t)
		}
	}
	for _, src := range s.options.Sources {
		if _, ok := found[src.Topic]; !ok {
			return nil, fmt.Errorf("the brokers left topic %q out of their answer", src.Topic)
		}
	}
	return found, nil
}

func describedTopic(t kmsg.MetadataResponseTopic) topic {
	operations := t.AuthorizedOperations // a set of bits; the least number, or none at all, where the brokers do not say
	d := topic{id: t.TopicID, partitions: len(t.Partitions), err: kerr.ErrorForCode(t.ErrorCode)}
	d.mayRead = operations == math.MinInt32 || operations == 0 || operations&(1<<kmsg.ACLOperationRead) != 0
	if d.err == nil && d.partitions == 0 {
		d.err = errors.New("it has no partitions yet")
	}
	for _, p := range t.Partitions {
		if d.err == nil && int(p.Partition) >= d.partitions {
			d.err = fmt.Errorf("partition %d is named, but there are only %d", p.Partition, d.partitions)
		}
	}
	return d
}

// refuseCompacted refuses topics whose records disappear one by one: they could not be read twice alike.
func (s *Source) refuseCompacted(ctx context.Context) error {
	return s.patience.until(ctx, "read the topics' settings", func(ctx context.Context) error {
		found, err := s.compacted(ctx, s.unknownPolicy)
		for _, name := range found {
			return batch.Permanent(compactedError(name, "is compacted"))
		}
		return err
	})
}

func compactedError(topic, is string) error {
	return fmt.Errorf("topic %q %s (cleanup.policy): older records of a key disappear, so that a replay would not read what was read before; use a topic with cleanup.policy=delete", topic, is)
}

// compacted returns which topics are; hidden hears of those that this client may not see the settings of.
func (s *Source) compacted(ctx context.Context, hidden func(topics []string, err error)) (found []string, err error) {
	names := make([]string, len(s.options.Sources))
	for i, src := range s.options.Sources {
		names[i] = src.Topic
	}
	configs, err := s.admin.DescribeTopicConfigs(ctx, names...)
	if _, refused := errors.AsType[*kadm.AuthError](err); refused {
		hidden(names, err)
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, c := range configs {
		switch {
		case errors.Is(c.Err, kerr.TopicAuthorizationFailed), errors.Is(c.Err, kerr.ClusterAuthorizationFailed):
			hidden([]string{c.Name}, c.Err)
		case c.Err != nil:
			return nil, fmt.Errorf("topic %q: %w", c.Name, c.Err)
		case compacts(c):
			found = append(found, c.Name)
		}
	}
	return found, nil
}

func (s *Source) unknownPolicy(topics []string, err error) {
	s.log.Warn("may not see whether topics are compacted, going on as if they were not; grant DescribeConfigs on them to check", "act", "start", "topics", topics, "err", err)
}

func compacts(c kadm.ResourceConfig) bool {
	return slices.ContainsFunc(c.Configs, func(c kadm.Config) bool {
		return c.Key == "cleanup.policy" && c.Value != nil && strings.Contains(*c.Value, "compact")
	})
}
