// Package identity says who is asking: MCP servers as identities, the
// credentials by which they prove themselves, and the registry that holds both
// live in memory.
//
// A server is known by a stable ID; its name may change without changing what
// it is. A credential is a random token of 160 bits that only ever travels in
// the proxy URL; what is kept of it is its SHA-256. The registry is the one
// live copy: it writes every change to its Store first and serves it from
// memory after, so that a decision that was acknowledged survives a crash and
// authentication never waits for a disk.
//
// identity is the lowest room of the house: it imports nothing of it.
package identity

import (
	"fmt"
	"regexp"
	"time"

	"github.com/google/uuid"
)

// ID is the stable identity of a server, a UUID of version 7 (RFC 9562). It
// survives renaming, so that a baseline can't be laundered by a new name or by
// the old one. The
// zero value belongs to no server.
type ID = uuid.UUID

// Name is what people and the proxy URL call a server. It is one to 63
// characters of [a-z0-9._-] and starts with a letter or a digit; every
// character is unreserved in URLs (RFC 3986, section 2.3), since clients
// differ in how they percent-decode user names. The empty Name means unknown.
type Name string

var nameForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,62}$`)

// ParseName returns s as a Name, or an error that says what a name looks like.
// It never repairs: "GitHub" is refused and not lowered.
func ParseName(s string) (Name, error) {
	if !nameForm.MatchString(s) {
		return "", fmt.Errorf("%q is not a server name: use 1 to 63 of a-z, 0-9, '.', '_' and '-', starting with a letter or a digit", s)
	}
	return Name(s), nil
}

// Mode says what happens to a connection outside the baseline.
type Mode string

// The modes, from the most permissive to the strictest.
const (
	// ModeLearn lets everything through and collects candidates.
	ModeLearn Mode = "learn"
	// ModeAlert lets everything through and raises an alert.
	ModeAlert Mode = "alert"
	// ModeBlock refuses what the baseline doesn't hold.
	ModeBlock Mode = "block"
)

// ParseMode returns s as a Mode.
func ParseMode(s string) (Mode, error) {
	switch m := Mode(s); m {
	case ModeLearn, ModeAlert, ModeBlock:
		return m, nil
	case "ask":
		return "", fmt.Errorf("mode ask is not in this version: use learn, alert or block")
	}
	return "", fmt.Errorf("%q is not a mode: use learn, alert or block", s)
}

// Status says whether a server may use the proxy at all.
type Status string

// The states of a server.
const (
	StatusActive  Status = "active"
	StatusRevoked Status = "revoked"
)

// Coverage is what can honestly be claimed to be seen of a server's traffic.
type Coverage string

// The coverage states, best first.
const (
	// CoverageSealed: nothing can leave but through the proxy.
	CoverageSealed Coverage = "sealed"
	// CoverageCovered: launched by us, and all traffic seen so far came through us.
	CoverageCovered Coverage = "covered"
	// CoverageSilent: launched by us, no traffic yet.
	CoverageSilent Coverage = "silent"
	// CoverageBypassing: direct connections were seen.
	CoverageBypassing Coverage = "bypassing"
	// CoverageBlind: not launched by us; what goes past us can't be known.
	CoverageBlind Coverage = "blind"
)

// Server is an MCP server as an identity. A Server is a value: the copies that
// Registry hands out are the caller's own.
type Server struct {
	ID   ID
	Name Name
	// Formerly are the names that it had before it was renamed, in order. They
	// go on to mean it. Empty when it never was.
	Formerly []Name
	Owner    string // the person it belongs to in a team; empty on a laptop
	Mode     Mode
	// Status is StatusActive or StatusRevoked.
	Status Status
	// Command is the launch command as last given to exeat run; empty when
	// the server was never launched by us.
	Command []string
	// Package and Version are what the launch command names, as far as it
	// does: "@scope/name" and "1.2.3". Empty when unknown.
	Package, Version string
	Created          time.Time
	// LearnUntil ends the learning window. Passing it changes nothing but what
	// is shown: approval always takes a person.
	LearnUntil time.Time
	// Launched is when exeat run last started it; zero when never.
	Launched time.Time
	// Listen is the loopback address of a listener of its own that needs no
	// credentials, "127.0.0.1:PORT"; empty when it has none.
	Listen string
}

// Credential is one way for a server to prove itself. The token itself is
// never kept.
type Credential struct {
	ID     uuid.UUID
	Server ID
	// Hash is the SHA-256 of the token. The token has 160 random bits, so
	// neither salt nor a slow hash would add anything.
	Hash    [32]byte
	Created time.Time
	// Expires ends it: a rotated credential overlaps its successor for a
	// while. Zero means never.
	Expires time.Time
	// Revoked is when it was withdrawn; zero when it wasn't.
	Revoked time.Time
}

// Change is the audit record of one decision: who did what to whom, and when.
// It is stored in the same transaction as what it describes.
type Change struct {
	At time.Time `json:"at"`
	// Actor is who decided: "cli:UID", "web:SESSION", "run:UID" or "system".
	Actor string `json:"actor"`
	// Action is a stable word such as "server.add" or "baseline.approve".
	Action string `json:"action"`
	Server ID     `json:"server_id"`
	Name   Name   `json:"server"`
	// Detail says what exactly, for people. It never holds a secret.
	Detail string `json:"detail"`
}
