package kafka

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"highwater/batch"
)

// refusal says in plain words why brokers did not let a client in: what was wrong, and what to do about it.
type refusal struct {
	why  string
	kind string // as of a sink's errors
	err  error
	// lasting says that the same client, asking again, would hear the same. Nothing is lasting that somebody may mend at the brokers or in a file while the client waits.
	lasting bool
}

func (r *refusal) Error() string { return r.why + " (" + r.err.Error() + ")" }
func (r *refusal) Unwrap() error { return r.err }

// Kind is documented at [batch.KindOf].
func (r *refusal) Kind() string { return r.kind }

// explain wraps an error about getting in to the brokers in a *refusal, and leaves every other as it is.
func (s Security) explain(brokers []string, err error) error {
	if err == nil {
		return nil
	}
	if _, done := errors.AsType[*refusal](err); done {
		return err
	}
	at := strings.Join(brokers, ",")
	for _, explain := range []func(string, error) *refusal{s.explainLogin, s.explainCertificate, s.explainPort} {
		if r := explain(at, err); r != nil {
			r.err = err
			return r
		}
	}
	return err
}

func (s Security) explainLogin(at string, err error) *refusal {
	switch {
	case errors.Is(err, kerr.SaslAuthenticationFailed):
		return &refusal{kind: batch.KindAuth, lasting: !s.PasswordChanges,
			why: fmt.Sprintf("the brokers at %s do not let user %s in by %s: user name or password are wrong, or the user has no password of that kind; correct --kafka-username, HIGHWATER_KAFKA_PASSWORD or the file --kafka-password-file", at, s.Username, s.by())}
	case errors.Is(err, kerr.UnsupportedSaslMechanism):
		return &refusal{kind: batch.KindAuth, lasting: true, why: fmt.Sprintf("the listener at %s takes no login by %s: choose another one with --kafka-sasl, or another port", at, s.by())}
	case errors.Is(err, kerr.IllegalSaslState) && s.logsIn():
		return &refusal{kind: batch.KindAuth, lasting: true, why: fmt.Sprintf("the listener at %s takes no logins at all: name the port that does, or leave --kafka-sasl out", at)}
	}
	return nil
}

func (s Security) explainCertificate(at string, err error) *refusal {
	var (
		authority x509.UnknownAuthorityError
		name      x509.HostnameError
		invalid   x509.CertificateInvalidError
		network   *net.OpError
	)
	ca := s.CAFile
	if ca == "" {
		ca = "the system's authorities"
	}
	switch {
	case errors.As(err, &authority):
		return &refusal{kind: batch.KindAuth, lasting: true, why: fmt.Sprintf("the certificate of the brokers at %s is not signed by %s: name the file of the authority that signed it (--kafka-tls-ca)", at, ca)}
	case errors.As(err, &name):
		return &refusal{kind: batch.KindAuth, lasting: true, why: fmt.Sprintf("the certificate of the brokers at %s is for another name: use a name that is in it in --kafka, or give it as --kafka-tls-server-name", at)}
	case errors.As(err, &invalid):
		return &refusal{kind: batch.KindAuth, why: fmt.Sprintf("the certificate of the brokers at %s is not valid: renew it", at)}
	case errors.As(err, &network) && network.Op == "remote error": // a TLS alert
		mine := "none is given"
		if s.CertFile != "" {
			mine = "it was " + s.CertFile
		}
		return &refusal{kind: batch.KindAuth, why: fmt.Sprintf("the brokers at %s end the TLS connection: they may want a certificate of this client, or another one (%s; --kafka-tls-cert and --kafka-tls-key)", at, mine)}
	}
	return nil
}

// explainPort knows the signs of a client that speaks another protocol than the port.
func (s Security) explainPort(at string, err error) *refusal {
	_, notTLS := errors.AsType[tls.RecordHeaderError](err)
	_, first := errors.AsType[*kgo.ErrFirstReadEOF](err)
	_, handshake := errors.AsType[*handshakeError](err)
	switch {
	case notTLS:
		return &refusal{kind: batch.KindAuth, lasting: true, why: fmt.Sprintf("what answers at %s does not speak TLS: name the brokers' TLS port, or leave --kafka-tls out", at)}
	case handshake && errors.Is(err, io.EOF):
		return &refusal{kind: batch.KindUnreachable, why: fmt.Sprintf("what answers at %s ended the connection before TLS was agreed on: it may be a plaintext port (then name the TLS port, or leave --kafka-tls out), or a broker that is starting", at)}
	case !s.TLS && errors.Is(err, io.ErrUnexpectedEOF):
		return &refusal{kind: batch.KindUnreachable, why: fmt.Sprintf("what answers at %s ended the connection in the middle of an answer: it may want TLS (--kafka-tls), or be a broker that stops", at)}
	case first && !s.TLS && !s.logsIn():
		return &refusal{kind: batch.KindUnreachable, why: fmt.Sprintf("the brokers at %s end the connection at its first request: they may want TLS (--kafka-tls) or a login (--kafka-sasl), or be starting", at)}
	case first && !s.TLS:
		return &refusal{kind: batch.KindUnreachable, why: fmt.Sprintf("the brokers at %s end the connection at its first request: they may want TLS (--kafka-tls), or be starting", at)}
	case first:
		return &refusal{kind: batch.KindUnreachable, why: fmt.Sprintf("the brokers at %s end the connection at its first request: they may want a login (--kafka-sasl) or a client certificate (--kafka-tls-cert), or be starting", at)}
	}
	return nil
}

// lasting reports whether asking again would change nothing.
func lasting(err error) bool {
	r, ok := errors.AsType[*refusal](err)
	return ok && r.lasting
}
