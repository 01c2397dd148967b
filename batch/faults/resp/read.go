package resp

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// bound on one length in the protocol: what Redis itself takes for a bulk string.
const maxLength = 512 << 20

// readRequest appends one request to raw, as it came, and returns its command and those of its arguments that are short enough to be words. Lines that are no arrays, which people type, are requests too.
func readRequest(r *bufio.Reader, raw []byte) ([]byte, []string, error) {
	raw, line, err := readLine(r, raw)
	if err != nil {
		return raw, nil, err
	}
	if len(line) == 0 || line[0] != '*' {
		return raw, append(strings.Fields(string(line)), ""), nil // never empty
	}
	n, err := length(line)
	if err != nil {
		return raw, nil, err
	}
	words := make([]string, 0, 4)
	const longest = 64
	for range max(n, 0) {
		start := len(raw)
		if raw, err = readAnswer(r, raw); err != nil {
			return raw, nil, err
		}
		if len(raw)-start <= longest {
			_, text, _ := bytes.Cut(raw[start:], []byte("\r\n"))
			words = append(words, string(bytes.TrimSuffix(text, []byte("\r\n"))))
		}
	}
	if len(words) == 0 {
		words = append(words, "")
	}
	return raw, words, nil
}

// readAnswer appends one value of the protocol to raw, as it came, with all that is within it.
func readAnswer(r *bufio.Reader, raw []byte) ([]byte, error) {
	for left := 1; left > 0; left-- {
		var line []byte
		var err error
		if raw, line, err = readLine(r, raw); err != nil {
			return raw, err
		}
		if len(line) == 0 {
			return raw, fmt.Errorf("an empty line in the place of a value")
		}
		switch line[0] {
		case '*', '~', '>', '%', '|':
			n, err := length(line)
			if err != nil {
				return raw, err
			}
			if line[0] == '%' || line[0] == '|' {
				n *= 2
			}
			if left += max(n, 0); line[0] == '|' {
				left++ // attributes stand before the value that they belong to
			}
		case '$', '=', '!':
			n, err := length(line)
			if err != nil {
				return raw, err
			}
			if n >= 0 {
				if raw, err = readBytes(r, raw, n+len("\r\n")); err != nil {
					return raw, err
				}
			}
		}
	}
	return raw, nil
}

// readLine appends a line to raw and returns it without its end.
func readLine(r *bufio.Reader, raw []byte) (all, line []byte, err error) {
	start := len(raw)
	for {
		part, err := r.ReadSlice('\n')
		raw = append(raw, part...)
		if err == bufio.ErrBufferFull {
			continue
		}
		if err != nil {
			return raw, nil, err
		}
		return raw, bytes.TrimRight(raw[start:], "\r\n"), nil
	}
}

func readBytes(r *bufio.Reader, raw []byte, n int) ([]byte, error) {
	start := len(raw)
	raw = append(raw, make([]byte, n)...)
	_, err := io.ReadFull(r, raw[start:])
	return raw, err
}

// length is the number behind a line's first byte, −1 for a null.
func length(line []byte) (int, error) {
	n, err := strconv.Atoi(string(line[1:]))
	if err != nil || n < -1 || n > maxLength {
		return 0, fmt.Errorf("%q is no length", line)
	}
	return n, nil
}
