package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"regexp"
	"strings"
)

// tokenPrefix makes a token recognisable to people and to secret scanners.
const tokenPrefix = "exeat_"

// tokenLen is the length of every token: the prefix and 160 bits in base32.
const tokenLen = len(tokenPrefix) + 32

var tokenForm = regexp.MustCompile(tokenPrefix + `[A-Za-z2-7]+`)

// NewToken returns a fresh token of 160 bits from the system's random source,
// in the base32 of RFC 4648, section 6, in lower case: all of its characters
// are unreserved in URLs, so no client has to percent-encode them.
func NewToken() string {
	var secret [20]byte
	_, _ = rand.Read(secret[:]) // never fails: crypto/rand ends the process instead
	return tokenPrefix + strings.ToLower(base32.StdEncoding.EncodeToString(secret[:]))
}

// HashToken returns what is kept of a token: its SHA-256.
func HashToken(token string) [sha256.Size]byte { return sha256.Sum256([]byte(token)) }

// hashToken is HashToken for what a client sent: whatever hasn't the form of a
// token is not hashed, so that a long one costs nothing. It doesn't allocate.
func hashToken(token string) (hash [sha256.Size]byte, ok bool) {
	if len(token) != tokenLen || !strings.HasPrefix(token, tokenPrefix) {
		return hash, false
	}
	var buf [tokenLen]byte
	copy(buf[:], token)
	return sha256.Sum256(buf[:]), true
}

// RedactToken returns text with every token in it made unusable, for logs and
// for whatever else people may copy.
func RedactToken(text string) string {
	if !strings.Contains(text, tokenPrefix) {
		return text
	}
	return tokenForm.ReplaceAllString(text, tokenPrefix+"REDACTED")
}
