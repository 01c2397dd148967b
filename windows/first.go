package windows

var firstInfo = Info{
	Name:     "first",
	Summary:  "a field's value in the oldest event, by event time, then partition and offset",
	Argument: ArgumentRequired,
	Inputs:   []Kind{Bool, Int64, Double, String, Timestamp},
	output:   same,
	build: func(input Kind, _ int) aggregate {
		return edge{kind: input, wins: eventKey.before}
	},
}
