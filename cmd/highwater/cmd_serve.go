package main

import (
	"context"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
)

type serveCommand struct {
	redisFlags
	printFlags
	Project string `help:"The project whose vectors to serve." required:""`
	Addr    string `help:"Where to listen." default:"127.0.0.1:8080"`
	JSON    bool   `name:"json" help:"With --print-config: print JSON." deployment:"-"`
}

func (c *serveCommand) Help() string {
	return `Stateless: run as many as you like. It needs Redis and the project's name, and nothing else; the shapes of the vectors lie beside them.
Passwords come from the environment or from files, see docs/settings.md; --print-config shows every setting and where it came from. SIGHUP has it read its log level, and its secrets, again.

Example:
  highwater serve --project ads --redis redis:6379 --addr 0.0.0.0:8080`
}

// Run serves until ctx ends.
func (c *serveCommand) Run(ctx context.Context, s streams) error {
	if len(c.Redis) == 0 {
		return usagef("--redis is required: where the vectors are")
	}
	log := s.log.With("project", c.Project)
	registry := prometheus.NewRegistry()
	tellInfo(registry, c.Project, "")
	web, err := newWeb(c.Addr, c.redisFlags, c.Project, registry, nil, log)
	if err != nil {
		return err
	}
	defer web.Close()
	settings := newReloader(s.settings, log)
	log.Info("serving", "act", "start", "addr", web.address(), "build", buildVersion())
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return settings.onHangup(ctx) })
	g.Go(func() error { return web.Run(ctx) })
	err = g.Wait()
	log.Info("stopped serving", "act", "stop")
	return err
}
