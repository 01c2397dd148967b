// Package capacity says how many workers a load needs: plain arithmetic, exact to the last event.
//
// Every interval a batch of Rate × Interval events has come. It is to be processed within the target, a part of the interval, so that a batch which takes longer than others does not delay the next. One worker processes
// Speed × Target events in that time, its share. The workers needed are the batch divided by the share; headroom is a factor on that figure before it is rounded up, once.
//
// Nothing is computed in floating point: 8 × 1.3 is 10.4, and 10 × 1.1 is 11 workers, not 12.
package capacity
