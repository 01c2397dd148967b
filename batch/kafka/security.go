package kafka

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl"
	"github.com/twmb/franz-go/pkg/sasl/plain"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"highwater/batch/certs"
)

// Mechanism is how a client logs in to the brokers.
type Mechanism string

// The mechanisms. The zero value is NoLogin too.
const (
	NoLogin     Mechanism = "none"
	Plain       Mechanism = "plain"
	ScramSHA256 Mechanism = "scram-sha-256"
	ScramSHA512 Mechanism = "scram-sha-512"
)

// Security says how a client knows the brokers, and how they know it. The zero value is a plaintext connection without a login.
//
// Files are read again at each new connection, and the password is asked for at each new login: what is renewed needs no restart. Nothing of it is ever logged but the user's name and the files' names.
type Security struct {
	TLS        bool   // encrypt, and verify the brokers' certificates; what follows needs it
	CAFile     string // PEM: whose signature the brokers' certificates must bear; "" for the system's authorities
	CertFile   string // PEM: the client's own certificate, with KeyFile; "" for none
	KeyFile    string
	ServerName string // in the brokers' certificates; "" for the host that is dialled

	Mechanism Mechanism
	Username  string
	Password  func() (string, error) // required where there is a login; safe for concurrent use

	// PasswordChanges says that Password may give another answer later (a file that is rewritten), so that a refused login is worth waiting for.
	PasswordChanges bool
}

// Check reports everything that cannot be right, reading the files once and asking for the password. Whoever is given a Security checks it; to check it before anything else is started is kind.
func (s Security) Check() error {
	var errs []error
	if !s.TLS && (s.CAFile != "" || s.CertFile != "" || s.KeyFile != "" || s.ServerName != "") {
		errs = append(errs, errors.New("a CA, a certificate, a key or a server name is given, and TLS is off: turn it on (--kafka-tls), or leave them out"))
	}
	if (s.CertFile == "") != (s.KeyFile == "") {
		errs = append(errs, errors.New("a client certificate needs its key, and a key its certificate: give both (--kafka-tls-cert, --kafka-tls-key)"))
	}
	if s.TLS && len(errs) == 0 {
		if _, err := s.files().Config("localhost"); err != nil {
			errs = append(errs, err)
		}
	}
	if !slices.Contains([]Mechanism{"", NoLogin, Plain, ScramSHA256, ScramSHA512}, s.Mechanism) {
		errs = append(errs, fmt.Errorf("login mechanism %q: want %s, %s, %s or %s (--kafka-sasl)", s.Mechanism, NoLogin, Plain, ScramSHA256, ScramSHA512))
	}
	if s.logsIn() {
		errs = append(errs, s.checkLogin())
	} else if s.Username != "" {
		errs = append(errs, fmt.Errorf("user %q is given, and no way to log in: choose one (--kafka-sasl)", s.Username))
	}
	if err := joined(slices.DeleteFunc(errs, func(err error) bool { return err == nil })); err != nil {
		return fmt.Errorf("connect to Kafka: %w", err)
	}
	return nil
}

func (s Security) checkLogin() error {
	if s.Username == "" || s.Password == nil {
		return fmt.Errorf("logging in by %s needs a user name (--kafka-username) and a password (HIGHWATER_KAFKA_PASSWORD or --kafka-password-file)", s.Mechanism)
	}
	_, err := s.credentials()
	return err
}

// logsIn reports whether there is a login.
func (s Security) logsIn() bool { return s.Mechanism != "" && s.Mechanism != NoLogin }

// credentials returns the password, which is never "".
func (s Security) credentials() (string, error) {
	password, err := s.Password()
	if err == nil && password == "" {
		err = errors.New("it is empty")
	}
	if err != nil {
		return "", fmt.Errorf("find the password of Kafka user %s: %w", s.Username, err)
	}
	return password, nil
}

// dialer opens a network connection; it is the type of a net.Dialer's DialContext.
type dialer func(ctx context.Context, network, address string) (net.Conn, error)

// options returns the client's options, on top of a dialer of plain connections, nil for the net package's.
func (s Security) options(plain dialer) []kgo.Opt {
	var opts []kgo.Opt
	switch {
	case s.TLS:
		if plain == nil {
			plain = (&net.Dialer{Timeout: dialTimeout}).DialContext
		}
		opts = append(opts, kgo.Dialer(s.dialTLS(plain)))
	case plain != nil:
		opts = append(opts, kgo.Dialer(plain))
	}
	if s.logsIn() {
		opts = append(opts, kgo.SASL(s.mechanism()))
	}
	return opts
}

// dialTLS returns a dialer of encrypted connections, which takes what the files hold when it is called.
func (s Security) dialTLS(plain dialer) dialer {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		config, err := s.files().Config(host)
		if err != nil {
			return nil, err
		}
		conn, err := plain(ctx, network, address)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, dialTimeout)
		defer cancel()
		encrypted := tls.Client(conn, config)
		if err := encrypted.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return nil, &handshakeError{address: address, err: err}
		}
		return encrypted, nil
	}
}

// handshakeError is a TLS connection that did not come about.
type handshakeError struct {
	address string
	err     error
}

func (e *handshakeError) Error() string {
	return "agree on TLS with " + e.address + ": " + e.err.Error()
}
func (e *handshakeError) Unwrap() error { return e.err }

func (s Security) files() certs.Files {
	return certs.Files{CA: s.CAFile, Cert: s.CertFile, Key: s.KeyFile, ServerName: s.ServerName}
}

// mechanism returns the login, which asks for the password each time.
func (s Security) mechanism() sasl.Mechanism {
	if s.Mechanism == Plain {
		return plain.Plain(func(context.Context) (plain.Auth, error) {
			password, err := s.credentials()
			return plain.Auth{User: s.Username, Pass: password}, err
		})
	}
	auth := func(context.Context) (scram.Auth, error) {
		password, err := s.credentials()
		return scram.Auth{User: s.Username, Pass: password}, err
	}
	if s.Mechanism == ScramSHA512 {
		return scram.Sha512(auth)
	}
	return scram.Sha256(auth)
}

// by is how the client logs in, for messages.
func (s Security) by() string { return strings.ToUpper(string(s.Mechanism)) }
