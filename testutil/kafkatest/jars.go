package kafkatest

import (
	_ "embed" // the broker's parts
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

const cacheVariable = "HIGHWATER_KAFKA_CACHE"

//go:embed pom.xml
var pom []byte // immutable

// fetchJars returns the directory of the broker's jars, fetching them the first time. Test binaries that run side by side wait for each other.
func fetchJars() (dir string, err error) {
	cache, err := cacheDir()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(cache, "LOCK"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	dir = filepath.Join(cache, "lib")
	if have, err := os.ReadFile(filepath.Join(dir, "pom.xml")); err == nil && string(have) == string(pom) {
		return dir, nil
	}
	return dir, download(dir)
}

// download fetches the jars beside dir and moves them there when all have come: what dir holds is whole.
func download(dir string) error {
	part := dir + ".part"
	if err := errors.Join(os.RemoveAll(dir), os.RemoveAll(part), os.MkdirAll(part, 0o755)); err != nil {
		return err
	}
	file := filepath.Join(part, "pom.xml")
	if err := os.WriteFile(file, pom, 0o644); err != nil {
		return err
	}
	out, err := exec.Command("mvn", "-q", "-B", "-f", file, "dependency:copy-dependencies", "-DoutputDirectory="+part).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mvn: %w\n%s", err, out)
	}
	return os.Rename(part, dir)
}

// cacheDir is the directory of what is fetched: under the repository's root, which is where go.mod is.
func cacheDir() (string, error) {
	if dir := os.Getenv(cacheVariable); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return filepath.Join(dir, ".cache", "kafka"), nil
		}
		if filepath.Dir(dir) == dir {
			return "", fmt.Errorf("no go.mod above the test's directory: name a cache directory in %s", cacheVariable)
		}
		dir = filepath.Dir(dir)
	}
}
