package main

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/proxy"
)

// ownListeners are the listeners of servers whose clients can't send
// credentials, one a server. The zero value is ready to use.
type ownListeners struct {
	mu  sync.Mutex // held while one is opened: two at once would make two
	all map[identity.ID]net.Listener
}

// Open makes a loopback listener for one server that needs no credentials, or
// returns the one that it has. It implements web.Listeners.
func (d *daemon) Open(ctx context.Context, id identity.ID) (string, error) {
	s, ok := d.registry.Server(id)
	switch {
	case !ok:
		return "", identity.ErrUnknownServer
	case s.Status != identity.StatusActive:
		return "", identity.ErrRevoked
	}
	addr, err := d.openOwn(id, "127.0.0.1:0")
	if err != nil || addr == s.Listen {
		return addr, err
	}
	return addr, d.registry.SetListen(ctx, id, addr, "system")
}

// openOwn listens on addr for a server, unless it has a listener already.
func (d *daemon) openOwn(id identity.ID, addr string) (string, error) {
	d.own.mu.Lock()
	defer d.own.mu.Unlock()
	if ln, ok := d.own.all[id]; ok {
		return ln.Addr().String(), nil
	}
	ln, err := proxy.Listen(d.ctx, addr)
	if err != nil {
		return "", err
	}
	if d.own.all == nil {
		d.own.all = make(map[identity.ID]net.Listener)
	}
	d.own.all[id] = ln
	d.ports.add(portOf(ln))
	d.refreshGuard()
	d.group.Go(func() error {
		if err := d.proxy.ServeAs(d.ctx, ln, id); err != nil && !errors.Is(err, net.ErrClosed) {
			d.log.Error("a server's own listener stopped", "addr", ln.Addr(), "err", err)
		}
		return nil
	})
	return ln.Addr().String(), nil
}

// cut ends what was revoked: open tunnels and, with a whole server, its own
// listener.
func (d *daemon) cut(server identity.ID, credential uuid.UUID) {
	if d.proxy == nil {
		return // still starting
	}
	if credential == uuid.Nil {
		d.closeOwn(server)
	}
	d.proxy.Cut(server, credential)
}

func (d *daemon) closeOwn(id identity.ID) {
	d.own.mu.Lock()
	defer d.own.mu.Unlock()
	if ln, ok := d.own.all[id]; ok {
		delete(d.own.all, id)
		if err := ln.Close(); err != nil {
			d.log.Debug("closing a server's own listener", "err", err)
		}
	}
}

// ownPorts are the ports that Exeat listens on.
type ownPorts struct {
	mu    sync.Mutex
	ports []uint16
}

func (p *ownPorts) add(ports ...uint16) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ports = append(p.ports, ports...)
}

func (p *ownPorts) list() []uint16 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.ports)
}
