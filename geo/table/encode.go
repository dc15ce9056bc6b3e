package table

import (
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
)

// magic starts the first line of a file.
const magic = "exeat-geo/1 "

// Encode writes t as a file.
func (t *Table) Encode(w io.Writer) error {
	if _, err := fmt.Fprintf(w, "%s%s\n", magic, t.Date); err != nil {
		return err
	}
	z, err := gzip.NewWriterLevel(w, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(t.payload()); err != nil {
		return err
	}
	return z.Close()
}

func (t *Table) payload() []byte {
	b := binary.AppendUvarint(nil, uint64(len(t.numbers)))
	var before uint32
	for _, n := range t.numbers {
		b = binary.AppendUvarint(b, uint64(n-before))
		before = n
	}
	for i := range t.numbers {
		b = binary.AppendUvarint(b, uint64(len(t.name(i))))
	}
	b = append(b, t.names...)

	b = binary.AppendUvarint(b, uint64(len(t.places)))
	for _, p := range t.places {
		b = binary.AppendUvarint(b, uint64(p.org))
	}
	for _, p := range t.places {
		code := "\x00\x00"
		if p.country > 0 {
			code = t.countries[2*(p.country-1) : 2*p.country]
		}
		b = append(b, code...)
	}

	four := make([]u128, len(t.v4.starts))
	for i, s := range t.v4.starts {
		four[i] = u128{0, uint64(s)}
	}
	six := make([]u128, len(t.v6.starts))
	for i, hi := range t.v6.starts {
		six[i] = u128{hi, t.v6low[i]}
	}
	b = appendStarts(b, four)
	b, named := appendPlaces(b, 0, t.v4.places)
	b = appendStarts(b, six)
	b, _ = appendPlaces(b, named, t.v6.places)
	return b
}

func appendStarts(b []byte, starts []u128) []byte {
	b = binary.AppendUvarint(b, uint64(len(starts)))
	var before u128
	for _, s := range starts {
		b = append(b, byte(s.sub(before).trailingZeros()))
		before = s
	}
	before = u128{}
	for _, s := range starts {
		d := s.sub(before)
		b = appendUvarint128(b, d.shr(d.trailingZeros()))
		before = s
	}
	return b
}

// appendPlaces writes each place relative to the places that were named before:
// neighbours repeat each other, so the numbers stay small.
func appendPlaces(b []byte, named uint32, places []uint32) ([]byte, uint32) {
	for _, p := range places {
		switch {
		case p == 0:
			b = append(b, 0)
		case p == named+1:
			b = append(b, 1)
			named = p
		default:
			b = binary.AppendUvarint(b, uint64(named-p)+2)
		}
	}
	return b, named
}

func appendUvarint128(b []byte, n u128) []byte {
	for n.hi != 0 || n.lo >= 0x80 {
		b = append(b, byte(n.lo)|0x80)
		n = n.shr(7)
	}
	return append(b, byte(n.lo))
}
