package table

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// ErrMalformed is wrapped by every error about a file that isn't one of ours.
var ErrMalformed = errors.New("malformed address table")

// maxPayload bounds the memory that a file can ask for.
const maxPayload = 64 << 20

// ReadDate returns the date of a file without decoding the rest.
func ReadDate(r io.Reader) (string, error) { return readHeader(bufio.NewReader(r)) }

func readHeader(r *bufio.Reader) (string, error) {
	line := make([]byte, len(magic)+len(time.DateOnly)+1)
	if _, err := io.ReadFull(r, line); err != nil {
		return "", fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	date, ok := strings.CutPrefix(string(line), magic)
	date, nl := strings.CutSuffix(date, "\n")
	if !ok || !nl {
		return "", fmt.Errorf("%w: the first line is not that of an address table", ErrMalformed)
	}
	if _, err := time.Parse(time.DateOnly, date); err != nil {
		return "", fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	return date, nil
}

// Decode reads a file. Its errors wrap ErrMalformed.
func Decode(r io.Reader) (*Table, error) {
	in := bufio.NewReader(r)
	date, err := readHeader(in)
	if err != nil {
		return nil, err
	}
	payload, err := unpack(in)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	d := decoder{b: payload}
	t := d.table()
	switch {
	case d.err != nil:
		return nil, fmt.Errorf("%w: %w", ErrMalformed, d.err)
	case len(d.b) != 0:
		return nil, fmt.Errorf("%w: %d bytes too many", ErrMalformed, len(d.b))
	}
	t.Date = date
	return t, nil
}

// unpack reads a gzip stream to its end, checksum included.
func unpack(r io.Reader) ([]byte, error) {
	packed, err := io.ReadAll(io.LimitReader(r, maxPayload))
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.Grow(3 * len(packed)) // what tables unpack to: growing step by step costs more
	if _, err := b.ReadFrom(io.LimitReader(z, maxPayload)); err != nil {
		return nil, err
	}
	return b.Bytes(), z.Close()
}

// decoder reads a payload. After its first error it reads zeros.
type decoder struct {
	b     []byte
	err   error
	named uint32 // the highest place that a range has named
}

var (
	errShort = errors.New("it ends early")
	errOrder = errors.New("a column is not in ascending order")
	errPlace = errors.New("a range or a place leads nowhere")
)

func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err, d.b = err, nil
	}
}

func (d *decoder) uvarint() uint64 {
	n, size := binary.Uvarint(d.b)
	if size <= 0 {
		d.fail(errShort)
		return 0
	}
	d.b = d.b[size:]
	return n
}

// count reads the number of elements of columns that take at least one byte
// an element, so that it can't ask for more memory than was sent.
func (d *decoder) count() int {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.fail(errShort)
		return 0
	}
	return int(n)
}

func (d *decoder) bytes(n int) []byte {
	if n > len(d.b) {
		d.fail(errShort)
		return nil
	}
	out := d.b[:n]
	d.b = d.b[n:]
	return out
}

func (d *decoder) table() *Table {
	t := &Table{}
	d.organisations(t)
	d.places(t)
	n := d.starts(32, func(n int) { t.v4.starts = make([]uint32, n) }, func(i int, at u128) { t.v4.starts[i] = uint32(at.lo) })
	t.v4.places = d.column(n, len(t.places))
	n = d.starts(128, func(n int) { t.v6.starts, t.v6low = make([]uint64, n), make([]uint64, n) },
		func(i int, at u128) { t.v6.starts[i], t.v6low[i] = at.hi, at.lo })
	t.v6.places = d.column(n, len(t.places))
	t.v4.seal()
	t.v6.seal()
	return t
}

func (d *decoder) organisations(t *Table) {
	n := d.count()
	t.numbers, t.ends = make([]uint32, n), make([]uint32, n)
	var before uint64
	for i := range n {
		delta := d.uvarint()
		before += delta
		if delta == 0 || before > 1<<32-1 {
			d.fail(errOrder)
			return
		}
		t.numbers[i] = uint32(before)
	}
	var end uint64
	for i := range n {
		end += d.uvarint() & (1<<32 - 1)
		if end > uint64(len(d.b)) {
			d.fail(errShort)
			return
		}
		t.ends[i] = uint32(end)
	}
	t.names = string(d.bytes(int(end)))
}

func (d *decoder) places(t *Table) {
	n := d.count()
	t.places = make([]place, n)
	for i := range n {
		org := d.uvarint()
		if org > uint64(len(t.numbers)) {
			d.fail(errPlace)
			return
		}
		t.places[i].org = uint32(org)
	}
	codes := d.bytes(2 * n)
	if d.err != nil {
		return
	}
	known := make(map[[2]byte]uint16)
	var all []byte
	for i := range n {
		code := [2]byte(codes[2*i : 2*i+2])
		if code == [2]byte{} {
			continue
		}
		at, ok := known[code]
		if !ok {
			all = append(all, code[:]...)
			at = uint16(len(all) / 2)
			if len(all)/2 > 26*26 {
				d.fail(errPlace)
				return
			}
			known[code] = at
		}
		t.places[i].country = at
	}
	t.countries = string(all)
}

// starts reads the starts of ranges of addresses of so many bits. It calls
// room with their number, then set for each, and returns the number.
func (d *decoder) starts(width uint, room func(n int), set func(i int, at u128)) int {
	n := d.count()
	zeros := d.bytes(n)
	if d.err != nil {
		return 0
	}
	room(n)
	var before u128
	for i := range n {
		delta := d.uvarint128().shl(uint(zeros[i]))
		at, over := before.add(delta)
		tooFar := width < 128 && at.shr(width) != (u128{})
		if over || tooFar || zeros[i] >= 128 || (i > 0 && delta == u128{}) {
			d.fail(errOrder)
			return 0
		}
		set(i, at)
		before = at
	}
	return n
}

// uvarint128 reads a varint of up to 128 bits.
func (d *decoder) uvarint128() u128 {
	var n u128
	for i, c := range d.b {
		if i == 19 {
			break
		}
		part := u128{0, uint64(c & 0x7f)}.shl(uint(7 * i))
		n = u128{n.hi | part.hi, n.lo | part.lo}
		if c < 0x80 {
			d.b = d.b[i+1:]
			return n
		}
	}
	d.fail(errShort)
	return u128{}
}

// column reads the places of n ranges.
func (d *decoder) column(n, places int) []uint32 {
	out := make([]uint32, n)
	for i := range out {
		switch token := d.uvarint(); {
		case token == 0:
		case token == 1 && d.named < uint32(places):
			d.named++
			out[i] = d.named
		case token >= 2 && token-2 < uint64(d.named):
			out[i] = d.named - uint32(token-2)
		default:
			d.fail(errPlace)
			return nil
		}
	}
	return out
}
