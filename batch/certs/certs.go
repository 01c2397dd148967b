// Package certs reads what TLS connections to brokers and to Redis are made with. Files are read at each connection, so that a certificate may be renewed while a process runs.
package certs

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"os"
)

// Files names the PEM files of a client.
type Files struct {
	CA         string // the authorities that sign the servers' certificates; "" for the system's
	Cert, Key  string // the client's own certificate and its key; "" for none
	ServerName string // in the servers' certificates; "" for the host that is dialled
}

// Config returns what a connection to host needs, as the files are now: TLS 1.2 at least. An error names the file. Safe for concurrent use.
func (f Files) Config(host string) (*tls.Config, error) {
	config := &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if f.ServerName != "" {
		config.ServerName = f.ServerName
	}
	if f.CA != "" {
		text, err := os.ReadFile(f.CA)
		if err != nil {
			return nil, fmt.Errorf("read the CA's certificate: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("read the CA's certificate: %s holds no certificate in PEM form", f.CA)
		}
	}
	if f.Cert != "" {
		own, err := tls.LoadX509KeyPair(f.Cert, f.Key)
		if err != nil {
			return nil, fmt.Errorf("read the client's certificate %s and its key %s: %w", f.Cert, f.Key, err)
		}
		config.Certificates = []tls.Certificate{own}
	}
	return config, nil
}
