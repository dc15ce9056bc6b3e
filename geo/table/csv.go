package table

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/exeat/exeat/flow"
)

// ReadCSV reads the rows of files, one file after the other. row reads what
// follows the two addresses.
func ReadCSV(paths []string, row func(fields []string) (flow.Place, error)) (Source, error) {
	var out Source
	for _, path := range paths {
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		out, err = appendCSV(out, f, row)
		_ = f.Close() // only read from
		if err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	return out, nil
}

func appendCSV(out Source, r io.Reader, row func([]string) (flow.Place, error)) (Source, error) {
	lines := csv.NewReader(r)
	lines.ReuseRecord = true
	for {
		fields, err := lines.Read()
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		n, err := readRange(fields, row)
		if err != nil {
			line, _ := lines.FieldPos(0)
			return nil, fmt.Errorf("line %d: %w", line, err)
		}
		out = append(out, n)
	}
}

func readRange(fields []string, row func([]string) (flow.Place, error)) (Range, error) {
	if len(fields) < 3 {
		return Range{}, fmt.Errorf("%d fields", len(fields))
	}
	from, err := netip.ParseAddr(fields[0])
	if err != nil {
		return Range{}, err
	}
	to, err := netip.ParseAddr(fields[1])
	if err != nil {
		return Range{}, err
	}
	p, err := row(fields[2:])
	return Range{From: from, To: to, Place: p}, err
}

// NetworkRow reads "ASN,organisation" for ReadCSV.
func NetworkRow(fields []string) (flow.Place, error) {
	if len(fields) != 2 {
		return flow.Place{}, errors.New("a network is an AS number and an organisation")
	}
	n, err := strconv.ParseUint(fields[0], 10, 32)
	if err != nil || n == 0 {
		return flow.Place{}, fmt.Errorf("%q is not an AS number", fields[0])
	}
	return flow.Place{ASN: uint32(n), Org: strings.Clone(CleanName(fields[1]))}, nil
}

// CleanName returns an organisation's name without the characters that don't
// show (soft hyphens, controls, marks of direction): whoever runs a network
// chooses its name.
func CleanName(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\u00a0':
			return ' '
		case unicode.IsPrint(r) && r != utf8.RuneError:
			return r
		}
		return -1
	}, s)
}

// CountryRow reads a country for ReadCSV.
func CountryRow(fields []string) (flow.Place, error) {
	if len(fields) != 1 {
		return flow.Place{}, errors.New("a country is one field")
	}
	return flow.Place{Country: strings.Clone(fields[0])}, nil
}
