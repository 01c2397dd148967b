package windows

var minInfo = Info{
	Name:     "min",
	Summary:  "the least of a field; strings by their bytes, false before true",
	Argument: ArgumentRequired,
	Inputs:   []Kind{Bool, Int64, Double, String, Timestamp},
	output:   same,
	build:    func(input Kind, _ int) aggregate { return extreme{kind: input, sign: -1} },
}
