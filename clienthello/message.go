package clienthello

import (
	"slices"

	"github.com/exeat/exeat/flow"
)

// Extensions that are looked into.
const (
	extServerName          = 0
	extSignatureAlgorithms = 13
	extALPN                = 16
	extSupportedVersions   = 43
	extECH                 = 0xfe0d
)

// message is a ClientHello taken apart. Its slices point into the input.
type message struct {
	version    uint16 // legacy_version
	suites     []byte // cipher_suites, two bytes each
	extensions []byte // all of them; checked to hold whole extensions only

	named    bool   // server_name is there
	name     []byte // its host_name
	alpn     []byte // ProtocolNameList; checked
	versions []byte // supported_versions, two bytes each
	sigAlgs  []byte // signature_algorithms, two bytes each
	ech      bool
}

// parse reads the body of a ClientHello (RFC 8446, section 4.1.2).
func (m *message) parse(body []byte) error {
	c := cursor{b: body}
	m.version = c.uint16()
	c.bytes(32) // random
	session := c.vector8()
	m.suites = c.vector16()
	compression := c.vector8()
	if !c.empty() {
		m.extensions = c.vector16()
	}
	switch {
	case !c.done():
		return malformed("lengths do not add up")
	case len(session) > 32:
		return malformed("the session id is longer than 32 bytes")
	case !pairs(m.suites):
		return malformed("no list of cipher suites")
	case len(compression) == 0:
		return malformed("no compression method")
	}
	return m.parseExtensions()
}

func (m *message) parseExtensions() error {
	var room [64]uint16
	types := room[:0]
	for c := (cursor{b: m.extensions}); !c.empty(); {
		typ, data := c.uint16(), c.vector16()
		if c.bad {
			return malformed("lengths of extensions do not add up")
		}
		types = append(types, typ)
		if err := m.parseExtension(typ, cursor{b: data}); err != nil {
			return err
		}
	}
	// Which of two extensions counts is up to the server (RFC 8446, section
	// 4.2 forbids it): two readers of one hello.
	slices.Sort(types)
	for i := 1; i < len(types); i++ {
		if types[i] == types[i-1] {
			return malformed("two extensions of one type")
		}
	}
	return nil
}

func (m *message) parseExtension(typ uint16, c cursor) error {
	switch typ {
	case extServerName:
		return m.parseServerName(c)
	case extALPN:
		return m.parseALPN(c)
	case extSupportedVersions:
		m.versions = c.vector8()
		if !c.done() || !pairs(m.versions) {
			return malformed("supported_versions")
		}
	case extSignatureAlgorithms:
		m.sigAlgs = c.vector16()
		if !c.done() || !pairs(m.sigAlgs) {
			return malformed("signature_algorithms")
		}
	case extECH:
		m.ech = true
	}
	return nil
}

// parseServerName reads server_name (RFC 6066, section 3). The list may hold
// one host_name and there is no other type of name; OpenSSL and BoringSSL take
// nothing else either.
func (m *message) parseServerName(c cursor) error {
	list := cursor{b: c.vector16()}
	typ := list.uint8()
	m.named, m.name = true, list.vector16()
	if !c.done() || !list.done() || typ != 0 || len(m.name) == 0 {
		return malformed("server_name does not hold exactly one host name")
	}
	return nil
}

// parseALPN checks application_layer_protocol_negotiation (RFC 7301, section
// 3.1).
func (m *message) parseALPN(c cursor) error {
	m.alpn = c.vector16()
	list := cursor{b: m.alpn}
	for !list.empty() {
		if len(list.vector8()) == 0 {
			list.bad = true
			break
		}
	}
	if !c.done() || list.bad || len(m.alpn) == 0 {
		return malformed("ALPN")
	}
	return nil
}

// hostName returns the canonical server name. RFC 6066 wants a DNS name and
// forbids addresses. What flow.ParseHost would refuse in a CONNECT could never
// be the same place as an allowed destination.
func (m *message) hostName() (string, error) {
	if !m.named {
		return "", nil
	}
	host, err := flow.ParseHost(string(m.name))
	if err != nil {
		return "", malformed("the server name is not a DNS name")
	}
	if _, isAddr := (flow.Destination{Host: host}).Addr(); isAddr {
		return "", malformed("the server name is an address")
	}
	return host, nil
}

// protocols returns the ALPN protocols as strings.
func (m *message) protocols() []string {
	n := 0
	for list := (cursor{b: m.alpn}); !list.empty(); n++ {
		list.vector8()
	}
	if n == 0 {
		return nil
	}
	protocols := make([]string, 0, n)
	for list := (cursor{b: m.alpn}); !list.empty(); {
		protocols = append(protocols, protocol(list.vector8()))
	}
	return protocols
}

// protocol is string(b), without the allocation for what nearly every client
// offers.
func protocol(b []byte) string {
	switch string(b) {
	case "h2":
		return "h2"
	case "http/1.1":
		return "http/1.1"
	}
	return string(b)
}

// pairs reports whether b is a list of one or more two-byte values.
func pairs(b []byte) bool { return len(b) > 0 && len(b)%2 == 0 }
