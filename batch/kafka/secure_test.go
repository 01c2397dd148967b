package kafka_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"highwater/batch"
	"highwater/batch/kafka"
	"highwater/features"
	"highwater/testutil/kafkatest"
)

// The whole edge works over TLS, with each login, and with both.
func TestSecureBroker(t *testing.T) {
	s := kafkatest.StartSecure(t)
	t.Run("every way in", func(t *testing.T) { testEveryWayIn(t, s) })
	t.Run("refusals", func(t *testing.T) { testRefusals(t, s) })
	t.Run("a password that changes", func(t *testing.T) { testPasswordChanges(t, s) })
	t.Run("a certificate that changes", func(t *testing.T) { testCertificateChanges(t, s) })
	t.Run("rights", func(t *testing.T) { testRights(t, s) })
}

func password(p string) func() (string, error) { return func() (string, error) { return p, nil } }

func login(s *kafkatest.Secure, m kafka.Mechanism) kafka.Security {
	return kafka.Security{Mechanism: m, Username: kafkatest.User, Password: password(s.Password)}
}

func overTLS(s *kafkatest.Secure, o kafka.Security) kafka.Security {
	o.TLS, o.CAFile = true, s.CAFile
	return o
}

func testEveryWayIn(t *testing.T, s *kafkatest.Secure) {
	certified := overTLS(s, kafka.Security{CertFile: s.CertFile, KeyFile: s.KeyFile})
	named := certified
	named.ServerName = "localhost"
	ways := map[string]struct {
		addr string
		kafka.Security
	}{
		"a certificate": {s.TLSAddr, certified}, "a certificate and another server name": {s.TLSAddr, named},
	}
	for _, m := range []kafka.Mechanism{kafka.Plain, kafka.ScramSHA256, kafka.ScramSHA512} {
		ways[string(m)] = struct {
			addr string
			kafka.Security
		}{s.LoginAddr, login(s, m)}
		ways[string(m)+" over tls"] = struct {
			addr string
			kafka.Security
		}{s.BothAddr, overTLS(s, login(s, m))}
	}
	for name, way := range ways {
		t.Run(name, func(t *testing.T) {
			topic, dead := fmt.Sprintf("secure-%d", topicNumber.Add(1)), newTopic(t, realBroker{s.Broker}, 1, nil)
			total, err := kafka.Load(within(t), kafka.LoadOptions{Brokers: []string{way.addr}, Topic: topic, Partitions: 1, Security: way.Security}, rows(50), nil)
			must(t, err)
			src, err := kafka.Open(within(t), kafka.Options{Brokers: []string{way.addr}, Sources: []*features.Source{source("s", topic)}, Security: way.Security, Group: topic})
			must(t, err)
			defer src.Close()
			r := read(t, src, 0)
			r.until([]int64{total + 1}) // and the marker of the transaction
			if len(r.got[0]) != 50 {
				t.Errorf("%d records were read, want 50", len(r.got[0]))
			}
			sink, err := kafka.NewDeadLetters(kafka.DeadLetterOptions{Brokers: []string{way.addr}, Sources: []*features.Source{{Name: "s", Topic: topic, DeadLetter: dead}}, Security: way.Security})
			must(t, err)
			defer sink.Close()
			_, err = sink.Publish(within(t), &batch.Output{DeadLetters: []batch.DeadLetter{{Partition: batch.Partition{Source: "s"}, Reason: batch.ReasonLate, Value: []byte("x")}}})
			must(t, err)
		})
	}
}

// Who is not let in is told why, where and what to do. What waiting does not mend is permanent, and what it may mend is waited for.
func testRefusals(t *testing.T, s *kafkatest.Secure) {
	wrong := login(s, kafka.ScramSHA256)
	wrong.Password = password("open-barley")
	changing := wrong
	changing.PasswordChanges = true
	stranger := login(s, kafka.ScramSHA512)
	stranger.Username = "nobody"
	otherCA := overTLS(s, kafka.Security{CertFile: s.CertFile, KeyFile: s.KeyFile})
	otherCA.CAFile = s.OtherCAFile
	otherName := overTLS(s, kafka.Security{CertFile: s.CertFile, KeyFile: s.KeyFile, ServerName: "kafka.example.com"})
	topic := newTopic(t, realBroker{s.Broker}, 1, nil)
	for _, refused := range []struct {
		name      string
		addr      string
		security  kafka.Security
		permanent bool
		kind      string
		says      []string
	}{
		{"a wrong password", s.LoginAddr, wrong, true, batch.KindAuth, []string{"do not let user worker in by SCRAM-SHA-256", "password are wrong", "HIGHWATER_KAFKA_PASSWORD"}},
		{"a wrong password that may change", s.LoginAddr, changing, false, batch.KindAuth, []string{"do not let user worker in"}},
		{"an unknown user", s.LoginAddr, stranger, true, batch.KindAuth, []string{"do not let user nobody in by SCRAM-SHA-512"}},
		{"another authority", s.TLSAddr, otherCA, true, batch.KindAuth, []string{"is not signed by " + s.OtherCAFile, "--kafka-tls-ca"}},
		{"another name", s.TLSAddr, otherName, true, batch.KindAuth, []string{"is for another name", "--kafka-tls-server-name"}},
		{"no certificate of its own", s.TLSAddr, overTLS(s, kafka.Security{}), false, batch.KindAuth, []string{"may want a certificate of this client", "--kafka-tls-cert"}},
		{"a login at a plaintext port", s.Addr(), login(s, kafka.Plain), true, batch.KindAuth, []string{"takes no logins at all", "--kafka-sasl"}},
		{"no login where one is wanted", s.LoginAddr, kafka.Security{}, false, batch.KindUnreachable, []string{"may want TLS (--kafka-tls) or a login (--kafka-sasl)"}},
		{"TLS at a plaintext port", s.Addr(), overTLS(s, kafka.Security{}), false, batch.KindUnreachable, []string{"may be a plaintext port", "--kafka-tls"}},
		{"plaintext at a TLS port", s.TLSAddr, kafka.Security{}, false, batch.KindUnreachable, []string{"want TLS (--kafka-tls)"}},
	} {
		t.Run(refused.name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			if !refused.permanent {
				ctx, cancel = context.WithTimeout(context.Background(), 3*time.Second) // it waits, and is told to stop
			}
			defer cancel()
			src, err := kafka.Open(ctx, kafka.Options{Brokers: []string{refused.addr}, Sources: []*features.Source{source("s", topic)}, Security: refused.security})
			if err == nil {
				src.Close()
				t.Fatal("it was let in")
			}
			if batch.IsPermanent(err) != refused.permanent {
				t.Errorf("permanent is %v, want %v: %v", !refused.permanent, refused.permanent, err)
			}
			if kind := batch.KindOf(err); kind != refused.kind {
				t.Errorf("the kind is %q, want %q", kind, refused.kind)
			}
			for _, part := range append(refused.says, refused.addr) {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error %q does not say %q", err, part)
				}
			}
			if strings.Contains(err.Error(), "open-barley") || strings.Contains(err.Error(), s.Password) {
				t.Errorf("error %q tells the password", err)
			}
		})
	}
}

// A password that is changed at the brokers and in its file needs no restart: the next login takes it, also of a source that runs, which waits until then.
func testPasswordChanges(t *testing.T, s *kafkatest.Secure) {
	const user = "rotated"
	file := filepath.Join(t.TempDir(), "password")
	set := func(p string) {
		must(t, s.SetPassword(user, p))
		must(t, os.WriteFile(file, []byte(p), 0o600))
	}
	set("first")
	topic := newTopic(t, realBroker{s.Broker}, 1, nil)
	must(t, s.Grant(user, kafkatest.Rights{Topic: topic, Operations: []kadm.ACLOperation{kadm.OpRead, kadm.OpDescribe, kadm.OpDescribeConfigs}}))
	w := write(t, realBroker{s.Broker}, topic, 1)
	w.records(t, 0, 5, 10)
	security := kafka.Security{Mechanism: kafka.ScramSHA256, Username: user, PasswordChanges: true, Password: func() (string, error) {
		text, err := os.ReadFile(file)
		return string(text), err
	}}
	src := openAt(t, s.LoginAddr, security, topic)
	r := read(t, src, 0)
	r.until([]int64{5})

	must(t, s.SetPassword(user, "second")) // and the file is late
	must(t, s.Stop())
	must(t, s.Start()) // which ends every connection
	stalled(t, src, "do not let user rotated in")
	must(t, os.WriteFile(file, []byte("second"), 0o600))
	w.client.ForceMetadataRefresh()
	w.records(t, 0, 5, 10)
	r.until([]int64{10})
	stalled(t, src)
	same(t, r.got[0], w.want[0])
}

// openAt opens a source of one topic at one of the broker's ports.
func openAt(t *testing.T, addr string, security kafka.Security, topic string) *kafka.Source {
	t.Helper()
	src, err := kafka.Open(within(t), kafka.Options{Brokers: []string{addr}, Sources: []*features.Source{source("s", topic)}, Security: security, Group: topic}.Watchful())
	must(t, err)
	t.Cleanup(src.Close)
	return src
}

// A certificate that is renewed in its file is taken by the next connection.
func testCertificateChanges(t *testing.T, s *kafkatest.Secure) {
	dir := t.TempDir()
	foreign, err := kafkatest.NewAuthority(dir, "foreign")
	must(t, err)
	certFile, keyFile, err := foreign.Sign("worker") // which the brokers do not trust
	must(t, err)
	topic := newTopic(t, realBroker{s.Broker}, 1, nil)
	opened := make(chan error, 1)
	ctx := within(t)
	go func() {
		src, err := kafka.Open(ctx, kafka.Options{Brokers: []string{s.TLSAddr}, Sources: []*features.Source{source("s", topic)}, Security: overTLS(s, kafka.Security{CertFile: certFile, KeyFile: keyFile})})
		if err == nil {
			src.Close()
		}
		opened <- err
	}()
	select {
	case err := <-opened:
		t.Fatalf("with a certificate that the brokers do not trust: %v", err)
	case <-time.After(time.Second):
	}
	for from, to := range map[string]string{s.CertFile: certFile, s.KeyFile: keyFile} {
		text, err := os.ReadFile(from)
		must(t, err)
		must(t, os.WriteFile(to, text, 0o600))
	}
	must(t, <-opened)
}

// Each right that is missing is named with what to do; what is granted while the source waits lets it go on.
func testRights(t *testing.T, s *kafkatest.Secure) {
	const user, pass = "guest", "a guest's"
	must(t, s.SetPassword(user, pass))
	topic, dead := newTopic(t, realBroker{s.Broker}, 1, nil), newTopic(t, realBroker{s.Broker}, 1, nil)
	w := write(t, realBroker{s.Broker}, topic, 1)
	w.records(t, 0, 5, 10)
	security := kafka.Security{Mechanism: kafka.ScramSHA256, Username: user, Password: password(pass)}
	read1 := kafkatest.Rights{Topic: topic, Operations: []kadm.ACLOperation{kadm.OpRead}}
	open := func() error {
		src, err := kafka.Open(within(t), kafka.Options{Brokers: []string{s.LoginAddr}, Sources: []*features.Source{source("s", topic)}, Security: security})
		if err == nil {
			src.Close()
		}
		return err
	}
	wantPermanent(t, open(), "source s", topic, "operations Describe and Read") // without any right a topic is as good as hidden
	must(t, s.Grant(user, kafkatest.Rights{Topic: topic, Operations: []kadm.ACLOperation{kadm.OpDescribe, kadm.OpDescribeConfigs}}))
	wantPermanent(t, open(), "shows topic", topic, "grant it the operation Read")

	must(t, s.Grant(user, read1))
	src := openAt(t, s.LoginAddr, security, topic)
	r := read(t, src, 0)
	r.until([]int64{5})
	src.Committed(within(t), []int64{5})
	awaitFailures(t, src, 0) // it may not use the group
	must(t, s.Revoke(user, read1))
	w.records(t, 0, 5, 10)
	stalled(t, src, "read topic "+topic, "the right to read it was taken away")
	must(t, s.Grant(user, read1))
	r.until([]int64{10})
	stalled(t, src)
	must(t, s.Grant(user, kafkatest.Rights{Group: topic, Operations: []kadm.ACLOperation{kadm.OpRead}}))
	src.Committed(within(t), []int64{10})
	awaitPosition(t, w, topic, 10)

	sink, err := kafka.NewDeadLetters(kafka.DeadLetterOptions{Brokers: []string{s.LoginAddr}, Sources: []*features.Source{{Name: "s", Topic: topic, DeadLetter: dead}}, Security: security})
	must(t, err)
	defer sink.Close()
	out := &batch.Output{DeadLetters: []batch.DeadLetter{{Partition: batch.Partition{Source: "s"}, Reason: batch.ReasonLate, Value: []byte("x")}}}
	_, err = sink.Publish(within(t), out)
	if err == nil || batch.IsPermanent(err) || batch.KindOf(err) != batch.KindDenied || !strings.Contains(err.Error(), "grant it Write and Describe") {
		t.Errorf("a dead letter without rights on its topic: %v, of kind %s", err, batch.KindOf(err))
	}
	must(t, s.Grant(user, kafkatest.Rights{Topic: dead, Operations: []kadm.ACLOperation{kadm.OpWrite, kadm.OpDescribe}}))
	_, err = sink.Publish(within(t), out)
	must(t, err)

	_, err = kafka.Load(within(t), kafka.LoadOptions{Brokers: []string{s.LoginAddr}, Topic: dead, Security: security}, rows(5), nil)
	wantPermanent(t, err, "transactional id highwater-load-"+dead, "grant it Write and Describe")
}

// Contradictions and missing files are told before anything is dialled, all of them at once.
func TestSecurity_Contradictions(t *testing.T) {
	t.Parallel()
	missing := filepath.Join(t.TempDir(), "none.pem")
	for name, c := range map[string]struct {
		security kafka.Security
		says     []string
	}{
		"files without TLS":      {kafka.Security{CAFile: missing, CertFile: missing}, []string{"TLS is off", "--kafka-tls", "needs its key"}},
		"no such file":           {kafka.Security{TLS: true, CAFile: missing}, []string{"read the CA's certificate", missing}},
		"no such certificate":    {kafka.Security{TLS: true, CertFile: missing, KeyFile: missing}, []string{"read the client's certificate", missing}},
		"an unknown mechanism":   {kafka.Security{Mechanism: "kerberos"}, []string{`"kerberos"`, "scram-sha-512", "--kafka-sasl"}},
		"a user without a login": {kafka.Security{Username: "u"}, []string{`user "u"`, "--kafka-sasl"}},
		"no password":            {kafka.Security{Mechanism: kafka.Plain, Username: "u"}, []string{"needs a user name", "HIGHWATER_KAFKA_PASSWORD"}},
		"an empty password":      {kafka.Security{Mechanism: kafka.Plain, Username: "u", Password: password("")}, []string{"password of Kafka user u", "empty"}},
		"a password that cannot be read": {kafka.Security{Mechanism: kafka.Plain, Username: "u", Password: func() (string, error) { return "", errors.New("the file is gone") }},
			[]string{"password of Kafka user u", "the file is gone"}},
	} {
		t.Run(name, func(t *testing.T) {
			o := kafka.Options{Brokers: []string{"127.0.0.1:1"}, Sources: []*features.Source{source("s", "t")}, Security: c.security}
			_, err := kafka.Open(within(t), o)
			wantPermanent(t, err, c.says...)
			_, err = kafka.NewDeadLetters(kafka.DeadLetterOptions{Brokers: o.Brokers, Security: c.security})
			wantPermanent(t, err, c.says...)
			_, err = kafka.Load(within(t), kafka.LoadOptions{Brokers: o.Brokers, Topic: "t", Security: c.security}, rows(1), nil)
			wantPermanent(t, err, c.says...)
		})
	}
}
