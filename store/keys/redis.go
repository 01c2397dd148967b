package keys

import (
	"fmt"
	"strings"

	"github.com/cespare/xxhash/v2"
)

// The keys of a project in Redis (docs/format/online.md):
//
//	<project>:{<view>:<bucket>}:<entity>   one vector
//	<project>:{task:<n>}                   task n's key
//	<project>:{task:<n>}:heartbeat         its heartbeat
//	<project>:catalogue                    the catalogue and all schemas
//
// Redis Cluster hashes what stands between the braces, so the vectors of one view and bucket share a slot, and one script call can carry hundreds of them.
// Project and view names are [a-z][a-z0-9_]*, so the first brace and the first "}:" are always ours; the entity runs to the end, whatever bytes it holds.
const (
	taskTag      = "task"
	heartbeatEnd = ":heartbeat"
)

// Buckets is into how many buckets the entities of a view are parted.
const Buckets = 256

const hexDigits = "0123456789abcdef"

// Bucket returns an entity's bucket, 0 to 255: the low byte of its text's xxHash64.
func Bucket(entity string) int { return int(xxhash.Sum64String(entity) % Buckets) }

// AppendVector appends the key of a vector to dst. entity is the canonical text (features.AppendEntity).
func AppendVector(dst []byte, project, view, entity string) []byte {
	bucket := Bucket(entity)
	dst = append(dst, project...)
	dst = append(dst, ':', '{')
	dst = append(dst, view...)
	dst = append(dst, ':', hexDigits[bucket>>4], hexDigits[bucket&15], '}', ':')
	return append(dst, entity...)
}

// ParseVector reads what [AppendVector] wrote; ok is false for every other key. A task's heartbeat looks like the vector of a view named task, in the wrong bucket; but in bucket 22 it is
// the right one, so no vector of such a view may belong to an entity named heartbeat.
func ParseVector(key string) (project, view, entity string, ok bool) {
	project, rest, ok1 := strings.Cut(key, ":{")
	tag, entity, ok2 := strings.Cut(rest, "}:")
	view, bucket, ok3 := strings.Cut(tag, ":")
	if !ok1 || !ok2 || !ok3 || project == "" || view == "" || entity == "" {
		return "", "", "", false
	}
	if view == taskTag && entity == heartbeatEnd[1:] {
		return "", "", "", false
	}
	if b := Bucket(entity); bucket != string([]byte{hexDigits[b>>4], hexDigits[b&15]}) {
		return "", "", "", false
	}
	return project, view, entity, true
}

// Task returns the key of a task's record.
func Task(project string, task int) string {
	return fmt.Sprintf("%s:{%s:%d}", project, taskTag, task)
}

// Heartbeat returns the key of a task's heartbeat; it shares the slot of [Task].
func Heartbeat(project string, task int) string { return Task(project, task) + heartbeatEnd }

// Catalogue returns the key of the hash that holds a project's catalogue and the schemas of its vectors.
func Catalogue(project string) string { return project + ":catalogue" }

// CatalogueField is the field of the hash at [Catalogue] that holds the catalogue itself; the others hold a shape of vector each, see [SchemaField].
const CatalogueField = "catalogue"

// GenerationField is the field of the hash at [Catalogue] that holds the greatest generation that was claimed, in decimal: what is left to go by where the task key is lost.
const GenerationField = "generation"

// SchemaField returns the field of one shape of a view's vectors.
func SchemaField(view, id string) string { return "schema:" + view + ":" + id }

// VectorPattern returns a SCAN pattern that all of a project's vectors match; so do its tasks' keys, which [ParseVector] tells apart.
func VectorPattern(project string) string { return project + ":{*" }
