package main

import (
	"context"
	"fmt"
	"text/tabwriter"

	"highwater/api"
	"highwater/serve"
	"highwater/store/online"
)

type getCommand struct {
	redisFlags
	Project string   `help:"The project." required:""`
	JSON    bool     `name:"json" help:"Print the vector as GET /v1/features does." deployment:"-"`
	View    string   `arg:"" help:"Feature view."`
	Keys    []string `arg:"" help:"The entity: a value for each join key, in declared order."`
}

func (c *getCommand) Help() string {
	return `Example:
  highwater get --project ads --redis redis:6379 segment_activity 9e45ef67`
}

// Run prints one entity's features.
func (c *getCommand) Run(ctx context.Context, s streams) error {
	if len(c.Redis) == 0 {
		return usagef("--redis is required: where the vectors are")
	}
	reader, err := online.NewReader(c.redisFlags.options(c.Project, 0, s.log))
	if err != nil {
		return err
	}
	defer reader.Close()
	row, err := serve.New(serve.Options{Store: reader, Project: c.Project}).Lookup(ctx, c.View, c.Keys)
	if err != nil {
		return err
	}
	if c.JSON {
		_, err = fmt.Fprintf(s.out, "%s\n", api.AppendVector(nil, &row))
		return err
	}
	return printRow(s, &row)
}

// printRow prints a vector as a table.
func printRow(s streams, row *serve.Row) error {
	if row.Status == serve.NotFound {
		return fmt.Errorf("%s has no vector of that entity", row.View)
	}
	w := tabwriter.NewWriter(s.out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "status\t%s\n", row.Status)
	fmt.Fprintf(w, "version\tgeneration %d, sequence %d\n", row.Version.Generation, row.Version.Sequence)
	fmt.Fprintf(w, "as of\t%s\n", api.AppendTime(nil, row.AsOf))
	fmt.Fprintf(w, "newest event\t%s\n\n", api.AppendTime(nil, row.EventTime))
	for i, f := range row.Features {
		fmt.Fprintf(w, "%s\t%s\n", f.Name, api.AppendValue(nil, row.Values[i]))
	}
	return w.Flush()
}
