package kafkatest

import (
	"context"
	"crypto/rand"
	_ "embed" // the broker's settings
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
)

//go:embed secure.properties
var secureProperties string // immutable

// User is the user of a secure broker, by password or certificate, who may do everything. Others may do what they are granted.
const User = "worker"

// Secure is a broker that also has ports with TLS and with logins, and asks what its clients may do. The plaintext port, which Addr and Client are of, asks nothing.
type Secure struct {
	*Broker
	TLSAddr   string // TLS, and wants a certificate of the client's
	LoginAddr string // logins in plaintext: PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512
	BothAddr  string // logins over TLS

	CAFile, CertFile, KeyFile string // PEM: who signed the broker's certificate, and a certificate of User's
	OtherCAFile               string // PEM: an authority that signed neither
	Authority                 *Authority

	Password string // User's
}

// StartSecure starts a broker as [Start] does, with ports that ask who comes.
func StartSecure(t testing.TB) *Secure {
	t.Helper()
	skipUnlessIntegration(t)
	s := &Secure{Broker: &Broker{dir: t.TempDir()}, Password: rand.Text()}
	if err := s.start(); err != nil {
		t.Fatalf("start a Kafka broker with TLS and logins: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("stop the Kafka broker: %v", err)
		}
	})
	return s
}

func (s *Secure) start() error {
	jars, err := fetchJars()
	if err != nil {
		return fmt.Errorf("fetch the broker: %w", err)
	}
	s.jars = filepath.Join(jars, "*")
	settings, err := s.settings()
	if err != nil {
		return err
	}
	if err := s.format(settings...); err != nil {
		return err
	}
	if err := s.Start(); err != nil {
		return errors.Join(err, s.Close())
	}
	return s.SetPassword(User, s.Password)
}

// settings makes the certificates and returns the broker's settings beside the usual ones.
func (s *Secure) settings() ([]string, error) {
	free, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	s.TLSAddr, s.LoginAddr, s.BothAddr = net.JoinHostPort("127.0.0.1", free[0]), net.JoinHostPort("127.0.0.1", free[1]), net.JoinHostPort("127.0.0.1", free[2])
	if s.Authority, err = NewAuthority(s.dir, "test"); err != nil {
		return nil, err
	}
	other, err := NewAuthority(s.dir, "other")
	if err != nil {
		return nil, err
	}
	s.CAFile, s.OtherCAFile = s.Authority.File, other.File
	if s.CertFile, s.KeyFile, err = s.Authority.Sign(User); err != nil {
		return nil, err
	}
	cert, key, err := s.Authority.Sign("broker")
	if err != nil {
		return nil, err
	}
	if err := concat(s.path("keystore.pem"), key, cert); err != nil {
		return nil, err
	}
	return []string{secureProperties, "${TLS}", free[0], "${LOGIN}", free[1], "${BOTH}", free[2], "${KEYSTORE}", s.path("keystore.pem"), "${TRUSTSTORE}", s.CAFile, "${USER}", User, "${PASSWORD}", s.Password}, nil
}

func concat(to string, files ...string) error {
	var all strings.Builder
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			return err
		}
		all.Write(text)
	}
	return os.WriteFile(to, []byte(all.String()), 0o600)
}

// SetPassword gives a user, whom it makes where there is none, a password for both kinds of SCRAM.
func (s *Secure) SetPassword(user, password string) error {
	return s.admin(func(ctx context.Context, admin *kadm.Client) error {
		var errs []error
		for _, mechanism := range []kadm.ScramMechanism{kadm.ScramSha256, kadm.ScramSha512} {
			altered, err := admin.AlterUserSCRAMs(ctx, nil, []kadm.UpsertSCRAM{{User: user, Mechanism: mechanism, Iterations: 4096, Password: password}})
			errs = append(errs, err, altered.Error())
		}
		return errors.Join(errs...)
	})
}

// Rights are operations on one topic, group or transactional id, whichever is named.
type Rights struct {
	Topic, Group, TransactionalID string
	Operations                    []kadm.ACLOperation
}

func (r Rights) acls(user string) *kadm.ACLBuilder {
	b := kadm.NewACLs().Allow("User:" + user).AllowHosts("*").Operations(r.Operations...).ResourcePatternType(kadm.ACLPatternLiteral)
	switch {
	case r.Topic != "":
		return b.Topics(r.Topic)
	case r.Group != "":
		return b.Groups(r.Group)
	}
	return b.TransactionalIDs(r.TransactionalID)
}

// Grant gives a user rights.
func (s *Secure) Grant(user string, rights ...Rights) error {
	return s.admin(func(ctx context.Context, admin *kadm.Client) error {
		var errs []error
		for _, r := range rights {
			created, err := admin.CreateACLs(ctx, r.acls(user))
			errs = append(errs, err)
			for _, c := range created {
				errs = append(errs, c.Err)
			}
		}
		return errors.Join(errs...)
	})
}

// Revoke takes rights away that were granted in the same words.
func (s *Secure) Revoke(user string, rights ...Rights) error {
	return s.admin(func(ctx context.Context, admin *kadm.Client) error {
		var errs []error
		for _, r := range rights {
			deleted, err := admin.DeleteACLs(ctx, r.acls(user))
			errs = append(errs, err)
			for _, d := range deleted {
				errs = append(errs, d.Err)
			}
		}
		return errors.Join(errs...)
	})
}
