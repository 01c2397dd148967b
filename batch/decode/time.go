package decode

import "highwater/features"

// The years that a time may lie in, in seconds: from 0001-01-01T00:00:00Z up to, not including, 10000-01-01T00:00:00Z.
const (
	yearsStart = -62_135_596_800
	yearsEnd   = 253_402_300_800
)

// inYears reports whether us lies in the years 1 to 9999, UTC.
func inYears(us int64) bool { return us >= yearsStart*1e6 && us < yearsEnd*1e6 }

// micros turns v of a unit into microseconds, rounded down; ok is false outside the years 1 to 9999.
func micros(v int64, unit features.Unit) (us int64, ok bool) {
	switch unit {
	case features.Seconds:
		if v < yearsStart || v >= yearsEnd {
			return 0, false
		}
		return v * 1e6, true
	case features.Microseconds:
		return v, inYears(v)
	case features.Nanoseconds:
		us = v / 1000
		if v%1000 < 0 {
			us--
		}
		return us, true
	default:
		if v < yearsStart*1e3 || v >= yearsEnd*1e3 {
			return 0, false
		}
		return v * 1e3, true
	}
}

// parseRFC3339 reads a date and time as RFC 3339 writes it (2024-05-06T07:08:09.123+02:00), in µs. Letters may be small, and the T a space, as its section
// 5.6 allows. Digits finer than a microsecond are dropped, which rounds down. A leap second (:60) is refused, for it has no place in Unix time. Years run
// from 0 to 9999 as written, and an offset may carry a time beyond: see inYears.
func parseRFC3339(s string) (us int64, ok bool) {
	const layout = "0000-00-00T00:00:00"
	if len(s) < len(layout)+1 || s[4] != '-' || s[7] != '-' || s[13] != ':' || s[16] != ':' {
		return 0, false
	}
	if sep := s[10]; sep != 'T' && sep != 't' && sep != ' ' {
		return 0, false
	}
	var wrong uint
	year := two(s, 0, &wrong)*100 + two(s, 2, &wrong)
	month, day := two(s, 5, &wrong), two(s, 8, &wrong)
	hour, minute, second := two(s, 11, &wrong), two(s, 14, &wrong), two(s, 17, &wrong)
	if wrong != 0 || month < 1 || month > 12 || day < 1 || day > daysIn(year, month) || hour > 23 || minute > 59 || second > 59 {
		return 0, false
	}
	fraction, rest, ok := parseFraction(s[len(layout):])
	if !ok {
		return 0, false
	}
	offset, ok := parseOffset(rest)
	if !ok {
		return 0, false
	}
	seconds := daysSinceEpoch(year, month, day)*86400 + int64(hour*3600+minute*60+second) - offset
	return seconds*1e6 + fraction, true
}

// two reads two digits at i, and sets bits of wrong where they are none.
func two(s string, i int, wrong *uint) int {
	tens, ones := uint(s[i])-'0', uint(s[i+1])-'0'
	if tens > 9 || ones > 9 {
		*wrong = 1
	}
	return int(tens*10 + ones)
}

// parseFraction reads an optional fraction of a second, in whole µs, and returns what follows it.
func parseFraction(s string) (us int64, rest string, ok bool) {
	if s[0] != '.' {
		return 0, s, true
	}
	i, scale := 1, int64(100_000)
	for ; i < len(s) && s[i]-'0' <= 9; i++ {
		us += int64(s[i]-'0') * scale
		scale /= 10
	}
	return us, s[i:], i > 1
}

// parseOffset reads Z or ±hh:mm, in seconds east of UTC. It must be all of s.
func parseOffset(s string) (seconds int64, ok bool) {
	if len(s) == 1 {
		return 0, s[0] == 'Z' || s[0] == 'z'
	}
	if len(s) != len("+00:00") || s[0] != '+' && s[0] != '-' || s[3] != ':' {
		return 0, false
	}
	var wrong uint
	hours, minutes := two(s, 1, &wrong), two(s, 4, &wrong)
	if wrong != 0 || hours > 23 || minutes > 59 {
		return 0, false
	}
	seconds = int64(hours*3600 + minutes*60)
	if s[0] == '-' {
		seconds = -seconds
	}
	return seconds, true
}

func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// daysSinceEpoch counts the days from 1970-01-01 to a date of the proleptic Gregorian calendar. It counts years from March, so that a leap day is a year's
// last: then the days before a month are (153·m + 2) / 5, and whole years hold 365 each and their leap days.
func daysSinceEpoch(year, month, day int) int64 {
	const marchOfYearZero = -719_468 // 0000-03-01, in days since 1970-01-01
	y, m := year, month-3
	if m < 0 {
		y, m = y-1, m+12
	}
	if y < 0 { // January and February of year 0: count from 400 years before, a whole cycle of the calendar
		return daysSinceEpoch(year+400, month, day) - 146_097
	}
	return int64(365*y+y/4-y/100+y/400+(153*m+2)/5+day-1) + marchOfYearZero
}
