package story

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/exeat/exeat/certs"
)

// World is everything outside: DNS and the origins. Make one with NewWorld and
// end it with Close. Its methods are safe for concurrent use.
type World struct {
	authority *certs.Authority
	origin    *http.Server
	listener  net.Listener
	udp, tcp  *dns.Server
	dnsAddr   string
	done      sync.WaitGroup

	mu    sync.Mutex
	asked []string
	snis  []string
	hosts []string
}

// NewWorld starts a world on loopback ports of the system's choosing.
func NewWorld(ctx context.Context) (*World, error) {
	authority, err := certs.NewAuthority(certs.Config{Name: "Exeat demo"})
	if err != nil {
		return nil, err
	}
	w := &World{authority: authority}
	if err := w.startOrigin(ctx); err != nil {
		return nil, err
	}
	if err := w.startDNS(ctx); err != nil {
		return nil, errors.Join(err, w.listener.Close())
	}
	return w, nil
}

// names are the hosts that exist.
func names() []string {
	hosts := []string{HostCollector, HostSleeper, HostHidden, HostCatcher}
	for _, r := range Roles() {
		hosts = append(hosts, r.Home())
	}
	return hosts
}

func (w *World) startOrigin(ctx context.Context) error {
	cert, err := w.authority.Issue(names()...)
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	if w.listener, err = lc.Listen(ctx, "tcp", "127.0.0.1:0"); err != nil {
		return fmt.Errorf("the demo's origins can't listen: %w", err)
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS12,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			w.note(&w.snis, hello.ServerName)
			return &cert, nil
		},
	}
	w.origin = &http.Server{
		Handler: http.HandlerFunc(w.answer), ReadHeaderTimeout: 5 * time.Second,
		// A tunnel that is refused after the dial ends here as a failed handshake.
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
	}
	w.done.Go(func() { _ = w.origin.Serve(tls.NewListener(w.listener, config)) }) // ends by Close
	return nil
}

// answer takes what it is sent, counts it, and forgets it.
func (w *World) answer(rw http.ResponseWriter, r *http.Request) {
	n, _ := io.Copy(io.Discard, io.LimitReader(r.Body, 1<<20)) // a short count is told as it is
	host, _, _ := strings.Cut(r.Host, ":")
	w.note(&w.hosts, host)
	fmt.Fprintf(rw, "%s took %d bytes", host, n)
}

// listenBoth returns a UDP and a TCP socket on one free loopback port. The port
// that the system chose for one may be taken for the other: then it is asked
// for another.
func listenBoth(ctx context.Context) (net.PacketConn, net.Listener, error) {
	var lc net.ListenConfig
	var failed error
	for range 20 {
		packets, err := lc.ListenPacket(ctx, "udp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, err
		}
		streams, err := lc.Listen(ctx, "tcp", packets.LocalAddr().String())
		if err == nil {
			return packets, streams, nil
		}
		failed = errors.Join(err, packets.Close())
	}
	return nil, nil, failed
}

func (w *World) startDNS(ctx context.Context) error {
	packets, streams, err := listenBoth(ctx)
	if err != nil {
		return fmt.Errorf("the demo's DNS server can't listen: %w", err)
	}
	w.dnsAddr = packets.LocalAddr().String()
	handler := dns.HandlerFunc(w.resolve)
	ready := make(chan struct{}, 2)
	started := func() { ready <- struct{}{} }
	w.udp = &dns.Server{PacketConn: packets, Handler: handler, NotifyStartedFunc: started}
	w.tcp = &dns.Server{Listener: streams, Handler: handler, NotifyStartedFunc: started}
	w.done.Go(func() { _ = w.udp.ActivateAndServe() }) // ends by Close
	w.done.Go(func() { _ = w.tcp.ActivateAndServe() })
	<-ready
	<-ready
	return nil
}

func (w *World) resolve(rw dns.ResponseWriter, query *dns.Msg) {
	reply := new(dns.Msg).SetReply(query)
	q := query.Question[0]
	name := strings.ToLower(strings.TrimSuffix(q.Name, "."))
	w.note(&w.asked, name)
	switch {
	case !slices.Contains(names(), name):
		reply.Rcode = dns.RcodeNameError
	case q.Qtype == dns.TypeA:
		reply.Answer = []dns.RR{&dns.A{
			Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 60},
			A:   net.IPv4(127, 0, 0, 1),
		}}
	}
	_ = rw.WriteMsg(reply) // a client that left asks again
}

func (w *World) note(list *[]string, s string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	*list = append(*list, s)
}

// DNS is the address of the world's DNS server.
func (w *World) DNS() string { return w.dnsAddr }

// Port is the port of every origin.
func (w *World) Port() uint16 { return netip.MustParseAddrPort(w.listener.Addr().String()).Port() }

// Authority is who signed the origins' certificates.
func (w *World) Authority() *certs.Authority { return w.authority }

// Asked reports whether anybody asked the DNS server for host.
func (w *World) Asked(host string) bool { return w.has(&w.asked, host) }

// Greeted reports whether an origin saw host as the SNI of a connection.
func (w *World) Greeted(host string) bool { return w.has(&w.snis, host) }

// Reached reports whether a request for host arrived.
func (w *World) Reached(host string) bool { return w.has(&w.hosts, host) }

func (w *World) has(list *[]string, s string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Contains(*list, s)
}

// Close ends the world and waits for it.
func (w *World) Close() error {
	err := errors.Join(w.origin.Close(), w.udp.Shutdown(), w.tcp.Shutdown())
	w.done.Wait()
	return err
}
