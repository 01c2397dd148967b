// Package decode turns Kafka records into fields and event times, and event files into Kafka records.
//
// [New] returns a source's decoder. A record is decoded whole or refused whole: one that is refused is a dead letter, with one of batch's reasons and a
// detail for people that names the field and the byte. Where several things are wrong, the gravest names it: too_large, then malformed, duplicate, type, and
// at last no_time and absurd; among equals, the first in the record's value, and then in its key and headers.
//
// # JSON
//
// One object (RFC 8259), read in a single pass by a scanner that knows the declared names. All of the record is checked, also what nobody asks for.
//
//   - UTF-8 must be valid, in names and strings alike, and half a surrogate pair (\ud83d alone) is refused too: both are malformed. So is a byte order mark.
//   - Objects and arrays nest up to 128 deep, the record's own object counted.
//   - A name twice at the top level refuses the record, whether or not the name is declared. Names are compared as they read: "\u0061" is "a". Deeper down nobody looks.
//   - Fields that are not declared are checked and passed over. Declared ones that are absent or null are null.
//   - int64: any JSON number that is whole and fits, exactly: 1e3, 1.0 and 120e-1 do, 1.5 and 2^63 are of the wrong type. No detour through a double.
//   - double: any JSON number, to the nearest; one beyond the greatest double is of the wrong type, one below the least is 0.
//   - bool: true and false. string: a JSON string. Nothing is converted: "1" is no number, and 1 no bool.
//   - timestamp: an RFC 3339 string, or a whole number of milliseconds, in the years 1 to 9999.
//
// # CSV
//
// One row (RFC 4180), its cells in the order of the declared fields, with or without a line end. An empty cell, quoted or not, is null. Cells are not
// trimmed. Numbers are written as in JSON, bools are true and false, timestamps either of the two forms. Another number of cells is malformed.
//
// # Key and headers
//
// A field may be the whole of the record's key, or of a header; of several headers of one name, the last. Absent and null ones are null. The bytes must be UTF-8;
// a string is all of them, and all other types are read as they are from a CSV cell. See apart.go.
//
// # Event time
//
// Read from the source's timestamp field, which may be a declared field too, in its unit: a whole number (1.6e12 is one), or an RFC 3339 string for unit
// rfc3339. Finer than a microsecond is rounded down. Another type is of the wrong type; absent, null, or a string that is not RFC 3339 is no_time; outside
// the years 1 to 9999 is absurd. A field that is both the event time and declared as a timestamp is read once, by the event time's unit. A source without a
// timestamp field takes the record's own timestamp, which must be above 0. RFC 3339: any offset; T may be t or a space, and Z be z (section 5.6); any number
// of fractional digits; a leap second (:60) is refused, having no place in Unix time.
//
// # Cost
//
// A record that is accepted costs no allocation, but one for each wanted string or name with an escape: strings share the record's bytes, so a
// [windows.Value] lives as long as its record does.
// The 170-byte record of bench_test.go takes 218 ns (encoding/json in the same minutes, on the same busy core: 5.0 µs). See shape for how.
//
// # Event files
//
// [OpenEvents] reads the files that `highwater dev` loads: CSV with a header, or JSON lines, gzip'd or not. See docs/format/records.md.
package decode
