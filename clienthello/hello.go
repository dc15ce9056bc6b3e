// Package clienthello reads the first bytes of a connection as a TLS
// ClientHello (RFC 8446, section 4.1.2) and says what it shows of where the
// client believes to be going: server name, ALPN, the JA4 fingerprint, and
// whether encrypted_client_hello is there (RFC 9849).
//
// It is pure: bytes in, Hello out, no I/O and no clock. The bytes are hostile,
// and what matters most is that the origin can't read another name in them
// than we do. So wherever two TLS stacks might disagree, the hello is refused:
// two extensions of one type, two names, a name that is an address, a hello
// that is interleaved with other records or followed by something in its last
// one. What no known client sends is no loss.
//
// A hello comes in any number of TCP segments and TLS records. A reader calls
// Parse with all bytes so far, and for as long as that is ErrIncomplete reads
// on until it has Needed bytes:
//
//	for {
//		hello, err := clienthello.Parse(buf[:n])
//		if !errors.Is(err, clienthello.ErrIncomplete) {
//			return hello, err
//		}
//		m, err := io.ReadAtLeast(conn, buf[n:], clienthello.Needed(buf[:n])-n)
//		n += m
//		if err != nil {
//			return clienthello.Hello{}, err
//		}
//	}
//
// with a buf of MaxSize bytes, which Needed never exceeds.
package clienthello

// MaxSize is how long a ClientHello may be, record headers included, before it
// is refused.
const MaxSize = 64 << 10

// Hello is what a ClientHello shows. It holds no reference to the input.
type Hello struct {
	// ServerName is the one host_name of server_name (RFC 6066, section 3) in
	// the canonical form of flow.ParseHost: ASCII lower-cased, one trailing dot
	// removed. It is never an address. Empty when there is none.
	ServerName string
	// ALPN lists the protocols offered, in order, as sent: bytes, not text.
	ALPN []string
	// JA4 is the JA4 TLS client fingerprint, GREASE left out everywhere,
	// signature algorithms included. Transport is always TCP ("t").
	JA4 string
	// ECH says that encrypted_client_hello (0xfe0d) is there, real or GREASE:
	// the two look alike.
	ECH bool
}
