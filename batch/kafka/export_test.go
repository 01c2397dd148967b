package kafka

import "time"

// Watchful returns the options with which a source looks at its topics, and at their settings, more often.
func (o Options) Watchful() Options {
	o.watchEvery, o.settingsEvery = 200*time.Millisecond, 200*time.Millisecond
	return o
}
