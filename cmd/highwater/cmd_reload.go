package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

type reloadCommand struct {
	DataDir string `help:"Data directory of the running worker (or dev)." type:"path" required:""`
	JSON    bool   `name:"json" help:"Print JSON." deployment:"-"`
}

func (c *reloadCommand) Help() string {
	return `Has the worker that owns the directory read its deployment file again, and the files of its secrets, as SIGHUP does. Flags and environment stay what they were at its start, and go before the file.
It says what was taken up and what needs a restart. On a mistake in the file the worker keeps what it has, and says so. serve has no directory: send it SIGHUP.

Example:
  highwater reload --data-dir /var/lib/highwater`
}

// Run asks the running worker to reload.
func (c *reloadCommand) Run(ctx context.Context, s streams) error {
	var r reloaded
	running, err := askWorker(ctx, c.DataDir, http.MethodPost, "/reload", nil, &r)
	if err != nil {
		return err
	}
	if !running {
		return fmt.Errorf("no worker is running on %s: it reads its settings when it starts", c.DataDir)
	}
	if c.JSON {
		return json.NewEncoder(s.out).Encode(r)
	}
	for _, one := range r.Changed {
		fmt.Fprintf(s.out, "taken up: %s\n", one)
	}
	for _, one := range r.Restart {
		fmt.Fprintf(s.out, "needs a restart: %s\n", one)
	}
	if len(r.Changed)+len(r.Restart) == 0 {
		fmt.Fprintln(s.out, "nothing has changed")
	}
	return nil
}
