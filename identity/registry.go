package identity

import (
	"context"
	"crypto/subtle"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
)

// Config is what NewRegistry needs.
type Config struct {
	// Store keeps the servers and credentials. It must not be nil.
	Store Store
	// Now tells the time. Nil: time.Now.
	Now func() time.Time
	// Revoked is called after a revocation is durable and in force, and by
	// Sweep, so that open tunnels can be cut: with the credential, or with the zero UUID for
	// all of the server. It is called without any lock held and may call the
	// Registry. Nil: nobody is told.
	Revoked func(server ID, cred uuid.UUID)
}

// Registry is the one live copy of the servers and their credentials. Reading
// it never waits for a disk; changing it is one writer at a time, first to the
// Store and then in memory, so that what a change returned survives a crash.
// It is safe for concurrent use.
type Registry struct {
	store    Store
	now      func() time.Time
	revoked  func(ID, uuid.UUID)
	writer   chan struct{} // holds one token: who has it may change the registry
	failures atomic.Int64
	throttle *throttle

	mu       sync.RWMutex // guards the maps; held only for an instant
	accounts map[ID]*account
	tokens   map[[32]byte]pass
	endings  map[uuid.UUID]ending // by credential; see Sweep
}

// account is a server with its credentials, oldest first. Once it is in the
// Registry, it is never written to: a change replaces it.
type account struct {
	server Server
	creds  []Credential
}

// pass is where the hash of a token leads.
type pass struct {
	account *account
	cred    int // in account.creds
}

// NewRegistry loads everything that the store has.
func NewRegistry(ctx context.Context, c Config) (*Registry, error) {
	r := &Registry{
		store:    c.Store,
		now:      c.Now,
		revoked:  c.Revoked,
		writer:   make(chan struct{}, 1),
		throttle: newThrottle(),
		accounts: make(map[ID]*account),
		tokens:   make(map[[32]byte]pass),
		endings:  make(map[uuid.UUID]ending),
	}
	if r.now == nil {
		r.now = time.Now
	}
	if r.revoked == nil {
		r.revoked = func(ID, uuid.UUID) {}
	}
	servers, creds, err := c.Store.Identities(ctx)
	if err != nil {
		return nil, fmt.Errorf("load servers and credentials: %w", err)
	}
	for _, s := range servers {
		r.accounts[s.ID] = &account{server: s.clone()}
	}
	for _, cred := range creds {
		if a := r.accounts[cred.Server]; a != nil {
			a.creds = append(a.creds, cred)
		}
	}
	now := r.now()
	for _, a := range r.accounts {
		r.swap(a, now)
	}
	return r, nil
}

// Authenticate returns what name and token prove. name must be a
// name that the token's server has or had. The error is ErrBadCredential for whatever is
// wrong, ErrThrottled instead if from has failed too often (a right token is
// never throttled), or ErrRevoked, with the grant, if the token is right and
// its server was revoked. It does no I/O and does not allocate.
func (r *Registry) Authenticate(name, token string, from netip.Addr) (Grant, error) {
	now := r.now()
	hash, ok := hashToken(token)
	if !ok {
		return Grant{}, r.fail(from, now)
	}
	r.mu.RLock()
	p, ok := r.tokens[hash]
	r.mu.RUnlock()
	if !ok {
		return Grant{}, r.fail(from, now)
	}
	s, cred := &p.account.server, &p.account.creds[p.cred]
	if subtle.ConstantTimeCompare(cred.Hash[:], hash[:]) != 1 || !s.goesBy(name) || cred.expired(now) {
		return Grant{}, r.fail(from, now)
	}
	grant := Grant{Server: *s, Credential: cred.ID}
	if s.Status == StatusRevoked {
		return grant, ErrRevoked
	}
	if !cred.Revoked.IsZero() {
		return Grant{}, r.fail(from, now)
	}
	return grant, nil
}

func (r *Registry) fail(from netip.Addr, now time.Time) error {
	r.failures.Add(1)
	if r.throttle.fail(from, now) {
		return ErrThrottled
	}
	return ErrBadCredential
}

// Failures returns how many attempts to authenticate have failed since the
// start, throttled ones included.
func (r *Registry) Failures() int64 { return r.failures.Load() }

// Server returns the live server of an ID and whether there is one.
func (r *Registry) Server(id ID) (Server, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	a, ok := r.accounts[id]
	if !ok {
		return Server{}, false
	}
	return a.server.clone(), true
}

// Servers returns all servers, revoked ones included, by name and then owner.
func (r *Registry) Servers() []Server {
	r.mu.RLock()
	all := make([]Server, 0, len(r.accounts))
	for _, a := range r.accounts {
		all = append(all, a.server.clone())
	}
	r.mu.RUnlock()
	slices.SortFunc(all, func(a, b Server) int {
		if c := strings.Compare(string(a.Name), string(b.Name)); c != 0 {
			return c
		}
		return strings.Compare(a.Owner, b.Owner)
	})
	return all
}

// Credentials returns the credentials of a server, oldest first, revoked ones
// included; expired ones are gone.
func (r *Registry) Credentials(id ID) []Credential {
	now := r.now()
	r.mu.RLock()
	defer r.mu.RUnlock()
	a, ok := r.accounts[id]
	if !ok {
		return nil
	}
	return live(slices.Clone(a.creds), now)
}

// swap puts a in the place of the account that it replaces, without the
// credentials that have expired. The caller is the one writer, or NewRegistry.
func (r *Registry) swap(a *account, now time.Time) {
	a.creds = live(a.creds, now)
	slices.SortStableFunc(a.creds, func(a, b Credential) int { return a.Created.Compare(b.Created) })
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(a.server.ID)
	r.accounts[a.server.ID] = a
	r.noteEndings(a)
	for i := range a.creds {
		r.tokens[a.creds[i].Hash] = pass{account: a, cred: i}
	}
}

// drop takes a server and its tokens out of the maps. mu must be held.
func (r *Registry) drop(id ID) {
	old, ok := r.accounts[id]
	if !ok {
		return
	}
	for i := range old.creds {
		delete(r.tokens, old.creds[i].Hash)
	}
	delete(r.accounts, id)
}

// live returns creds without those that have expired, in place.
func live(creds []Credential, now time.Time) []Credential {
	return slices.DeleteFunc(creds, func(c Credential) bool { return c.expired(now) })
}

func (c *Credential) expired(now time.Time) bool {
	return !c.Expires.IsZero() && !now.Before(c.Expires)
}

// clone returns a copy of s that shares nothing with it.
func (s Server) clone() Server {
	s.Command, s.Formerly = slices.Clone(s.Command), slices.Clone(s.Formerly)
	return s
}
