package main

import (
	"context"
	"fmt"
	"net/http"
)

type republishCommand struct {
	DataDir string `help:"Data directory of the running worker (or dev)." type:"path" required:""`
}

// republished is the answer.
type republished struct {
	Vectors int64 `json:"vectors"`
}

func (c *republishCommand) Help() string {
	return `Upserts exactly what was last published of every vector, under the version it had: what is there already costs nothing, what was lost comes back.
It happens by itself when the task key is missing or behind, when a primary has failed over or was restarted, and when Redis has evicted keys while the worker ran. This is for what leaves no such trace: keys that were evicted while no worker ran,
that somebody has deleted, or that a failover took where Redis does not tell its replication id. The worker that owns the directory does it, between two batches.

Example:
  highwater republish --data-dir /var/lib/highwater`
}

// Run asks the running worker to republish.
func (c *republishCommand) Run(ctx context.Context, s streams) error {
	var r republished
	running, err := askWorker(ctx, c.DataDir, http.MethodPost, "/republish", nil, &r)
	if err != nil {
		return err
	}
	if !running {
		return fmt.Errorf("no worker is running on %s: start it. Where the store was emptied or has failed over it republishes by itself; else, as after evictions, run this again then", c.DataDir)
	}
	_, err = fmt.Fprintf(s.out, "republished %d vectors\n", r.Vectors)
	return err
}
