package batch

import "highwater/features"

// binding is a project's definitions as the driver uses them: what a plan is executed under. A plan that was pending when the definitions changed keeps the ones that made it.
type binding struct {
	project *features.Project
	sources []boundSource // as Project.Sources
}

type boundSource struct {
	*features.Source
	decoder Decoder
	views   []int // indexes into Project.Views
}

// partition is one of a task's partitions, with what its source says of it; all lengths in µs.
type partition struct {
	Partition
	source    int // index into binding.sources
	lateness  int64
	maxFuture int64
	idleAfter int64
	absent    bool // from the plan in hand: the partition came after it, and takes no part in it
}

func newBinding(p *features.Project, decoder func(*features.Source) Decoder) *binding {
	b := &binding{project: p}
	for _, s := range p.Sources {
		bs := boundSource{Source: s, decoder: decoder(s)}
		for i, v := range p.Views {
			if v.Source == s {
				bs.views = append(bs.views, i)
			}
		}
		b.sources = append(b.sources, bs)
	}
	return b
}

// partitions resolves a task's partitions under the binding. One whose source the binding does not know has source −1.
func (b *binding) partitions(ps []Partition) []partition {
	out := make([]partition, len(ps))
	for i, p := range ps {
		out[i] = partition{Partition: p, source: -1}
		for j, s := range b.sources {
			if s.Name == p.Source {
				out[i].source = j
				out[i].lateness, out[i].maxFuture, out[i].idleAfter = s.MaxLateness.Microseconds(), s.MaxFuture.Microseconds(), s.IdleAfter.Microseconds()
			}
		}
	}
	return out
}
