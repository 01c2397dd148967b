package main

import (
	"fmt"

	"highwater/features"
)

type validateCommand struct {
	File string `arg:"" help:"Definitions file." type:"path"`
}

func (c *validateCommand) Help() string {
	return `Prints every mistake as FILE:LINE:COLUMN: what was wrong; what would be right, and exits 2; or a summary, and exits 0.

Example:
  highwater validate examples/ads/definitions.yaml`
}

// Run checks a definitions file.
func (c *validateCommand) Run(s streams) error {
	p, err := features.Load(c.File)
	if err != nil {
		return err
	}
	n := 0
	for _, v := range p.Views {
		n += len(v.Features)
	}
	_, err = fmt.Fprintf(s.out, "%s: project %s, %d sources, %d entities, %d views, %d features, %d services: no mistakes\n",
		c.File, p.Name, len(p.Sources), len(p.Entities), len(p.Views), n, len(p.Services))
	return err
}
