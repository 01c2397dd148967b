// Package features holds the words that every part of Highwater speaks, and the definitions file in which a project is written.
//
// The words: [Version], [Vector], [Entity] and its canonical text ([AppendEntity]), [Schema], [Catalogue].
//
// The definitions: [Load] and [Parse] turn a YAML file into a [Project], checked and compiled: every name is resolved, every expression typed and turned into a closure,
// every view's windows into a machine. They go in three steps, each in files of its own:
//
//  1. yaml.go reads the text as YAML, and refuses what a definitions file has no use for: tags, anchors, aliases, merge keys, second documents.
//  2. keys.go is the table of keys, made of the shapes in shape.go. It decodes the tree into the structs of text.go, which hold what the file says and where it says it.
//  3. resolve.go and its neighbours give names their meaning, and expression.go theirs to expressions.
//
// None of the steps stops at the first mistake: what can be read is read, what depends on something broken is passed over in silence, and [Mistakes] has all the rest in the order of the file.
//
// [JSONSchema] and [ReferencePage] are printed from the same tables of keys and aggregates, so that they cannot tell another story than the decoder does.
package features
