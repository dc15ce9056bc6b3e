package clienthello

import (
	"errors"
	"fmt"
)

// Errors of Parse; test with errors.Is. None of them carries bytes of the
// input.
var (
	// ErrIncomplete: what is there is the start of a hello, and more bytes are
	// needed. It is the only error that more bytes can change.
	ErrIncomplete = errors.New("the ClientHello is not complete yet")
	// ErrNotTLS: the first bytes are not those of a TLS record. This is another
	// protocol.
	ErrNotTLS = errors.New("not a TLS handshake")
	// ErrTooLarge: the hello says that it is longer than MaxSize.
	ErrTooLarge = errors.New("the ClientHello is larger than 64 KiB")
	// ErrMalformed: it starts like TLS, if only with a record that may not come
	// first, and is not one well-formed ClientHello
	// that every server would read alike.
	ErrMalformed = errors.New("malformed ClientHello")
)

// malformed is ErrMalformed with what exactly is wrong, in our own words.
func malformed(what string) error { return fmt.Errorf("%w: %s", ErrMalformed, what) }

// Parse reads b, all bytes that a client sent so far, as a ClientHello. Bytes
// after the hello's last record are not looked at.
//
// The answer is final as soon as it is not ErrIncomplete, and it is given at
// the first byte that decides it. Parse may be called after each read; a
// client that sends its hello byte by byte in records of one byte makes that
// costly, unless the caller waits for Needed bytes in between.
//
// Parse keeps no reference to b and is safe for concurrent use.
func Parse(b []byte) (Hello, error) {
	s, err := scanRecords(b)
	if err != nil {
		return Hello{}, err
	}
	var m message
	if err := m.parse(s.body(b)); err != nil {
		return Hello{}, err
	}
	name, err := m.hostName()
	if err != nil {
		return Hello{}, err
	}
	return Hello{ServerName: name, ALPN: m.protocols(), JA4: m.ja4(), ECH: m.ech}, nil
}

// Needed returns how many bytes there must be in all before it is worth asking
// Parse again. It is more than len(b) and at most MaxSize while Parse says
// ErrIncomplete, and 0 once the answer is final.
//
// Waiting for it keeps the work of a trickled hello in proportion to its
// length: each wait covers at least what the message itself still lacks.
func Needed(b []byte) int {
	s, err := scanRecords(b)
	if !errors.Is(err, ErrIncomplete) {
		return 0
	}
	return max(s.least, len(b)+1)
}
