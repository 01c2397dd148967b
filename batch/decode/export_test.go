package decode

// ParseRFC3339 is for its own property test.
var ParseRFC3339 = parseRFC3339

// ShapePatience is how many departing records it takes to learn another shape.
const ShapePatience = shapePatience
