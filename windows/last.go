package windows

var lastInfo = Info{
	Name:     "last",
	Summary:  "a field's value in the newest event, by event time, then partition and offset",
	Argument: ArgumentRequired,
	Inputs:   []Kind{Bool, Int64, Double, String, Timestamp},
	output:   same,
	build: func(input Kind, _ int) aggregate {
		return edge{kind: input, wins: func(k, than eventKey) bool { return than.before(k) }}
	},
}
