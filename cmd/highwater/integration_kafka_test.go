package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"

	"highwater/testutil/kafkatest"
)

// A worker reaches its brokers over TLS and with a login, is told which rights it lacks, and goes on by itself when a right that was taken away comes back.
func TestReal_KafkaRights(t *testing.T) {
	broker := kafkatest.StartSecure(t)
	s := newService(t, broker.Broker, oneRedis(t), adsDefinitions("kafka_rights"), 1)
	s.feed = s.feed[:1500]
	s.createTopics(nil)
	s.load(500)

	const user, password = "guest", "a guest's"
	must(t, broker.SetPassword(user, password))
	file := filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(file, []byte(password), 0o600))
	s.brokers = broker.BothAddr
	login := []string{"--kafka-tls", "--kafka-tls-ca", broker.CAFile, "--kafka-sasl", "scram-sha-512", "--kafka-username", user, "--kafka-password-file", file}
	look := kafkatest.Rights{Topic: s.topic(), Operations: []kadm.ACLOperation{kadm.OpDescribe, kadm.OpDescribeConfigs}}
	read := kafkatest.Rights{Topic: s.topic(), Operations: []kadm.ACLOperation{kadm.OpRead}}

	s.startWorker(login...)
	s.refused("source ad_events", s.topic(), "operations Describe and Read")
	must(t, broker.Grant(user, look))
	s.startWorker(login...)
	s.refused(`shows topic "`+s.topic()+`"`, "grant it the operation Read")

	must(t, broker.Grant(user, read))
	s.startWorker(login...)
	s.awaitEvents(400) // some are dead letters
	s.logs("positions are not committed to the consumer group", "grant it Read on the group", "nothing else suffers")
	must(t, broker.Revoke(user, read))
	s.load(1000)
	s.logs("no longer let this client read a topic", "topic="+s.topic(), "nothing is lost")
	must(t, broker.Grant(user, read))
	s.load(len(s.feed))
	s.startServe()
	s.checkValues()
}

// A worker goes on where it stood, whichever way it comes to the brokers: by password in plaintext and over TLS, by each mechanism, by certificate; its password from a file, or from the environment.
func TestReal_KafkaLogins(t *testing.T) {
	broker := kafkatest.StartSecure(t)
	s := newService(t, broker.Broker, oneRedis(t), adsDefinitions("kafka_logins"), 1)
	s.createTopics(nil)

	file := filepath.Join(t.TempDir(), "password")
	must(t, os.WriteFile(file, []byte(broker.Password), 0o600))
	login := func(mechanism string) []string {
		return []string{"--kafka-username", kafkatest.User, "--kafka-sasl", mechanism}
	}
	fromFile, tls := []string{"--kafka-password-file", file}, []string{"--kafka-tls", "--kafka-tls-ca", broker.CAFile}
	ways := []struct {
		addr  string
		flags []string
		env   []string
	}{
		{broker.LoginAddr, slices.Concat(login("plain"), fromFile), nil},
		{broker.LoginAddr, login("scram-sha-256"), []string{"HIGHWATER_KAFKA_PASSWORD=" + broker.Password}},
		{broker.BothAddr, slices.Concat(login("plain"), tls, fromFile), nil},
		{broker.BothAddr, slices.Concat(login("scram-sha-512"), tls), []string{"HIGHWATER_KAFKA_PASSWORD=" + broker.Password}},
		{broker.TLSAddr, slices.Concat(tls, []string{"--kafka-tls-cert", broker.CertFile, "--kafka-tls-key", broker.KeyFile}), nil},
	}
	const each = 400
	s.feed = s.feed[:each*len(ways)]
	for i, way := range ways {
		s.brokers, s.env = way.addr, way.env
		s.load(each * (i + 1))
		s.startWorker(way.flags...)
		s.awaitEvents(int64(each*i + each/2)) // some are dead letters
		if strings.Contains(s.worker.Stderr(), broker.Password) {
			t.Errorf("the password is in the log of a worker with %v", way.flags)
		}
		if i < len(ways)-1 {
			s.stopWorker()
		}
	}
	s.startServe()
	s.checkValues()
}
