package main

import (
	"os"
	"path/filepath"
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
	must(t, broker.Revoke(user, read))
	s.load(1000)
	s.logs("no longer let this client read a topic", "topic="+s.topic(), "nothing is lost")
	must(t, broker.Grant(user, read))
	s.load(len(s.feed))
	s.startServe()
	s.checkValues()
}
