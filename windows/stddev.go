package windows

import "math"

var stddevInfo = Info{
	Name:     "stddev",
	Summary:  "the population standard deviation of a field",
	Argument: ArgumentRequired,
	Inputs:   []Kind{Int64, Double},
	output:   always(Double),
	build:    func(input Kind, _ int) aggregate { return stddev{variance{kind: input}} },
}

// stddev is the root of the variance.
type stddev struct{ variance }

func (x stddev) result(p *partial) (Value, fault) {
	v, f := x.variance.result(p)
	if v.IsNull() {
		return v, f
	}
	return finite(math.Sqrt(v.Double()))
}
