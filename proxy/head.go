package proxy

import (
	"bytes"
	"errors"
)

// A head is what the CONNECT head of a request says (RFC 9110, section 9.3.6;
// RFC 9112, section 3.2.3). Its slices point into the bytes it was read from.
type head struct {
	target []byte
	auth   []byte // the value of the one Proxy-Authorization field
	proven bool   // there was a Proxy-Authorization field, be it empty
	hosts  int    // Host fields seen
	// keep says that the client reads on after an answer that isn't a 200.
	keep bool
}

// Errors of the head's readers. Each is a sentence for the client and never
// carries its input, which is hostile.
var (
	errHeadLine    = errors.New("the request line is not 'CONNECT host:port HTTP/1.1'")
	errHeadLineEnd = errors.New("the request head has a line that does not end in CR LF")
	errHeadField   = errors.New("the request head has a malformed field")
	errHeadFold    = errors.New("the request head has a folded field")
	errHeadAuth    = errors.New("the request has more than one Proxy-Authorization field")
	errHeadHost    = errors.New("the request has more than one Host field")
	errHeadBody    = errors.New("a CONNECT request has no body")
	errHeadSize    = errors.New("the request head is too long")
	errHeadFields  = errors.New("the request head has too many fields")
)

const connectMethod = "CONNECT "

// maybeConnect reports whether b, all that was read so far, may be the start
// of a CONNECT request; and is so for certain when it is long enough.
func maybeConnect(b []byte) bool {
	n := min(len(b), len(connectMethod))
	return string(b[:n]) == connectMethod[:n]
}

// headScan finds the end of a head as its bytes come in, looking at each byte
// once. The zero value is ready for a new head.
type headScan struct {
	line  int // where the current line starts
	lines int // lines seen, the request line included
}

// end returns the length of the head in b, or 0 if b doesn't hold all of it.
// It fails as soon as a line ends in anything but CR LF, so that a client that
// ends lines otherwise gets an answer and not a timeout.
func (s *headScan) end(b []byte, maxFields int) (int, error) {
	for {
		i := bytes.IndexByte(b[s.line:], '\n')
		if i < 0 {
			return 0, nil
		}
		if i == 0 || b[s.line+i-1] != '\r' {
			return 0, errHeadLineEnd
		}
		s.line += i + 1
		if i == 1 {
			return s.line, nil
		}
		if s.lines++; s.lines > maxFields+1 {
			return 0, errHeadFields
		}
	}
}

// parseHead reads a whole CONNECT head, its empty line included. It is strict:
// what two readers could understand differently is an error.
func parseHead(b []byte) (head, error) {
	line, rest := cutLine(b)
	h, err := parseConnectLine(line)
	if err != nil {
		return head{}, err
	}
	for {
		line, rest = cutLine(rest)
		if len(line) == 0 {
			return h, nil
		}
		name, value, err := parseField(line)
		if err == nil {
			err = h.take(name, value)
		}
		if err != nil {
			return head{}, err
		}
	}
}

// cutLine splits b after its first CR LF. Without one, all of b is the line.
func cutLine(b []byte) (line, rest []byte) {
	line, rest, _ = bytes.Cut(b, []byte("\r\n"))
	return line, rest
}

// parseConnectLine reads "CONNECT target HTTP/1.0" or 1.1.
func parseConnectLine(line []byte) (head, error) {
	target, version, ok := bytes.Cut(bytes.TrimPrefix(line, []byte(connectMethod)), []byte(" "))
	if !ok || len(target) == 0 || !maybeConnect(line) || len(line) < len(connectMethod) {
		return head{}, errHeadLine
	}
	for _, c := range target {
		if c <= ' ' || c >= 0x7f {
			return head{}, errHeadLine
		}
	}
	switch string(version) {
	case "HTTP/1.1":
		return head{target: target, keep: true}, nil
	case "HTTP/1.0":
		return head{target: target}, nil
	}
	return head{}, errHeadLine
}

// take notes what matters of one field.
func (h *head) take(name, value []byte) error {
	switch {
	case isName(name, "proxy-authorization"):
		if h.proven {
			return errHeadAuth
		}
		h.auth, h.proven = value, true
	case isName(name, "host"):
		if h.hosts++; h.hosts > 1 {
			return errHeadHost
		}
	case isName(name, "transfer-encoding"):
		return errHeadBody
	case isName(name, "content-length"):
		// WinINet and its heirs send "Content-Length: 0" with a CONNECT.
		if string(value) != "0" {
			return errHeadBody
		}
	case isName(name, "connection"), isName(name, "proxy-connection"):
		if isName(value, "close") {
			h.keep = false
		}
	}
	return nil
}

// parseField splits a field line at its colon and trims the white space around
// its value (RFC 9112, section 5).
func parseField(line []byte) (name, value []byte, err error) {
	if line[0] == ' ' || line[0] == '\t' {
		return nil, nil, errHeadFold
	}
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || len(name) == 0 {
		return nil, nil, errHeadField
	}
	for _, c := range name {
		if !isTokenByte(c) {
			return nil, nil, errHeadField
		}
	}
	for _, c := range value {
		if (c < ' ' && c != '\t') || c == 0x7f {
			return nil, nil, errHeadField
		}
	}
	return name, bytes.Trim(value, " \t"), nil
}

// isTokenByte reports whether c may stand in a field name (RFC 9110, section 5.6.2).
func isTokenByte(c byte) bool {
	switch {
	case 'a' <= c|0x20 && c|0x20 <= 'z', '0' <= c && c <= '9':
		return true
	}
	return c != 0 && bytes.IndexByte([]byte("!#$%&'*+-.^_`|~"), c) >= 0
}

// isName reports whether b is name, which is in lower case, in any case.
func isName(b []byte, name string) bool {
	if len(b) != len(name) {
		return false
	}
	for i := range len(b) {
		c := b[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != name[i] {
			return false
		}
	}
	return true
}
