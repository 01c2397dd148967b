package main

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
)

type serveCommand struct {
	redisFlags
	Project string `help:"The project whose vectors to serve." required:""`
	Addr    string `help:"Where to listen." default:"127.0.0.1:8080"`
}

func (c *serveCommand) Help() string {
	return `Stateless: run as many as you like. It needs Redis and the project's name, and nothing else; the shapes of the vectors lie beside them.
The password for Redis comes from HIGHWATER_REDIS_PASSWORD.

Example:
  highwater serve --project ads --redis redis:6379 --addr 0.0.0.0:8080`
}

// Run serves until ctx ends.
func (c *serveCommand) Run(ctx context.Context, s streams) error {
	if len(c.Redis) == 0 {
		return usagef("--redis is required: where the vectors are")
	}
	web, err := newWeb(c.Addr, c.redisFlags, c.Project, prometheus.NewRegistry(), s.log)
	if err != nil {
		return err
	}
	defer web.Close()
	s.log.Info("serving", "project", c.Project, "addr", web.address())
	return web.Run(ctx)
}
