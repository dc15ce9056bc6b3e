package identity

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// sessionLife is how long a credential is good that Enrol issues for one more
// launch of a server that exists already. A process that lives longer has to
// be started again: it keeps its open tunnels and gets no new ones.
const sessionLife = 30 * 24 * time.Hour

// maxSessions bounds the credentials with an end that one server has at a
// time. One more retires the one that ends first.
const maxSessions = 1000

// NewServer describes a server to Add or Enrol.
type NewServer struct {
	Name  Name
	Owner string // empty on a laptop
	Mode  Mode   // empty: ModeLearn
	// Command, Package and Version are as in Server; empty when unknown.
	Command          []string
	Package, Version string
	// LearnFor is how long the learning window is; 0: it has no end.
	LearnFor time.Duration
}

// Launch is what exeat run knows about a server that it starts. Empty fields
// leave what is known.
type Launch struct {
	Command          []string
	Package, Version string
}

// step is what one change does beside editing the server: what the audit
// trail says of it, and which credentials are new or different.
type step struct {
	action, detail string
	put            []Credential
}

// Add makes a server with its first credential, which never expires, and
// returns the token: it can't be had again. The error is ErrExists if its owner
// has a server of that name, or one that had it before it was renamed.
func (r *Registry) Add(ctx context.Context, n NewServer, actor string) (Server, string, error) {
	if err := r.lock(ctx); err != nil {
		return Server{}, "", err
	}
	defer r.unlock()
	return r.add(ctx, n, actor)
}

// add is Add with the writer's lock held.
func (r *Registry) add(ctx context.Context, n NewServer, actor string) (Server, string, error) {
	if err := n.check(); err != nil {
		return Server{}, "", err
	}
	if err := r.free(n.Owner, n.Name, ID{}); err != nil {
		return Server{}, "", err
	}
	now := r.time()
	s := Server{
		ID: uuid.Must(uuid.NewV7()), Name: n.Name, Owner: n.Owner, Mode: n.Mode, Status: StatusActive,
		Command: slices.Clone(n.Command), Package: n.Package, Version: n.Version, Created: now,
	}
	if s.Mode == "" {
		s.Mode = ModeLearn
	}
	if n.LearnFor > 0 {
		s.LearnUntil = now.Add(n.LearnFor)
	}
	token, cred := issue(s.ID, now, 0)
	a := &account{server: s, creds: []Credential{cred}}
	err := r.commit(ctx, a, step{action: "server.add", detail: "mode " + string(s.Mode), put: a.creds}, actor, now)
	if err != nil {
		return Server{}, "", err
	}
	return s.clone(), token, nil
}

// check says what is wrong with n.
func (n *NewServer) check() error {
	if _, err := ParseName(string(n.Name)); err != nil {
		return err
	}
	if n.Owner != "" && !ownerForm.MatchString(n.Owner) {
		return errBadOwner
	}
	if n.Mode == "" {
		return nil
	}
	_, err := ParseMode(string(n.Mode))
	return err
}

// Enrol returns the server of that owner and name, which may be a former name
// of it, with a token for one more launch of it. A server that isn't there is added, and its token never
// expires; one that is there keeps its mode and all its credentials, and the
// token is good for 30 days. The error is ErrRevoked for a revoked server:
// starting it again must not bring it back.
func (r *Registry) Enrol(ctx context.Context, n NewServer, actor string) (s Server, token string, created bool, err error) {
	if err := r.lock(ctx); err != nil {
		return Server{}, "", false, err
	}
	defer r.unlock()
	id, ok := r.lookup(n.Owner, n.Name)
	if !ok {
		s, token, err = r.add(ctx, n, actor)
		return s, token, err == nil, err
	}
	s, err = r.edit(ctx, id, actor, func(a *account, now time.Time) (step, error) {
		if a.server.Status == StatusRevoked {
			return step{}, ErrRevoked
		}
		var cred Credential
		token, cred = issue(id, now, sessionLife)
		put := append(retireSessions(a, now), cred)
		a.creds = append(a.creds, cred)
		return step{action: "server.enrol", detail: "a credential for 30 days", put: put}, nil
	})
	if err != nil {
		return Server{}, "", false, err
	}
	return s, token, false, nil
}

// retireSessions ends sessions of a until there is room for one more, those
// first that end first, and returns them.
func retireSessions(a *account, now time.Time) []Credential {
	var sessions []*Credential
	for i := range a.creds {
		if c := &a.creds[i]; !c.Expires.IsZero() && !c.expired(now) {
			sessions = append(sessions, c)
		}
	}
	slices.SortFunc(sessions, func(a, b *Credential) int { return a.Expires.Compare(b.Expires) })
	var retired []Credential
	for len(sessions) >= maxSessions {
		sessions[0].Expires = now
		retired = append(retired, *sessions[0])
		sessions = sessions[1:]
	}
	return retired
}

// SetMode changes a server's mode.
func (r *Registry) SetMode(ctx context.Context, id ID, mode Mode, actor string) error {
	if _, err := ParseMode(string(mode)); err != nil {
		return err
	}
	return r.update(ctx, id, actor, func(a *account, _ time.Time) (step, error) {
		was := a.server.Mode
		a.server.Mode = mode
		return step{action: "server.mode", detail: fmt.Sprintf("%s, was %s", mode, was)}, nil
	})
}

// Rename gives a server another name. Its ID, baseline and credentials stay,
// and the old name goes on to mean it, in a proxy URL as in a client's
// configuration: were it free, the next launch by it would start again in mode
// learn with an empty baseline. Only Remove frees it. A former name of the
// server's own may be taken back. The error is ErrExists if another server of
// its owner has or had that name.
func (r *Registry) Rename(ctx context.Context, id ID, name Name, actor string) error {
	if _, err := ParseName(string(name)); err != nil {
		return err
	}
	return r.update(ctx, id, actor, func(a *account, _ time.Time) (step, error) {
		if err := r.free(a.server.Owner, name, id); err != nil {
			return step{}, err
		}
		was, err := a.server.rename(name)
		if err != nil {
			return step{}, err
		}
		return step{action: "server.rename", detail: "was " + string(was)}, nil
	})
}

// Rotate issues a new credential that never expires and returns its token. The
// old ones are good for overlap longer, at most, and Sweep reports their end;
// with an overlap of 0 they are revoked at once. Either way their open tunnels
// are cut then. The error is ErrRevoked for a
// revoked server.
func (r *Registry) Rotate(ctx context.Context, id ID, overlap time.Duration, actor string) (token string, err error) {
	var cut []uuid.UUID
	err = r.update(ctx, id, actor, func(a *account, now time.Time) (step, error) {
		if a.server.Status == StatusRevoked {
			return step{}, ErrRevoked
		}
		st := step{action: "server.rotate", detail: "old credentials end after " + overlap.String()}
		if overlap > 0 {
			st.put = expire(a.creds, now.Add(overlap))
		} else {
			st.detail = "old credentials end at once"
			st.put = revoke(a.creds, now)
		}
		for i := range st.put {
			if overlap <= 0 {
				cut = append(cut, st.put[i].ID)
			}
		}
		var cred Credential
		token, cred = issue(id, now, 0)
		a.creds = append(a.creds, cred)
		st.put = append(st.put, cred)
		return st, nil
	})
	if err != nil {
		return "", err
	}
	for _, cred := range cut {
		r.revoked(id, cred)
	}
	return token, nil
}

// expire ends creds at the given time unless they end sooner, and returns
// those that it changed.
func expire(creds []Credential, at time.Time) []Credential {
	var changed []Credential
	for i := range creds {
		if c := &creds[i]; c.Revoked.IsZero() && (c.Expires.IsZero() || c.Expires.After(at)) {
			c.Expires = at
			changed = append(changed, *c)
		}
	}
	return changed
}

// revoke withdraws creds and returns those that weren't yet.
func revoke(creds []Credential, at time.Time) []Credential {
	var changed []Credential
	for i := range creds {
		if c := &creds[i]; c.Revoked.IsZero() {
			c.Revoked = at
			changed = append(changed, *c)
		}
	}
	return changed
}

// Revoke withdraws a server and all its credentials for good. It stays known,
// so that its name can't be enrolled again by starting it; Remove frees it.
// Revoking a revoked server does nothing.
func (r *Registry) Revoke(ctx context.Context, id ID, actor string) error {
	err := r.update(ctx, id, actor, func(a *account, now time.Time) (step, error) {
		if a.server.Status == StatusRevoked {
			return step{}, errUnchanged
		}
		a.server.Status = StatusRevoked
		return step{action: "server.revoke", detail: "the server and all its credentials", put: revoke(a.creds, now)}, nil
	})
	if err == nil {
		r.revoked(id, uuid.Nil)
	}
	return err
}

// RevokeCredential withdraws one credential. The error is ErrBadCredential if
// there is none of that ID.
func (r *Registry) RevokeCredential(ctx context.Context, cred uuid.UUID, actor string) error {
	id, ok := r.holder(cred)
	if !ok {
		return ErrBadCredential
	}
	err := r.update(ctx, id, actor, func(a *account, now time.Time) (step, error) {
		i := slices.IndexFunc(a.creds, func(c Credential) bool { return c.ID == cred })
		if i < 0 {
			return step{}, ErrBadCredential
		}
		put := revoke(a.creds[i:i+1], now)
		if put == nil {
			return step{}, errUnchanged
		}
		return step{action: "credential.revoke", detail: cred.String(), put: put}, nil
	})
	if err == nil {
		r.revoked(id, cred)
	}
	return err
}

// SetListen gives a server a listener of its own on a loopback address with a
// port, or takes it away with "". It only records the address: whoever runs the
// listeners acts on it.
func (r *Registry) SetListen(ctx context.Context, id ID, addr, actor string) error {
	if err := checkListen(addr); err != nil {
		return err
	}
	return r.update(ctx, id, actor, func(a *account, _ time.Time) (step, error) {
		if other, ok := r.listener(addr); ok && other != id {
			return step{}, fmt.Errorf("%s is the listener of another server", addr)
		}
		a.server.Listen = addr
		detail := "none"
		if addr != "" {
			detail = addr
		}
		return step{action: "server.listen", detail: detail}, nil
	})
}

// checkListen refuses what is not loopback: the listener asks for no
// credentials, so it must not be reachable from elsewhere.
func checkListen(addr string) error {
	if addr == "" {
		return nil
	}
	ap, err := netip.ParseAddrPort(addr)
	if err != nil || !ap.Addr().IsLoopback() || ap.Addr().Is4In6() || ap.Port() == 0 {
		return fmt.Errorf("%q is not a loopback address with a port, such as 127.0.0.1:7190", addr)
	}
	return nil
}

// Launched records that exeat run starts a server now, and with what. The
// audit trail names the package and never the arguments: they may hold secrets.
func (r *Registry) Launched(ctx context.Context, id ID, l Launch, actor string) error {
	return r.update(ctx, id, actor, func(a *account, now time.Time) (step, error) {
		s := &a.server
		detail := l.describe()
		if len(l.Command) > 0 {
			if len(s.Command) > 0 && !slices.Equal(s.Command, l.Command) {
				detail += ", the command is not the one of the last launch"
			}
			s.Command = slices.Clone(l.Command)
		}
		if l.Package != "" {
			s.Package, s.Version = l.Package, l.Version
		}
		s.Launched = now
		return step{action: "server.launch", detail: detail}, nil
	})
}

// describe says what is launched without its arguments.
func (l *Launch) describe() string {
	switch {
	case l.Package != "" && l.Version != "":
		return l.Package + "@" + l.Version
	case l.Package != "":
		return l.Package
	case len(l.Command) > 0:
		return l.Command[0][strings.LastIndexAny(l.Command[0], `/\`)+1:]
	}
	return "an unknown command"
}

// Remove forgets a server, its credentials and its baseline. Its flows and
// alerts stay under the name it had. Its open tunnels are cut.
func (r *Registry) Remove(ctx context.Context, id ID, actor string) error {
	if err := r.remove(ctx, id, actor); err != nil {
		return err
	}
	r.revoked(id, uuid.Nil)
	return nil
}

func (r *Registry) remove(ctx context.Context, id ID, actor string) error {
	if err := r.lock(ctx); err != nil {
		return err
	}
	defer r.unlock()
	s, ok := r.Server(id)
	if !ok {
		return ErrUnknownServer
	}
	c := Change{At: r.time(), Actor: actor, Action: "server.remove", Server: id, Name: s.Name, Detail: s.Ref()}
	if err := r.store.RemoveServer(context.WithoutCancel(ctx), id, c); err != nil {
		return fmt.Errorf("remove server %s: %w", s.Ref(), err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.drop(id)
	r.forgetEndings(id)
	return nil
}

// errUnchanged, returned by the function given to edit, means that there is
// nothing to do.
var errUnchanged = errors.New("nothing to change")

// update is edit with the writer's lock taken, for a change whose result the
// caller knows.
func (r *Registry) update(ctx context.Context, id ID, actor string, change func(*account, time.Time) (step, error)) error {
	if err := r.lock(ctx); err != nil {
		return err
	}
	defer r.unlock()
	_, err := r.edit(ctx, id, actor, change)
	return err
}

// edit applies change to a copy of a server's account, writes it to the store
// and then puts it in force. The caller has the writer's lock.
func (r *Registry) edit(ctx context.Context, id ID, actor string, change func(*account, time.Time) (step, error)) (Server, error) {
	r.mu.RLock()
	old, ok := r.accounts[id]
	r.mu.RUnlock()
	if !ok {
		return Server{}, ErrUnknownServer
	}
	a := &account{server: old.server.clone(), creds: slices.Clone(old.creds)}
	now := r.time()
	st, err := change(a, now)
	if errors.Is(err, errUnchanged) {
		return a.server, nil
	}
	if err != nil {
		return Server{}, err
	}
	if err := r.commit(ctx, a, st, actor, now); err != nil {
		return Server{}, err
	}
	return a.server.clone(), nil
}

// commit writes a to the store and then puts it in force. A write that has
// begun is not cancelled with ctx: whether it became durable would be unknown.
func (r *Registry) commit(ctx context.Context, a *account, st step, actor string, now time.Time) error {
	c := Change{At: now, Actor: actor, Action: st.action, Server: a.server.ID, Name: a.server.Name, Detail: st.detail}
	if err := r.store.PutServer(context.WithoutCancel(ctx), a.server.clone(), st.put, c); err != nil {
		return fmt.Errorf("%s %s: %w", st.action, a.server.Ref(), err)
	}
	r.swap(a, now)
	return nil
}

// issue makes a credential that is good for life, or for ever if life is 0.
func issue(id ID, now time.Time, life time.Duration) (token string, cred Credential) {
	token = NewToken()
	cred = Credential{ID: uuid.Must(uuid.NewV7()), Server: id, Hash: HashToken(token), Created: now}
	if life > 0 {
		cred.Expires = now.Add(life)
	}
	return token, cred
}

// lock waits until the caller is the one writer.
func (r *Registry) lock(ctx context.Context) error {
	select {
	case r.writer <- struct{}{}:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (r *Registry) unlock() { <-r.writer }

// time returns now as it is stored: UTC, without a monotonic part.
func (r *Registry) time() time.Time { return r.now().UTC().Round(0) }

// listener returns the server that listens on addr.
func (r *Registry) listener(addr string) (ID, bool) {
	if addr == "" {
		return ID{}, false
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	for id, a := range r.accounts {
		if a.server.Listen == addr {
			return id, true
		}
	}
	return ID{}, false
}

// holder returns the server that a credential belongs to.
func (r *Registry) holder(cred uuid.UUID) (ID, bool) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	for id, a := range r.accounts {
		if slices.ContainsFunc(a.creds, func(c Credential) bool { return c.ID == cred }) {
			return id, true
		}
	}
	return ID{}, false
}
