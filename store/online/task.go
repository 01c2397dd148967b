package online

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"highwater/batch"
	"highwater/features"
	"highwater/store/keys"
	"highwater/windows"

	"github.com/redis/go-redis/v9"
)

// The fields of a task key.
const (
	fieldPlanned   = "planned"
	fieldVersion   = "version"
	fieldFrontier  = "frontier"
	fieldWatermark = "watermark"
	fieldLog       = "log"
	fieldOwner     = "owner"
	fieldPrimaries = "primaries"
	fieldSwept     = "swept"
)

// What taskkey.lua answers.
const (
	moveSuperseded = -1
	moveLost       = 0
	moveHeld       = 1
	moveMade       = 2
)

// Read returns the task key, and says in it whether a primary is another one than when all vectors were known to be there: one that has failed over or started anew may have lost vectors, and left the task key,
// which lies on one primary alone, as it was.
func (s *Store) Read(ctx context.Context) (k batch.Key, found bool, err error) {
	act := s.act("read")
	client, err := s.link.connect(ctx)
	if err != nil {
		return batch.Key{}, false, s.link.fail(act, err)
	}
	fields, err := client.HGetAll(ctx, keys.Task(s.o.Project, s.o.Task)).Result()
	if err != nil {
		return batch.Key{}, false, s.link.fail(act, err)
	}
	k, found, err = parseKey(fields)
	if err != nil {
		return batch.Key{}, false, batch.Permanent(fmt.Errorf("%s: Redis at %s: key %q: %w", act, s.link.address(), keys.Task(s.o.Project, s.o.Task), err))
	}
	ids, err := s.ReplicationIDs(ctx) // after the record: whatever fails over in between is a new one
	if err != nil {
		return batch.Key{}, false, err
	}
	if !found {
		if k.Claimed, err = s.rememberedGeneration(ctx, client); err != nil {
			return batch.Key{}, false, s.link.fail(act, err)
		}
	}
	if mine := s.owner(); mine != "" && k.Owner > mine {
		return k, found, batch.Permanent(&batch.SupersededError{Ours: ownerName(mine), Theirs: ownerName(k.Owner)})
	}
	k.Owner = ownerName(k.Owner)
	if id := unknown(fields[fieldPrimaries], ids); found && id != "" {
		k.Lost = fmt.Sprintf("a primary of the store has failed over or started anew (its replication id %s is a new one)", id)
	} else if found {
		k.Lost = s.evictedWhy()
	}
	if !found || k.Lost != "" {
		s.doubt(ids)
	}
	return k, found, nil
}

// unknown returns the first of the replication ids that a record does not know, "" for none.
func unknown(record string, ids []string) string {
	known := strings.Split(record, ",")
	if i := slices.IndexFunc(ids, func(id string) bool { return !slices.Contains(known, id) }); i >= 0 {
		return ids[i]
	}
	return ""
}

// doubt keeps the primaries as they were when vectors were first missed: the republish that will mend it comes later. The record gets these at its end, so that a primary which fails over meanwhile is a new one once more.
func (s *Store) doubt(ids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.doubted == nil {
		s.doubted = ids
	}
}

// doubtAgain returns the primaries as doubt kept them, and keeps these in their place from now on; nil, and nothing is kept, where there was no doubt.
func (s *Store) doubtAgain(ids []string) (before []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if before = s.doubted; before != nil {
		s.doubted = ids
	}
	return before
}

// trust forgets the doubt.
func (s *Store) trust() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.doubted = nil
}

// rememberedGeneration returns the greatest generation that was ever claimed, which lies beside the catalogue: for a task key that was lost. 0 where nothing is remembered.
func (s *Store) rememberedGeneration(ctx context.Context, client redis.UniversalClient) (uint32, error) {
	n, err := client.HGet(ctx, keys.Catalogue(s.o.Project), keys.GenerationField).Uint64()
	if isNil(err) {
		return 0, nil
	}
	return uint32(n), err
}

// Claim makes the caller the task key's owner; see [batch.TaskKey]. It remembers the generation beside the catalogue too.
func (s *Store) Claim(ctx context.Context, c batch.Claim) error {
	ids, err := s.ReplicationIDs(ctx)
	if err != nil {
		return err
	}
	s.setOwner("")
	_, owner, err := s.move(ctx, "claim", taskMove{op: "claim", claim: c.Version, log: c.Log, owner: c.Owner, primaries: ids})
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.log = c.Log
	s.mu.Unlock()
	if c.Owner != "" {
		s.setOwner(owner)
	}
	s.shelf.add(map[string]string{keys.GenerationField: strconv.FormatUint(uint64(c.Version.Generation), 10)})
	return s.restoreCatalogue(ctx)
}

// owner returns what Claim's script made of the owner's name, "" before it and where owners share a plan log.
func (s *Store) owner() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.owned
}

func (s *Store) setOwner(owner string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.owned = owner
}

// ownerName takes the count of claims off an owner.
func ownerName(owner string) string {
	_, name, _ := strings.Cut(owner, " ")
	return name
}

// Planned moves the planned sequence up to v, and makes the record where there is none (writing the catalogue again first: a Redis that lost the one lost the other). A superseded task gets a permanent error.
func (s *Store) Planned(ctx context.Context, v features.Version, log string) error {
	ids, err := s.ReplicationIDs(ctx)
	if err != nil {
		return err
	}
	outcome, _, err := s.move(ctx, "move what is planned in", taskMove{op: "planned", claim: v, log: log, owner: s.owner(), primaries: ids})
	if err != nil || outcome != moveMade {
		return err
	}
	return s.restoreCatalogue(ctx)
}

// Confirmed moves the record from prev to k; see [batch.TaskKey]. A superseded task (see Planned) gets a permanent error.
func (s *Store) Confirmed(ctx context.Context, prev features.Version, k batch.Key) (held bool, err error) {
	ids, err := s.ReplicationIDs(ctx)
	if err != nil {
		return false, err
	}
	outcome, _, err := s.move(ctx, "confirm in", taskMove{op: "confirmed", claim: newest(k.Planned, k.Version), log: k.Log, owner: s.owner(), prev: prev, key: k, primaries: ids})
	switch {
	case err != nil:
		return false, err
	case outcome == moveLost:
		s.doubt(ids)
		return false, nil
	}
	s.trust()
	return true, nil
}

// Restoring marks the record at the start of a republish, and writes the catalogue again; see [batch.TaskKey].
func (s *Store) Restoring(ctx context.Context, k batch.Key) error {
	_, _, err := s.move(ctx, "mark a republish in", taskMove{op: "restoring", claim: newest(k.Planned, k.Version), log: k.Log, owner: s.owner()})
	if err != nil {
		return err
	}
	return s.restoreCatalogue(ctx)
}

// Restore moves the record up to k whatever version it had below it: for the end of a republish. held is false where Restoring's mark is gone, so that the record was lost since,
// and where a primary has failed over since vectors were first missed, so that more of them may have been. A superseded task gets a permanent error.
func (s *Store) Restore(ctx context.Context, k batch.Key) (held bool, err error) {
	now, err := s.ReplicationIDs(ctx)
	if err != nil {
		return false, err
	}
	ids := s.doubtAgain(now)
	if ids != nil && unknown(strings.Join(ids, ","), now) != "" {
		return false, nil
	}
	outcome, _, err := s.move(ctx, "restore", taskMove{op: "restore", claim: newest(k.Planned, k.Version), log: k.Log, owner: s.owner(), key: k, primaries: ids})
	if err != nil || outcome == moveLost {
		return false, err
	}
	s.trust()
	s.republished()
	return true, nil
}

// heartbeat is a heartbeat as it is stored.
type heartbeat struct {
	Address string          `json:"address"`
	Time    int64           `json:"time"` // µs
	Stopped bool            `json:"stopped,omitempty"`
	Status  json.RawMessage `json:"status"`
}

// Beat sets the heartbeat, whatever was there, and looks whether Redis has begun to evict keys. Status must be a JSON document; nil stands for null.
func (s *Store) Beat(ctx context.Context, b batch.Heartbeat) error {
	act := fmt.Sprintf("set the heartbeat of task %d of project %s", s.o.Task, s.o.Project)
	text, err := json.Marshal(heartbeat{Address: b.Address, Time: b.Time, Stopped: b.Stopped, Status: b.Status})
	if err != nil {
		return batch.Permanent(fmt.Errorf("%s: %w", act, err))
	}
	client, err := s.link.connect(ctx)
	if err != nil {
		return s.link.fail(act, err)
	}
	if err := client.Set(ctx, keys.Heartbeat(s.o.Project, s.o.Task), text, 0).Err(); err != nil {
		return s.link.fail(act, err)
	}
	s.look(ctx)
	return nil
}

// Owner returns the heartbeat as it was last set; found is false where there is none.
func (s *Store) Owner(ctx context.Context) (b batch.Heartbeat, found bool, err error) {
	act := fmt.Sprintf("read the heartbeat of task %d of project %s", s.o.Task, s.o.Project)
	client, err := s.link.connect(ctx)
	if err != nil {
		return b, false, s.link.fail(act, err)
	}
	text, err := client.Get(ctx, keys.Heartbeat(s.o.Project, s.o.Task)).Bytes()
	if isNil(err) {
		return b, false, nil
	}
	if err != nil {
		return b, false, s.link.fail(act, err)
	}
	var h heartbeat
	if err := json.Unmarshal(text, &h); err != nil {
		return b, false, batch.Permanent(fmt.Errorf("%s: Redis at %s: %w", act, s.link.address(), err))
	}
	return batch.Heartbeat{Address: h.Address, Time: h.Time, Stopped: h.Stopped, Status: h.Status}, true, nil
}

func (s *Store) act(verb string) string {
	return fmt.Sprintf("%s the task key of task %d of project %s", verb, s.o.Task, s.o.Project)
}

// taskMove is one call of taskkey.lua.
type taskMove struct {
	op    string
	claim features.Version
	log   string
	owner string
	prev  features.Version
	key   batch.Key

	primaries []string // replication ids
}

// move runs taskkey.lua, and loads it first where the server does not have it.
func (s *Store) move(ctx context.Context, verb string, m taskMove) (outcome int64, owner string, err error) {
	act := s.act(verb)
	for _, v := range []features.Version{m.claim, m.prev, m.key.Version} {
		if v.Generation > maxGeneration || v.Sequence > maxSequence {
			return moveLost, "", batch.Permanent(fmt.Errorf("%s: version (%d, %d) has more digits than the format", act, v.Generation, v.Sequence))
		}
	}
	client, err := s.link.connect(ctx)
	if err != nil {
		return moveLost, "", s.link.fail(act, err)
	}
	key := keys.Task(s.o.Project, s.o.Task)
	args := []any{m.op, m.claim.String(), m.log, m.owner, m.prev.String(), m.key.Version.String(), m.key.Frontier, m.key.Watermark, strings.Join(m.primaries, ",")}
	reply, err := client.EvalSha(ctx, taskKeyScript.sha, []string{key}, args...).Slice()
	if saysPrefix(err, "NOSCRIPT") {
		if err = s.link.load(ctx, taskKeyScript); err == nil {
			reply, err = client.EvalSha(ctx, taskKeyScript.sha, []string{key}, args...).Slice()
		}
	}
	if err != nil {
		return moveLost, "", s.link.fail(act, err)
	}
	return s.moved(act, m, reply)
}

// moved reads what taskkey.lua answered.
func (s *Store) moved(act string, m taskMove, reply []any) (outcome int64, owner string, err error) {
	if len(reply) != 4 {
		return moveLost, "", fmt.Errorf("%s: the script answered %d values, and never does", act, len(reply))
	}
	outcome, _ = reply[0].(int64)
	planned, _ := reply[1].(string)
	log, _ := reply[2].(string)
	owner, _ = reply[3].(string)
	if outcome != moveSuperseded {
		return outcome, owner, nil
	}
	theirs, err := features.ParseVersion(planned)
	if err != nil {
		return moveLost, "", batch.Permanent(fmt.Errorf("%s: Redis at %s: %w", act, s.link.address(), err))
	}
	mine := m.owner
	if m.op != "claim" {
		mine = ownerName(mine)
	}
	return moveLost, "", batch.Permanent(fmt.Errorf("%s: Redis at %s: %w", act, s.link.address(), &batch.SupersededError{
		Ours:   fmt.Sprintf("%s (plan log %q, generation %d)", mine, m.log, m.claim.Generation),
		Theirs: fmt.Sprintf("%s (plan log %q, generation %d, planned up to sequence %d)", ownerName(owner), log, theirs.Generation, theirs.Sequence),
	}))
}

func newest(a, b features.Version) features.Version {
	if a.Less(b) {
		return b
	}
	return a
}

// parseKey reads the hash of a task key; found is false for an empty one.
func parseKey(fields map[string]string) (k batch.Key, found bool, err error) {
	if len(fields) == 0 {
		return batch.Key{}, false, nil
	}
	if k.Planned, err = features.ParseVersion(fields[fieldPlanned]); err != nil {
		return batch.Key{}, false, fmt.Errorf("planned: %w", err)
	}
	if k.Version, err = features.ParseVersion(fields[fieldVersion]); err != nil {
		return batch.Key{}, false, err
	}
	if k.Frontier, err = parseTime(fields, fieldFrontier); err != nil {
		return batch.Key{}, false, err
	}
	if k.Watermark, err = parseTime(fields, fieldWatermark); err != nil {
		return batch.Key{}, false, err
	}
	swept, err := strconv.ParseUint(fields[fieldSwept], 10, 32)
	if text := fields[fieldSwept]; text != "" && err != nil {
		return batch.Key{}, false, fmt.Errorf("%s %q is not a generation", fieldSwept, text)
	}
	k.Log, k.Owner, k.Claimed, k.Swept = fields[fieldLog], fields[fieldOwner], k.Planned.Generation, uint32(swept)
	return k, true, nil
}

// parseTime reads a time of a task key; before the first confirmation there is none.
func parseTime(fields map[string]string, field string) (int64, error) {
	text, ok := fields[field]
	if !ok {
		return windows.NoTime, nil
	}
	t, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%s %q is not a number of microseconds", field, text)
	}
	return t, nil
}

// parseMark reads a task key as a reader sees it.
func parseMark(cmd *redis.MapStringStringCmd, task int) (features.TaskMark, error) {
	fields, err := cmd.Result()
	if err != nil {
		return features.TaskMark{}, err
	}
	k, found, err := parseKey(fields)
	if err != nil || !found {
		return features.TaskMark{}, err
	}
	return features.TaskMark{Found: true, Task: task, Version: k.Version, Frontier: k.Frontier, Watermark: k.Watermark, Log: k.Log}, nil
}
