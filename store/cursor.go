package store

import (
	"encoding/base64"
	"encoding/binary"

	"github.com/google/uuid"
)

// key is where a page ended: the sort key of its last item.
type key struct {
	at int64     // microseconds
	id uuid.UUID // or a number in its last 8 bytes
}

func (k key) number() int64 { return int64(binary.BigEndian.Uint64(k.id[8:])) }

func numberKey(at, n int64) key {
	k := key{at: at}
	binary.BigEndian.PutUint64(k.id[8:], uint64(n))
	return k
}

// The listings that cursors belong to.
const (
	flowCursor        = 'f'
	destinationCursor = 'd'
	alertCursor       = 'a'
	auditCursor       = 'u'
)

const cursorSize = 1 + 8 + 16

// cursorEncoding is strict, so that a cursor has one form only.
func cursorEncoding() *base64.Encoding { return base64.RawURLEncoding.Strict() }

func (k key) cursor(kind byte) string {
	b := make([]byte, 0, cursorSize)
	b = append(b, kind)
	b = binary.BigEndian.AppendUint64(b, uint64(k.at))
	b = append(b, k.id[:]...)
	return cursorEncoding().EncodeToString(b)
}

// parseCursor returns the key in s, and false if s is empty.
func parseCursor(kind byte, s string) (key, bool, error) {
	if s == "" {
		return key{}, false, nil
	}
	if len(s) != cursorEncoding().EncodedLen(cursorSize) {
		return key{}, false, ErrBadCursor
	}
	b, err := cursorEncoding().DecodeString(s)
	if err != nil || b[0] != kind {
		return key{}, false, ErrBadCursor
	}
	return key{at: int64(binary.BigEndian.Uint64(b[1:9])), id: uuid.UUID(b[9:])}, true, nil
}

const (
	defaultLimit = 100
	maxLimit     = 1000
)

func limitOf(n int) int {
	if n <= 0 {
		return defaultLimit
	}
	return min(n, maxLimit)
}

// page cuts items, of which one more than limit was asked for, to a page.
func page[T any](items []T, limit int, kind byte, keyOf func(*T) key) Page[T] {
	if len(items) <= limit {
		return Page[T]{Items: items}
	}
	return Page[T]{Items: items[:limit], Next: keyOf(&items[limit-1]).cursor(kind)}
}
