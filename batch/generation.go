package batch

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"highwater/features"
	"highwater/windows"
)

// Reset asks for a new generation by hand, from a stated place.
type Reset struct {
	From ResetFrom
	At   int64 // µs, for FromTime: where records whose own timestamp is at or after it begin
}

// ResetFrom is where a reset goes on.
type ResetFrom string

// The places. From everywhere but here, the state begins empty.
const (
	FromHere     ResetFrom = "here"     // the state as it is, where it stands
	FromEarliest ResetFrom = "earliest" // the logs' starts
	FromLatest   ResetFrom = "latest"   // the logs' ends
	FromTime     ResetFrom = "time"
)

// ownerLives is how long after its last heartbeat an owner counts as alive: a few missed beats do not make it dead.
const ownerLives = time.Minute

// claim finds out whose the task is and makes it ours: under the directory's generation, or under a new one where the directory goes on from another cut than the vectors in the store were written from (design.md §5).
func (t *Task) claim(ctx context.Context, found bool) error {
	key, exists, err := t.readKey(ctx)
	if err != nil {
		return err
	}
	if err := t.findPending(ctx); err != nil {
		return err
	}
	why, err := t.anotherCut(ctx, key, exists, found)
	if err != nil {
		return err
	}
	if why != "" {
		if err := t.raise(ctx, key, why); err != nil {
			return err
		}
	}
	if err := t.own(ctx); err != nil {
		return err
	}
	meanwhile, err := t.plannedMeanwhile(ctx)
	if err != nil {
		return err
	}
	why = cmp.Or(meanwhile, why)
	t.sweeping = t.position.Version.Generation > max(key.Swept, 1)
	switch stood := t.position.Published(); {
	case stood == (features.Version{}): // nothing was ever published
	case !exists:
		t.withhold("the task key is missing")
	case key.Lost != "":
		t.withhold(key.Lost)
	case why != "":
		t.withhold(fmt.Sprintf("generation %d begins", t.position.Version.Generation))
	case key.Version.Less(stood):
		t.withhold(fmt.Sprintf("the task key stands at %s, this directory at %s", key.Version, stood))
	default:
		t.setConfirmed(stood)
		t.endRestore(0)
	}
	return nil
}

// own makes the task ours: from now on the owner before is told so at its next call about the task key.
func (t *Task) own(ctx context.Context) error {
	claim := Claim{Version: t.position.Version, Log: t.o.Plans.ID(), Owner: t.o.Owner}
	if err := t.retryKey(ctx)(func() error { return t.o.Key.Claim(ctx, claim) }); err != nil {
		return fmt.Errorf("claim the task: %w", err)
	}
	t.ours = true
	return nil
}

// plannedMeanwhile looks once more, now that nobody else can plan: an owner of a copy of this directory may have gone on between the first look and the claim. Then this directory is an older copy, and begins a new generation after all.
// Where that owner shares the plan log, what it has planned is found there.
func (t *Task) plannedMeanwhile(ctx context.Context) (why string, err error) {
	key, exists, err := t.readKey(ctx)
	if err != nil || !exists || !t.recovering.Less(key.Planned) {
		return "", err
	}
	if err := t.findPending(ctx); err != nil || !t.recovering.Less(key.Planned) {
		return "", err
	}
	why = fmt.Sprintf("another owner went on while this one started: this directory knows plans up to %s, and %s was planned already", t.recovering, key.Planned)
	if err := t.raise(ctx, key, why); err != nil {
		return "", err
	}
	return why, t.own(ctx)
}

func (t *Task) readKey(ctx context.Context) (key Key, exists bool, err error) {
	err = t.retryKey(ctx)(func() error {
		key, exists, err = t.o.Key.Read(ctx)
		return err
	})
	if err != nil {
		return key, exists, fmt.Errorf("read the task key: %w", err)
	}
	return key, exists, nil
}

// anotherCut says why the task must go on under a new generation, "" where it need not; an error where it must not go on at all.
func (t *Task) anotherCut(ctx context.Context, key Key, exists, found bool) (why string, err error) {
	own := t.position.Version.Generation
	switch {
	case t.o.Reset != nil:
		return fmt.Sprintf("reset from %s", t.o.Reset.From), nil
	case exists && own < key.Planned.Generation, exists && own == key.Planned.Generation && key.Log != t.o.Plans.ID():
		return t.takeOver(ctx, key, found)
	case !exists && own <= key.Claimed && (!found || own < key.Claimed):
		return fmt.Sprintf("generation %d was claimed once, and neither this directory nor the store knows by whom", key.Claimed), nil
	case exists && own == key.Planned.Generation && t.recovering.Less(key.Planned):
		return fmt.Sprintf("the data directory was restored from an older copy: it knows plans up to %s, and %s was planned already", t.recovering, key.Planned), nil
	}
	if topics := t.recreated(); len(topics) > 0 {
		return fmt.Sprintf("topics were deleted and made again: %v", topics), nil
	}
	return t.changedMeaning()
}

// takeOver decides on a directory that is not the one that the store's vectors were written from: an empty one, another one, or an old copy of it.
// Where its owner is alive, or this directory has a history of its own, it must be told to.
func (t *Task) takeOver(ctx context.Context, key Key, found bool) (why string, err error) {
	theirs := fmt.Sprintf("%s (plan log %s, generation %d, planned up to sequence %d)", cmp.Or(key.Owner, "an unknown owner"), key.Log, key.Planned.Generation, key.Planned.Sequence)
	ours := fmt.Sprintf("%s (an empty data directory)", t.o.Owner)
	if found {
		ours = fmt.Sprintf("%s (plan log %s, generation %d, at sequence %d)", t.o.Owner, t.o.Plans.ID(), t.position.Version.Generation, t.position.Version.Sequence)
	}
	if t.o.TakeOver {
		return "taken over from " + theirs, nil
	}
	seen, err := t.ownerSeen(ctx)
	if err != nil {
		return "", err
	}
	switch {
	case seen != "":
		theirs += ", which was alive " + seen
	case !found:
		return "the data directory is empty, and the store holds what was written from another: " + theirs, nil
	}
	return "", Permanent(&SupersededError{Ours: ours, Theirs: theirs})
}

// ownerSeen says when the task's owner was alive, "" where that is longer ago than an owner lives without a heartbeat, or it has said that it stops. Its heartbeat bears its own clock, and that may be far from ours:
// one that seems old, or of a time to come, counts as alive if it is followed by another.
func (t *Task) ownerSeen(ctx context.Context) (when string, err error) {
	first, beats, err := t.heartbeat(ctx)
	if err != nil || !beats || first.Stopped {
		return "", err
	}
	age := t.o.Now().Sub(time.UnixMicro(first.Time))
	if age >= 0 && age < ownerLives {
		return age.Round(time.Second).String() + " ago", nil
	}
	watch := 3 * heartbeatEvery
	if age < 0 {
		watch = ownerLives // it may have been written just now
	}
	t.o.Log.Info("looking whether the task's owner is alive: its last heartbeat bears another time than ours", at("start", t.position.Version), "heartbeat", time.UnixMicro(first.Time).UTC(), "for", watch)
	for until := time.Now().Add(watch); time.Now().Before(until); {
		if err := pause(ctx, heartbeatEvery); err != nil {
			return "", err
		}
		next, beats, err := t.heartbeat(ctx)
		switch {
		case err != nil || !beats || next.Stopped:
			return "", err
		case next.Time != first.Time:
			return fmt.Sprintf("just now, by a clock that is %s from ours", age.Abs().Round(time.Second)), nil
		}
	}
	return "", nil
}

// heartbeat reads the owner's last heartbeat.
func (t *Task) heartbeat(ctx context.Context) (b Heartbeat, beats bool, err error) {
	err = t.retryKey(ctx)(func() error {
		b, beats, err = t.o.Key.Owner(ctx)
		return err
	})
	if err != nil {
		return b, beats, fmt.Errorf("read the owner's heartbeat: %w", err)
	}
	return b, beats, nil
}

// recreated returns the topics that are no longer the logs that the position is of.
func (t *Task) recreated() []string {
	var topics []string
	for i, id := range t.o.Source.TopicIDs() {
		p := t.position.Partitions[i]
		if p.TopicID != "" && id != "" && id != p.TopicID && !slices.Contains(topics, p.Partition.Topic) {
			topics = append(topics, p.Partition.Topic)
		}
	}
	return topics
}

// changedMeaning says which definitions mean something else than those that the state was made under. Plans that were made under those are executed first: then the task is started again, and the generation rises.
func (t *Task) changedMeaning() (why string, err error) {
	made := t.position.Definitions
	if t.position.Version.Sequence == 0 && t.position.Opening.Definitions != "" {
		made = t.position.Opening.Definitions
	}
	if n := len(t.pending); n > 0 {
		made = t.pending[n-1].Definitions
	}
	if made == "" || made == t.o.Project.Hash {
		return "", nil
	}
	old, err := t.o.Definitions(made)
	if err != nil {
		why = fmt.Sprintf("the definitions before these (%s) cannot be compared with them: %v", made, err)
	} else {
		for _, change := range features.CompatibleWith(old, t.o.Project) {
			if c, ok := errors.AsType[*features.Change](change); ok && c.Kind == features.ChangedMeaning {
				why = "the definitions changed their meaning: " + c.What
				break
			}
		}
	}
	if why != "" && len(t.pending) > 0 {
		t.afterPending = &ChangedError{Why: "the plans made under the definitions before these are executed; " + why}
		return "", nil
	}
	return why, nil
}

// raise begins a new generation in the directory: 1 + the greatest ever claimed. The claim in the store follows; a crash in between is mended by the next start, which claims what the directory says.
func (t *Task) raise(ctx context.Context, key Key, why string) error {
	p, empty, err := t.opening(ctx)
	if err != nil {
		return err
	}
	old := t.position.Version
	p.Version = features.Version{Generation: 1 + max(old.Generation, key.Planned.Generation, key.Version.Generation, key.Claimed)}
	p.Opening = Opening{Why: why, Frontier: p.Frontier, Watermark: p.Watermark, Until: p.Clock + t.o.TombstoneTTL.Microseconds(), Definitions: t.o.Project.Hash}
	if !empty {
		p.Opening.Parent = t.position.Published()
	}
	if err := t.o.State.Raise(ctx, p, empty); err != nil {
		return fmt.Errorf("begin generation %d: %w", p.Version.Generation, err)
	}
	t.o.Log.Warn("a new generation begins; all vectors are published again under it", at("generation", p.Version), "was", old.Generation, "why", why, "state_emptied", empty)
	t.position, t.pending, t.recovering = p, nil, p.Version
	t.setPosition(p)
	return nil
}

// opening returns the position that a new generation begins at, and whether its state begins empty.
func (t *Task) opening(ctx context.Context) (p Position, empty bool, err error) {
	p = t.position
	p.Partitions = slices.Clone(p.Partitions)
	ids := t.o.Source.TopicIDs()
	for i := range p.Partitions {
		part := &p.Partitions[i]
		if part.TopicID != "" && ids[i] != "" && part.TopicID != ids[i] {
			part.Next, part.EventTime, part.LeaderEpoch = Beginning, windows.NoTime, -1
		}
		part.TopicID = cmp.Or(ids[i], part.TopicID)
	}
	if t.o.Reset == nil || t.o.Reset.From == FromHere {
		return p, false, t.cutBack(ctx, &p)
	}
	next, err := t.resetPlaces(ctx)
	if err != nil {
		return p, false, fmt.Errorf("reset: %w", err)
	}
	p.Frontier, p.Watermark, p.Counters, p.Definitions = windows.NoTime, windows.NoTime, Counters{}, ""
	for i := range p.Partitions {
		p.Partitions[i].Next, p.Partitions[i].EventTime, p.Partitions[i].LeaderEpoch = next[i], windows.NoTime, -1
	}
	return p, true, nil
}

// cutBack lets a reset go on at the ends of logs that were cut off below the position, and at the starts of those that lost theirs.
func (t *Task) cutBack(ctx context.Context, p *Position) error {
	if t.o.Reset == nil {
		return nil
	}
	ends, err := t.ends(ctx)
	if err != nil {
		return err
	}
	for i := range p.Partitions {
		part := &p.Partitions[i]
		if part.Next > ends[i].LogEnd {
			t.o.Log.Warn("the log was cut off; going on at its end", at("reset", t.position.Version), "topic", part.Partition.Topic, "partition", part.Partition.Number, "was_at", part.Next, "end", ends[i].LogEnd)
			part.Next = ends[i].LogEnd
		}
		part.LeaderEpoch = -1
	}
	return nil
}

// resetPlaces returns where each partition goes on.
func (t *Task) resetPlaces(ctx context.Context) ([]int64, error) {
	next := make([]int64, len(t.position.Partitions))
	switch t.o.Reset.From {
	case FromEarliest:
		for i := range next {
			next[i] = Beginning
		}
		return next, nil
	case FromLatest:
		ends, err := t.ends(ctx)
		for i := range ends {
			next[i] = ends[i].LogEnd
		}
		return next, err
	case FromTime:
		err := retry(ctx, defaultBackoff, func() (err error) {
			next, err = t.o.Source.OffsetsAt(ctx, t.o.Reset.At)
			return err
		}, t.stalled("kafka"))
		if err == nil {
			t.flowing("kafka")
		}
		return next, err
	}
	return nil, Permanent(fmt.Errorf("there is no place %q to begin from: want here, earliest, latest or a time", t.o.Reset.From))
}

// ends asks for the logs' ends until the brokers answer.
func (t *Task) ends(ctx context.Context) (ends []End, err error) {
	err = retry(ctx, defaultBackoff, func() (err error) {
		ends, err = t.o.Source.Ends(ctx)
		return err
	}, t.stalled("kafka"))
	if err == nil {
		t.flowing("kafka")
	}
	return ends, err
}

// sweep turns vectors of lower generations, which readers no longer see, into tombstones, in the background, once all that the state knows has been published under this one.
func (t *Task) sweep(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return nil
	case <-t.restored:
	}
	p, _, _ := t.Position()
	opening := features.Version{Generation: p.Version.Generation}
	frontier := p.Opening.Frontier
	if frontier == windows.NoTime {
		frontier = 0
	}
	start, keys := time.Now(), int64(0)
	pace := func(n int) error {
		keys += int64(n)
		return pause(ctx, time.Until(start.Add(time.Duration(keys)*time.Second/time.Duration(t.rate.Load()))))
	}
	var swept int64
	err := t.retryKey(ctx)(func() error {
		clock, _, _ := t.Position()
		n, err := t.o.Key.Sweep(ctx, opening, clock.Clock, frontier, pace)
		swept += n
		return err
	})
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return fmt.Errorf("sweep the vectors of lower generations: %w", err)
	}
	t.o.Metrics.swept.Add(float64(swept))
	t.o.Log.Info("vectors of lower generations are swept away", at("sweep", opening), "vectors", swept)
	return nil
}
