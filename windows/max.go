package windows

var maxInfo = Info{
	Name:     "max",
	Summary:  "the greatest of a field; strings by their bytes, true after false",
	Argument: ArgumentRequired,
	Inputs:   []Kind{Bool, Int64, Double, String, Timestamp},
	output:   same,
	build:    func(input Kind, _ int) aggregate { return extreme{kind: input, sign: +1} },
}
