package proxy

import (
	"encoding/base64"
	"errors"
	"net/netip"
	"strings"

	"github.com/exeat/exeat/identity"
)

// standing is how a client stands after it showed its credential, or didn't.
type standing int

const (
	standingMissing standing = iota // it showed none: asked for one
	standingWrong
	standingThrottled // wrong, after too many wrong ones
	standingRevoked   // right, of a server that was revoked
	standingRight
)

// maxCredential bounds the decoded name:token. The longest name has 63
// characters and a token has 32.
const maxCredential = 512

// parseBasic reads the value of a Proxy-Authorization field (RFC 7617). The
// scheme is case-insensitive; name and token are exact bytes, neither
// percent-decoded nor trimmed, and neither may be empty: some clients go
// direct when the password is. basic is false for another scheme.
func parseBasic(value []byte) (name, token string, basic, ok bool) {
	const scheme = "basic "
	if len(value) < len(scheme) || !isName(value[:len(scheme)], scheme) {
		return "", "", false, false
	}
	encoded := value[len(scheme):]
	for len(encoded) > 0 && encoded[0] == ' ' {
		encoded = encoded[1:]
	}
	var buf [maxCredential]byte
	if base64.StdEncoding.DecodedLen(len(encoded)) > len(buf) {
		return "", "", true, false
	}
	n, err := base64.StdEncoding.Strict().Decode(buf[:], encoded)
	if err != nil {
		return "", "", true, false
	}
	name, token, ok = strings.Cut(string(buf[:n]), ":")
	return name, token, true, ok && name != "" && token != ""
}

// authenticate says who shows this credential. shown is false when the request
// had no Proxy-Authorization field. Wrong credentials are reported here, once.
func (p *Proxy) authenticate(value []byte, shown bool, from netip.Addr) (identity.Grant, standing) {
	name, token, basic, ok := parseBasic(value)
	if !shown || !basic {
		p.count.authMissing.Add(1)
		return identity.Grant{}, standingMissing
	}
	grant, err := identity.Grant{}, identity.ErrBadCredential
	if ok {
		grant, err = p.cfg.Identities.Authenticate(name, token, from)
	}
	switch {
	case err == nil:
		return grant, standingRight
	case errors.Is(err, identity.ErrRevoked):
		return grant, standingRevoked
	}
	claimed, _ := identity.ParseName(name)
	p.cfg.Journal.AuthFailed(claimed, from)
	p.count.authFailed.Add(1)
	if errors.Is(err, identity.ErrThrottled) {
		p.count.authThrottled.Add(1)
		return identity.Grant{}, standingThrottled
	}
	return identity.Grant{}, standingWrong
}

// local is the grant of a listener that belongs to one server and needs no
// credential.
func (p *Proxy) local(id identity.ID) (identity.Grant, standing) {
	server, ok := p.cfg.Identities.Server(id)
	switch {
	case !ok:
		return identity.Grant{}, standingWrong
	case server.Status == identity.StatusRevoked:
		return identity.Grant{Server: server}, standingRevoked
	}
	return identity.Grant{Server: server}, standingRight
}
