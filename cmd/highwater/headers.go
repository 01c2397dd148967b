package main

import (
	"context"

	"highwater/features"
)

// headerTopics says of which topics the records must come with their headers: those of sources that have fields in them, by p, or by the definitions of a plan that is still to be executed under its own.
func (e *engine) headerTopics(ctx context.Context, p *features.Project) (needed func(topic string) bool, err error) {
	topics := map[string]bool{}
	note := func(p *features.Project) {
		for _, s := range p.Sources {
			if s.NeedsHeaders() {
				topics[s.Topic] = true
			}
		}
	}
	note(p)
	position, _ := e.store.Position()
	pending, err := e.store.Plans().After(ctx, position.Version)
	if err != nil {
		return nil, err
	}
	for _, plan := range pending {
		if plan.Definitions == p.Hash {
			continue
		}
		old, err := e.definitions(plan.Definitions)
		if err != nil {
			return nil, err
		}
		note(old)
	}
	return func(topic string) bool { return topics[topic] }, nil
}
