package kafkatest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// CutLog cuts a partition's log off behind its batches that lie wholly below an offset, as an unclean election does, or a disk restored from a backup. The broker must be stopped, and the log have one segment, as a short one has.
func (b *Broker) CutLog(topic string, partition int, below int64) error {
	if b.process != nil {
		return errors.New("cut a log: the broker runs")
	}
	dir := filepath.Join(b.dir, "data", fmt.Sprintf("%s-%d", topic, partition))
	file := filepath.Join(dir, fmt.Sprintf("%020d.log", 0))
	log, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	keep := 0
	for keep+batchHeader <= len(log) {
		first, length := int64(binary.BigEndian.Uint64(log[keep:])), int(binary.BigEndian.Uint32(log[keep+batchLength:]))
		next := first + int64(binary.BigEndian.Uint32(log[keep+batchLastOffset:])) + 1
		if next > below {
			break
		}
		keep += batchLength + 4 + length
	}
	if err := os.Truncate(file, int64(keep)); err != nil {
		return err
	}
	// What the broker knows of the log beside it would contradict it. It makes all of that anew.
	stale := []string{filepath.Join(b.dir, "data", ".kafka_cleanshutdown")}
	for _, pattern := range []string{"*.index", "*.timeindex", "*.txnindex", "*.snapshot"} {
		found, err := filepath.Glob(filepath.Join(dir, pattern))
		if err != nil {
			return err
		}
		stale = append(stale, found...)
	}
	for _, f := range stale {
		if err := os.Remove(f); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Where a batch's header has what CutLog reads.
const (
	batchLength     = 8  // how many bytes follow
	batchLastOffset = 23 // the last record's offset less the first one's
	batchHeader     = 61
)
