package online

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"

	"highwater/batch"
	"highwater/batch/certs"
)

// TLS says how connections are encrypted and who is trusted. The zero value is plaintext. The files are read again at each new connection: what is renewed needs no restart.
type TLS struct {
	On         bool   // encrypt, and verify certificates; what follows needs it
	CAFile     string // PEM: whose signature the servers' certificates must bear; "" for the system's authorities
	CertFile   string // PEM: the client's own certificate, with KeyFile; "" for none
	KeyFile    string
	ServerName string // in the servers' certificates; "" for the host that is dialled
}

// check reports everything that cannot be right, reading the files once.
func (t TLS) check() error {
	var errs []error
	if !t.On && (t.CAFile != "" || t.CertFile != "" || t.KeyFile != "" || t.ServerName != "") {
		errs = append(errs, errors.New("a CA, a certificate, a key or a server name is given, and TLS is off: turn it on (--redis-tls), or leave them out"))
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		errs = append(errs, errors.New("a client certificate needs its key, and a key its certificate: give both (--redis-tls-cert, --redis-tls-key)"))
	}
	if t.On && len(errs) == 0 {
		_, err := t.files().Config("localhost")
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (t TLS) files() certs.Files {
	return certs.Files{CA: t.CAFile, Cert: t.CertFile, Key: t.KeyFile, ServerName: t.ServerName}
}

// dial opens one connection, encrypted where that was asked for.
func (t TLS) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	plain, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, network, addr)
	if err != nil || !t.On {
		return plain, err
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, errors.Join(err, plain.Close())
	}
	config, err := t.files().Config(host)
	if err != nil {
		return nil, errors.Join(&refusal{kind: batch.KindAuth, err: err, advice: "the files are read at each new connection"}, plain.Close())
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn := tls.Client(plain, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(handshakeFailed(addr, err), plain.Close())
	}
	return conn, nil
}

// handshakeFailed puts into words why TLS was not agreed on. What a certificate or the other side has refused, waiting does not mend; a connection that was cut may be a server that starts.
func handshakeFailed(addr string, err error) error {
	err = fmt.Errorf("agree on TLS with %s: %w", addr, err)
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var invalid x509.CertificateInvalidError
	var header tls.RecordHeaderError
	switch {
	case errors.As(err, &unknown):
		return &refusal{kind: batch.KindAuth, err: err, advice: "name the file of the authority that signed the server's certificate: --redis-tls-ca"}
	case errors.As(err, &name):
		return &refusal{kind: batch.KindAuth, err: err, advice: "the certificate is for another name: use one that is in it, or give it as --redis-tls-server-name"}
	case errors.As(err, &invalid):
		return &refusal{kind: batch.KindAuth, err: err, advice: "the server's certificate cannot be used; look at its dates"}
	case isAlert(err):
		return &refusal{kind: batch.KindAuth, err: err, advice: refusedCertificate}
	case errors.As(err, &header):
		return &refusal{kind: batch.KindAuth, err: err, advice: "what answers there does not speak TLS: name the TLS port, or leave --redis-tls out"}
	}
	return err
}

const refusedCertificate = "the server refuses: it may want a certificate of this client, or another one (--redis-tls-cert, --redis-tls-key)"

// isAlert reports whether the other side has refused the connection by a TLS alert; one about the client's certificate comes only after the handshake, in the place of the first answer.
func isAlert(err error) bool {
	var remote *net.OpError
	return errors.As(err, &remote) && remote.Op == "remote error"
}

// credentials returns the user and the password of a new connection, as they are now.
func (o Options) credentials(context.Context) (username, password string, err error) {
	if o.Password == nil {
		return o.Username, "", nil
	}
	if password, err = o.Password(); err != nil {
		return "", "", &refusal{kind: batch.KindAuth, err: err, advice: "it is read at each new connection"}
	}
	return o.Username, password, nil
}

// sentinelPassword returns the password for the Sentinels, "" for none.
func (o Options) sentinelPassword() (string, error) {
	if o.SentinelPassword == nil {
		return "", nil
	}
	password, err := o.SentinelPassword()
	if err != nil {
		return "", &refusal{kind: batch.KindAuth, err: err, advice: "it is read when the Sentinels are asked anew"}
	}
	return password, nil
}
