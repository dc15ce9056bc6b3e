// Package clienthello reads the first bytes of a connection as a TLS
// ClientHello (RFC 8446, section 4.1.2) and says what it shows of where the
// client believes to be going: server name, ALPN, the JA4 fingerprint, and
// whether encrypted_client_hello is there (RFC 9849).
//
// It is pure: bytes in, Hello out, no I/O and no clock. The bytes are hostile.
package clienthello

// MaxSize is how long a ClientHello may be, record headers included, before it
// is refused.
const MaxSize = 64 << 10

// Hello is what a ClientHello shows. It holds no reference to the input.
type Hello struct {
	// ServerName is the one host_name of server_name (RFC 6066, section 3),
	// ASCII lower-cased, one trailing dot removed, otherwise as sent; empty
	// when there is none.
	ServerName string
	// ALPN lists the protocols offered, in order, as sent.
	ALPN []string
	// JA4 is the JA4 TLS client fingerprint, GREASE left out everywhere,
	// signature algorithms included. Transport is always TCP ("t").
	JA4 string
	// ECH says that encrypted_client_hello (0xfe0d) is there, real or GREASE:
	// the two look alike.
	ECH bool
}
