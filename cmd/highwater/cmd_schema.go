package main

import "highwater/features"

type schemaCommand struct{}

func (c *schemaCommand) Help() string {
	return `Editors that read it complete and check definitions as you type.

Example, for editors with the YAML language server:
  highwater schema > definitions.schema.json
and as the first line of the definitions file:
  # yaml-language-server: $schema=definitions.schema.json`
}

// Run prints the JSON Schema of definitions files.
func (c *schemaCommand) Run(s streams) error {
	_, err := s.out.Write(features.JSONSchema())
	return err
}
