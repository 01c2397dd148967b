package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
)

// secretFile is the flag that names a secret's file: --redis-password-file. Declare it with `type:"path"`. The secret itself never has a flag: what is given on a command line is seen by everyone who can list processes.
type secretFile string

// secret is a password or the like, named as its flag would be, "redis-password". It stands in the environment (HIGHWATER_REDIS_PASSWORD) or in a file (--redis-password-file, HIGHWATER_REDIS_PASSWORD_FILE), never in both.
// It holds the place alone and reads it at every use, so that a password that was changed is taken up by the next connection. However it is printed, logged or marshalled, it shows no more than [masked].
// The zero value is a secret that nobody gave. Safe for concurrent use.
type secret struct {
	name string
	file secretFile
}

const (
	masked         = "****" // what is shown of a secret
	largestSecret  = 64 << 10
	secretFileFlag = "-file" // --redis-password-file names the file of redis-password
)

// newSecret returns the secret of that name, which lies in file unless file is "".
func newSecret(name string, file secretFile) secret { return secret{name: name, file: file} }

// environment returns the variable that the secret may stand in.
func (s secret) environment() string { return envName(s.name) }

// envName returns the environment variable of a setting: --data-dir can be given as HIGHWATER_DATA_DIR.
func envName(name string) string {
	return "HIGHWATER_" + strings.ToUpper(strings.NewReplacer("-", "_", ".", "_").Replace(name))
}

// Read returns the secret as it is now; "" where none was given. Errors name the place, and never what lies there.
func (s secret) Read() (string, error) {
	if s.name == "" {
		return "", nil
	}
	inEnvironment := os.Getenv(s.environment())
	switch {
	case s.file == "":
		return inEnvironment, nil
	case inEnvironment != "":
		return "", fmt.Errorf("%s is given twice, by %s and in the file %s: take one of them away", s.name, s.environment(), s.file)
	}
	value, err := readSecret(string(s.file))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", s.name, err)
	}
	return value, nil
}

// readSecret reads a file that holds one secret; the line's end that editors leave behind it is no part of it.
func readSecret(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, largestSecret+1))
	if err != nil {
		return "", err
	}
	value := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	switch {
	case value == "":
		return "", fmt.Errorf("%s is empty: write the secret into it, or leave the setting out", path)
	case len(text) > largestSecret:
		return "", fmt.Errorf("%s is larger than %d bytes: is it the right file?", path, largestSecret)
	case strings.ContainsAny(value, "\n\x00"):
		return "", errors.New(path + " holds more than one line: is it the right file?")
	}
	return value, nil
}

// String returns [masked], or "" where there is no secret.
func (s secret) String() string {
	if s.name == "" || s.file == "" && os.Getenv(s.environment()) == "" {
		return ""
	}
	return masked
}

// GoString hides it from %#v.
func (s secret) GoString() string { return s.String() }

// LogValue hides it from logs.
func (s secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides it from JSON and YAML.
func (s secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
