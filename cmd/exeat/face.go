package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/record"
	"github.com/exeat/exeat/resolve"
	"github.com/exeat/exeat/store"
	"github.com/exeat/exeat/web"
)

// openWeb makes the dashboard and the API.
func (d *daemon) openWeb(context.Context) error {
	public, err := url.Parse(d.publicURL())
	if err != nil {
		return fmt.Errorf("web.public_url: %w", err)
	}
	proxyURL, err := url.Parse(d.proxyURL())
	if err != nil {
		return err
	}
	info := d.geo.Info()
	made, err := time.Parse(time.DateOnly, info.Date)
	if err != nil {
		made = time.Time{} // the user's own file may not say
	}
	d.web, err = web.New(web.Config{
		Servers: servers{d.registry, d.book, d.memory}, Baselines: d.book, Store: current{d.store, d.journal}, Sessions: d.store,
		Journal: d.journal, Events: d.journal.Hub(), Listeners: d, Risky: d.risky,
		ProxyURL: proxyURL, PublicURL: public, Hosts: d.hosts(),
		Inside: d.launched.inside, AnyInside: d.launched.any, SelfAccess: d.selfAccess,
		Launched: d.hasLaunched,
		LearnFor: time.Duration(d.cfg.Learn.Window), Version: version(),
		Listen: map[string]string{
			"proxy": d.proxyListener.Addr().String(), "web": d.webListener.Addr().String(),
			"socket": d.cfg.socketPath(),
		},
		Geo:      web.GeoInfo{Source: info.Source, Date: made, Attribution: info.Attribution, AttributionURL: info.AttributionURL},
		Counters: d.counters, Logger: d.log,
	})
	return err
}

// current is the store for readers who expect to see what just happened: flows
// are written up to 100 ms late otherwise.
type current struct {
	*store.DB
	journal *record.Journal
}

func (c current) Flows(ctx context.Context, q store.FlowQuery) (store.Page[flow.Flow], error) {
	if err := c.journal.Sync(ctx); err != nil {
		return store.Page[flow.Flow]{}, err
	}
	return c.DB.Flows(ctx, q)
}

// servers is the registry, with what other rooms remember of a removed server
// forgotten too. The store drops its baseline in the same transaction.
type servers struct {
	*identity.Registry
	book   *baseline.Book
	memory *resolve.Memory
}

func (s servers) Remove(ctx context.Context, id identity.ID, actor string) error {
	if err := s.Registry.Remove(ctx, id, actor); err != nil {
		return err
	}
	s.book.Forget(id)
	s.memory.Forget(id)
	return nil
}

// publicURL is where people find the dashboard.
func (d *daemon) publicURL() string {
	if u := d.cfg.Web.PublicURL; u != "" {
		return u
	}
	return "http://" + reachable(d.webListener.Addr())
}

// hosts are the further Host headers that the dashboard answers to.
func (d *daemon) hosts() []string {
	ap := reachable(d.webListener.Addr())
	_, port, err := net.SplitHostPort(ap)
	if err != nil {
		return nil
	}
	return []string{ap, "localhost:" + port, "127.0.0.1:" + port, "[::1]:" + port}
}

// hasLaunched remembers below which process a server runs.
func (d *daemon) hasLaunched(id identity.ID, pid int) {
	if err := d.launched.add(id, pid); err != nil {
		d.log.Error("the list of launched servers could not be written: after a restart this one could pass for a person", "err", err)
	}
}

// selfAccess raises the alert about a launched server that came to the
// dashboard's socket to decide about itself.
func (d *daemon) selfAccess(ctx context.Context, p web.Peer) {
	id, ok, err := d.launched.owner(p.PID)
	if !ok {
		d.log.Warn("a process was turned away: it can't be told whether it runs inside a launched server", "pid", p.PID, "err", err)
		return
	}
	s, ok := d.registry.Server(id)
	if !ok {
		return
	}
	f := flow.Flow{
		ServerID: s.ID, Server: s.Name, Owner: s.Owner, Mode: s.Mode,
		Host: "exeat.sock", Verdict: flow.Refused, Reason: flow.ReasonSelfAccess,
	}
	if f.ID, _ = uuid.NewV7(); d.journal.Alarm(ctx, f, flow.ReasonSelfAccess) != nil {
		d.log.Error("a launched server called the command line's socket", "server", s.Name, "pid", p.PID)
	}
}
