package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Certificates are files in PEM form, made for one test: an authority of its own, and what it has signed.
type Certificates struct {
	CA                    string
	ServerCert, ServerKey string // for 127.0.0.1 and redis.test
	ClientCert, ClientKey string
	AskClients            bool // servers refuse clients without a certificate
}

// NewCertificates makes certificates that are good for an hour.
func NewCertificates(tb testing.TB) *Certificates {
	tb.Helper()
	dir := tb.TempDir()
	c := &Certificates{CA: filepath.Join(dir, "ca.pem")}
	ca, caKey := sign(tb, nil, nil, &x509.Certificate{Subject: pkix.Name{CommonName: "test authority"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	write(tb, c.CA, "CERTIFICATE", ca.Raw)
	issue := func(name string, template *x509.Certificate) (certFile, keyFile string) {
		cert, key := sign(tb, ca, caKey, template)
		text, err := x509.MarshalECPrivateKey(key)
		must(tb, err)
		certFile, keyFile = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
		write(tb, certFile, "CERTIFICATE", cert.Raw)
		write(tb, keyFile, "EC PRIVATE KEY", text)
		return certFile, keyFile
	}
	c.ServerCert, c.ServerKey = issue("server", &x509.Certificate{Subject: pkix.Name{CommonName: "redis"}, DNSNames: []string{"redis.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature})
	c.ClientCert, c.ClientKey = issue("client", &x509.Certificate{Subject: pkix.Name{CommonName: "highwater"}, KeyUsage: x509.KeyUsageDigitalSignature})
	return c
}

// sign makes a certificate and its key; without an authority it signs itself.
func sign(tb testing.TB, ca *x509.Certificate, caKey *ecdsa.PrivateKey, template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(tb, err)
	template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62))
	must(tb, err)
	template.NotBefore, template.NotAfter = time.Now().Add(-time.Minute), time.Now().Add(time.Hour)
	if ca == nil {
		ca, caKey = template, key
	}
	raw, err := x509.CreateCertificate(rand.Reader, template, ca, &key.PublicKey, caKey)
	must(tb, err)
	cert, err := x509.ParseCertificate(raw)
	must(tb, err)
	return cert, key
}

func write(tb testing.TB, path, kind string, bytes []byte) {
	tb.Helper()
	must(tb, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600))
}

// StartTLS is [Start] for a server that speaks TLS alone.
func StartTLS(tb testing.TB, c *Certificates, args ...string) *Server {
	tb.Helper()
	binary := required(tb)
	return run(tb, func() *Server {
		s := newServer(tb, binary, args)
		_, port, _ := net.SplitHostPort(s.Addr)
		s.args = append(s.args, "--port", "0", "--tls-port", port, "--tls-ca-cert-file", c.CA, "--tls-cert-file", c.ServerCert, "--tls-key-file", c.ServerKey, "--tls-auth-clients", c.authClients())
		s.tls = c
		return s
	})
}

func (c *Certificates) authClients() string {
	if c.AskClients {
		return "yes"
	}
	return "no"
}

// client is what a test's own client needs, nil for plaintext.
func (c *Certificates) client(tb testing.TB) *tls.Config {
	if c == nil {
		return nil
	}
	tb.Helper()
	ca, err := os.ReadFile(c.CA)
	must(tb, err)
	own, err := tls.LoadX509KeyPair(c.ClientCert, c.ClientKey)
	must(tb, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(ca)
	return &tls.Config{RootCAs: roots, Certificates: []tls.Certificate{own}, MinVersion: tls.VersionTLS12}
}
