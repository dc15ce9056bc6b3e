package identity

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// ownerForm is what an owner may be: a user name or an address of mail. It has
// no "/", which separates owner and name in a reference.
var ownerForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@+-]{0,127}$`)

// errBadOwner says what an owner looks like.
var errBadOwner = errors.New("an owner is up to 128 of letters, digits, '.', '_', '@', '+' and '-', starting with a letter or a digit")

// Ref returns how people refer to s: "owner/name", or "name" if it has no owner.
func (s Server) Ref() string { return ref(s.Owner, s.Name) }

func ref(owner string, name Name) string {
	if owner == "" {
		return string(name)
	}
	return owner + "/" + string(name)
}

// Coverage returns what can honestly be claimed of s after flows connections of
// it: a server that we never launched may go past us unseen, so nothing is
// claimed of it, whatever came through.
func (s Server) Coverage(flows int64) Coverage {
	switch {
	case s.Launched.IsZero():
		return CoverageBlind
	case flows == 0:
		return CoverageSilent
	default:
		return CoverageCovered
	}
}

// Find returns the server that ref means: "owner/name", or "name" alone if
// that means one server. A server without an owner is always meant by its bare
// name. A former name means its server where no server has that name now. The
// error is ErrUnknownServer or ErrAmbiguous.
func (r *Registry) Find(ref string) (Server, error) {
	s, err := r.find(ref, func(s *Server, name string) bool { return string(s.Name) == name })
	if errors.Is(err, ErrUnknownServer) {
		s, err = r.find(ref, (*Server).goesBy)
	}
	return s, err
}

// find is Find among the servers that are called a name in one sense.
func (r *Registry) find(ref string, called func(*Server, string) bool) (Server, error) {
	owner, name, owned := strings.Cut(ref, "/")
	if !owned {
		owner, name = "", ref
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	var found []Server
	for _, a := range r.accounts {
		switch {
		case !called(&a.server, name):
		case a.server.Owner == owner:
			return a.server.clone(), nil
		case !owned:
			found = append(found, a.server)
		}
	}
	switch len(found) {
	case 0:
		return Server{}, fmt.Errorf("%w: %q", ErrUnknownServer, ref)
	case 1:
		return found[0].clone(), nil
	}
	return Server{}, fmt.Errorf("%w: %q", ErrAmbiguous, ref)
}
