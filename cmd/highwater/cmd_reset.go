package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/term"

	"highwater/batch"
	"highwater/features"
	"highwater/store/state"
	"highwater/windows"
)

type resetCommand struct {
	DataDir     string `help:"Data directory of the task." type:"path" required:""`
	From        string `help:"Where to go on: here (the state as it is), or with an emptied state: earliest, latest, or a time (RFC 3339)." required:"" placeholder:"PLACE" deployment:"-"`
	Definitions string `help:"Definitions file; needed only where no worker runs." type:"path"`
	Yes         bool   `help:"Do it without asking." deployment:"-"`
}

func (c *resetCommand) Help() string {
	return `Begins a new generation: every vector that the state knows is published again under it, readers stop seeing what older generations wrote, and what the state does not know is swept away.
From "here" the state stays as it is; that is the way out of a divergence, or of a log that was cut off. From any other place the state is emptied first, and features are computed anew from the records there.
A running worker does it at once; where none runs, the next one does it when it starts.

Examples:
  highwater reset --data-dir /var/lib/highwater --from here
  highwater reset --data-dir /var/lib/highwater --from 2026-11-01T00:00:00Z --definitions ads.yaml`
}

// standing is where a task stands before a reset.
type standing struct {
	Project    string           `json:"project"`
	Generation uint32           `json:"generation"`
	Sequence   uint64           `json:"sequence"`
	Frontier   string           `json:"frontier"` // RFC 3339; "" for none
	Entities   map[string]int64 `json:"entities"` // by view
}

func standingOf(store *state.Store) standing {
	p, _ := store.Position()
	st := standing{Project: store.Project().Name, Generation: max(1, p.Version.Generation), Sequence: p.Version.Sequence, Entities: map[string]int64{}}
	if p.Version.Generation > 0 && p.Frontier != windows.NoTime {
		st.Frontier = time.UnixMicro(p.Frontier).UTC().Format(time.RFC3339)
	}
	for i, v := range store.Project().Views {
		st.Entities[v.Name] = store.Entities(i)
	}
	return st
}

// parseFrom reads --from.
func parseFrom(from string) (batch.Reset, error) {
	switch place := batch.ResetFrom(from); place {
	case batch.FromHere, batch.FromEarliest, batch.FromLatest:
		return batch.Reset{From: place}, nil
	}
	at, err := time.Parse(time.RFC3339, from)
	if err != nil {
		return batch.Reset{}, usagef("--from %s: want here, earliest, latest, or a time like 2026-11-01T00:00:00Z", from)
	}
	return batch.Reset{From: batch.FromTime, At: at.UnixMicro()}, nil
}

// Run says what a reset does, asks, and sees to it.
func (c *resetCommand) Run(ctx context.Context, s streams) error {
	reset, err := parseFrom(c.From)
	if err != nil {
		return err
	}
	var st standing
	running, err := askWorker(ctx, c.DataDir, http.MethodGet, "/reset", nil, &st)
	if err != nil {
		return err
	}
	if running {
		if err := c.confirm(s, st, reset); err != nil {
			return err
		}
		if _, err := askWorker(ctx, c.DataDir, http.MethodPost, "/reset", url.Values{"from": {c.From}}, &st); err != nil {
			return err
		}
		fmt.Fprintln(s.out, "the running worker begins the new generation now; GET /v1/status shows how far its republish has come")
		return nil
	}
	return c.offline(ctx, s, reset)
}

// offline leaves the reset in the directory, for the next worker.
func (c *resetCommand) offline(ctx context.Context, s streams, reset batch.Reset) (err error) {
	if c.Definitions == "" {
		return usagef("no worker runs on %s: give the --definitions that the next one will run, to open the directory", c.DataDir)
	}
	p, err := features.Load(c.Definitions)
	if err != nil {
		return err
	}
	dir := filepath.Join(c.DataDir, "state")
	if _, err := os.Stat(dir); err != nil {
		return fmt.Errorf("%s holds no state to reset: %w", c.DataDir, err)
	}
	options := state.Options{Log: s.log, Owner: "highwater reset"}
	if options.ForReset = reset.From != batch.FromHere; !options.ForReset {
		options.NewMeaning = true // the state stays: what the worker would refuse is refused now
	}
	store, err := state.Open(dir, p, options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := c.confirm(s, standingOf(store), reset); err != nil {
		return err
	}
	if err := store.AskForReset(ctx, reset); err != nil {
		return err
	}
	fmt.Fprintln(s.out, "the next worker that starts on this directory begins the new generation")
	return nil
}

// confirm says what will be done, and asks whether it is meant.
func (c *resetCommand) confirm(s streams, st standing, reset batch.Reset) error {
	fmt.Fprint(s.out, describeReset(st, reset))
	if c.Yes {
		return nil
	}
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return usagef("nothing was done: say --yes to do it")
	}
	fmt.Fprint(s.out, "go on? [y/N] ")
	answer, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil || !strings.EqualFold(strings.TrimSpace(answer), "y") {
		return errors.New("nothing was done")
	}
	return nil
}

// describeReset is what people read before they say yes.
func describeReset(st standing, reset batch.Reset) string {
	var b strings.Builder
	var entities int64
	for _, n := range st.Entities {
		entities += n
	}
	fmt.Fprintf(&b, "project %s stands at generation %d, sequence %d", st.Project, st.Generation, st.Sequence)
	if st.Frontier != "" {
		fmt.Fprintf(&b, ", frontier %s", st.Frontier)
	}
	fmt.Fprintf(&b, ", with %d entities in %d feature views.\n", entities, len(st.Entities))
	fmt.Fprintf(&b, "a reset begins a generation above it (%d, or higher where the store has seen one):\n", st.Generation+1)
	switch reset.From {
	case batch.FromHere:
		fmt.Fprintf(&b, "  - the state stays, and the worker goes on where it stands; plans that were not executed yet are void\n  - %d vectors are published again under the new generation\n", entities)
	case batch.FromEarliest:
		fmt.Fprintf(&b, "  - the state of all %d entities is forgotten\n  - every record that the topics still hold is read again; what retention has taken is not counted any more\n", entities)
	case batch.FromLatest:
		fmt.Fprintf(&b, "  - the state of all %d entities is forgotten\n  - only records that arrive from now on are read: windows fill up anew\n", entities)
	case batch.FromTime:
		fmt.Fprintf(&b, "  - the state of all %d entities is forgotten\n  - records are read from %s on, by their own timestamps; windows that reach back further fill up anew\n", entities, time.UnixMicro(reset.At).UTC().Format(time.RFC3339))
	}
	b.WriteString("  - readers no longer see vectors of older generations, which are swept away\n  - this cannot be undone, but for restoring the directory from a copy, which begins another generation\n")
	return b.String()
}
