package identity

import (
	"fmt"
	"slices"
)

// maxFormer bounds the former names of one server.
const maxFormer = 100

// goesBy reports whether name is the name of s or was.
func (s *Server) goesBy(name string) bool {
	return string(s.Name) == name || slices.Contains(s.Formerly, Name(name))
}

// rename gives s another name and keeps the one it had, and returns that.
func (s *Server) rename(name Name) (was Name, err error) {
	was = s.Name
	if name == was {
		return was, errUnchanged
	}
	former := slices.DeleteFunc(slices.Clone(s.Formerly), func(n Name) bool { return n == name })
	if len(former) >= maxFormer {
		return was, fmt.Errorf("a server keeps at most %d former names", maxFormer)
	}
	s.Name, s.Formerly = name, append(former, was)
	return was, nil
}

// free returns ErrExists if a server other than self has that owner and name,
// or had it.
func (r *Registry) free(owner string, name Name, self ID) error {
	id, ok := r.lookup(owner, name)
	if !ok || id == self {
		return nil
	}
	if s, ok := r.Server(id); ok && s.Name != name {
		return fmt.Errorf("%w: %s is the former name of %s", ErrExists, ref(owner, name), s.Ref())
	}
	return fmt.Errorf("%w: %s", ErrExists, ref(owner, name))
}

// lookup returns the server that has that owner and name, or had it.
func (r *Registry) lookup(owner string, name Name) (ID, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for id, a := range r.accounts {
		if a.server.Owner == owner && a.server.goesBy(string(name)) {
			return id, true
		}
	}
	return ID{}, false
}
