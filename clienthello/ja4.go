package clienthello

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
)

// ja4 returns the JA4 TLS client fingerprint (FoxIO, technical_details/JA4.md):
// "t13d1312h2_f57a46bbacb6_ab7e3b40a677" is TLS over TCP, version, whether
// there is an SNI, how many cipher suites and extensions, first ALPN; then the
// hash of the sorted suites; then the hash of the sorted extensions with the
// signature algorithms in order. GREASE (RFC 8701) counts nowhere. Chromium
// puts it into the signature algorithms too, at random, so that a fingerprint
// that kept it there would differ each time.
func (m *message) ja4() string {
	var suiteRoom, extRoom, algRoom [64]uint16
	suites := withoutGREASE(suiteRoom[:0], m.suites)
	exts := m.extensionTypes(extRoom[:0])
	algs := withoutGREASE(algRoom[:0], m.sigAlgs)

	var room [36]byte
	out := append(room[:0], 't')
	out = append(out, m.ja4Version()...)
	if m.named {
		out = append(out, 'd')
	} else {
		out = append(out, 'i')
	}
	out = appendCount(out, len(suites))
	out = appendCount(out, len(exts))
	out = m.appendALPN(out)

	slices.Sort(suites)
	out = append(out, '_')
	out = appendHash(out, suites, nil)

	exts = slices.DeleteFunc(exts, func(e uint16) bool { return e == extServerName || e == extALPN })
	slices.Sort(exts)
	out = append(out, '_')
	out = appendHash(out, exts, algs)
	return string(out)
}

// ja4Version is the highest version offered, in two characters.
func (m *message) ja4Version() string {
	highest := m.version
	if len(m.versions) > 0 {
		highest = 0
		for c := (cursor{b: m.versions}); !c.empty(); {
			if v := c.uint16(); !grease(v) {
				highest = max(highest, v)
			}
		}
	}
	switch highest {
	case 0x0304:
		return "13"
	case 0x0303:
		return "12"
	case 0x0302:
		return "11"
	case 0x0301:
		return "10"
	case 0x0300:
		return "s3"
	case 0x0002:
		return "s2"
	case 0xfeff:
		return "d1"
	case 0xfefd:
		return "d2"
	case 0xfefc:
		return "d3"
	}
	return "00"
}

// appendALPN appends the first and last character of the first protocol
// offered, or of its hexadecimal form if either is not a letter or a digit.
func (m *message) appendALPN(out []byte) []byte {
	c := cursor{b: m.alpn}
	first := c.vector8()
	if len(first) == 0 {
		return append(out, "00"...)
	}
	head, tail := first[0], first[len(first)-1]
	if alphanumeric(head) && alphanumeric(tail) {
		return append(out, head, tail)
	}
	const digits = "0123456789abcdef"
	return append(out, digits[head>>4], digits[tail&15])
}

// extensionTypes appends the types of the extensions to types, in order.
func (m *message) extensionTypes(types []uint16) []uint16 {
	for c := (cursor{b: m.extensions}); !c.empty(); {
		typ := c.uint16()
		c.vector16()
		if !grease(typ) {
			types = append(types, typ)
		}
	}
	return types
}

// withoutGREASE appends the two-byte values in b to values, in order.
func withoutGREASE(values []uint16, b []byte) []uint16 {
	for c := (cursor{b: b}); !c.empty(); {
		if v := c.uint16(); !grease(v) {
			values = append(values, v)
		}
	}
	return values
}

// grease reports whether v is one of the sixteen reserved values 0x0a0a,
// 0x1a1a … 0xfafa (RFC 8701, section 2).
func grease(v uint16) bool { return v&0x0f0f == 0x0a0a && v>>8 == v&0xff }

func alphanumeric(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c|0x20 && c|0x20 <= 'z'
}

// appendCount appends n in two digits, 99 being 99 or more.
func appendCount(out []byte, n int) []byte {
	n = min(n, 99)
	return append(out, '0'+byte(n/10), '0'+byte(n%10))
}

// appendHash appends the first 12 hexadecimal digits of the SHA-256 of the
// values, "1301,1302", and if there are any, "_" and the further ones. An
// empty list of values is twelve zeros.
func appendHash(out []byte, values, further []uint16) []byte {
	if len(values) == 0 {
		return append(out, "000000000000"...)
	}
	var room [1024]byte
	text := appendList(room[:0], values)
	if len(further) > 0 {
		text = append(text, '_')
		text = appendList(text, further)
	}
	sum := sha256.Sum256(text)
	return hex.AppendEncode(out, sum[:6])
}

func appendList(text []byte, values []uint16) []byte {
	for i, v := range values {
		if i > 0 {
			text = append(text, ',')
		}
		text = hex.AppendEncode(text, []byte{byte(v >> 8), byte(v)})
	}
	return text
}
