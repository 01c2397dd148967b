package certs_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"highwater/batch/certs"
)

// What cannot be read is named; what can, is taken as it is at the moment. Real handshakes are in batch/kafka and store/online.
func TestConfig(t *testing.T) {
	garbage := filepath.Join(t.TempDir(), "garbage.pem")
	if err := os.WriteFile(garbage, []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := garbage + ".missing"
	for name, c := range map[string]struct {
		files certs.Files
		want  string
	}{
		"no CA's file":      {certs.Files{CA: missing}, missing},
		"a CA of no PEM":    {certs.Files{CA: garbage}, garbage + " holds no certificate in PEM form"},
		"no key":            {certs.Files{Cert: garbage, Key: missing}, missing},
		"no certificate":    {certs.Files{Cert: missing, Key: garbage}, missing},
		"not a certificate": {certs.Files{Cert: garbage, Key: garbage}, "read the client's certificate " + garbage},
	} {
		if _, err := c.files.Config("host"); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
	for want, files := range map[string]certs.Files{"host": {}, "other": {ServerName: "other"}} {
		config, err := files.Config("host")
		if err != nil || config.ServerName != want || config.RootCAs != nil || config.InsecureSkipVerify {
			t.Errorf("%+v: %+v, %v", files, config, err)
		}
	}
}
