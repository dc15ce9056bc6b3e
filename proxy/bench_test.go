package proxy_test

import (
	"bufio"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/proxy"
	"github.com/exeat/exeat/proxy/proxytest"
	"github.com/exeat/exeat/resolve"
)

// The benchmarks compare the proxy with the smallest relay that can exist, in
// the same run: absolute times of one machine mean little.

// bareRelay accepts, reads the CONNECT, dials, answers 200 and copies.
func bareRelay(b *testing.B, origin netip.AddrPort) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go bareTunnel(conn.(*net.TCPConn), origin)
		}
	}()
	return ln.Addr().String()
}

func bareTunnel(client *net.TCPConn, origin netip.AddrPort) {
	defer client.Close()
	buf, n := make([]byte, 4096), 0
	for !strings.Contains(string(buf[:n]), "\r\n\r\n") {
		m, err := client.Read(buf[n:])
		if err != nil {
			return
		}
		n += m
	}
	conn, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(origin))
	if err != nil {
		return
	}
	defer conn.Close()
	io.WriteString(client, "HTTP/1.1 200 OK\r\n\r\n")
	go func() {
		io.Copy(conn, client)
		conn.CloseWrite()
	}()
	io.Copy(client, conn)
	client.CloseWrite()
}

// quiet is a journal that keeps nothing.
type quiet struct{}

func (quiet) Admit(context.Context) error                         { return nil }
func (quiet) Alarm(context.Context, flow.Flow, flow.Reason) error { return nil }
func (quiet) Opened(flow.Flow)                                    {}
func (quiet) Closed(flow.Flow)                                    {}
func (quiet) Resolved(identity.ID, resolve.Answer)                {}
func (quiet) AuthFailed(identity.Name, netip.Addr)                {}

// eachRelay runs f against the bare relay and against the proxy. It is given
// the relay's address, a CONNECT head, and a hello.
func eachRelay(b *testing.B, origin *proxytest.Origin, f func(b *testing.B, addr, head string, hello []byte)) {
	hello := proxytest.Hello(b, "api.test")
	target := "api.test:" + origin.Port()
	b.Run("bare", func(b *testing.B) {
		f(b, bareRelay(b, origin.Addr), proxytest.Head(target, "calendar", identity.NewToken()), hello)
	})
	b.Run("exeat", func(b *testing.B) {
		h := proxytest.New(b)
		server, token := h.Server(b, "calendar", identity.ModeBlock)
		h.Resolver.Add("api.test", "127.0.0.1")
		h.Approve(b, server, target)
		_, addr := h.Start(b, func(c *proxy.Config) {
			c.Journal = quiet{}
			c.Resolver = remembered{answer: mustAnswer(h.Resolver)}
			c.Logger = slog.New(slog.DiscardHandler)
			c.Limits.TunnelsPerServer = -1
		})
		f(b, addr, proxytest.Head(target, "calendar", token), hello)
	})
}

func mustAnswer(r *proxytest.Resolver) resolve.Answer {
	a, err := r.Resolve(context.Background(), "api.test")
	if err != nil {
		panic(err)
	}
	return a
}

// remembered is a resolver with one answer.
type remembered struct{ answer resolve.Answer }

func (r remembered) Resolve(context.Context, string) (resolve.Answer, error) { return r.answer, nil }

// open makes a tunnel and sends the hello through it and back.
func open(addr, head string, hello, buf []byte) (*net.TCPConn, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	io.WriteString(conn, head)
	n := 0
	for n < 4 || string(buf[n-4:n]) != "\r\n\r\n" {
		m, err := conn.Read(buf[n:])
		if err != nil {
			conn.Close()
			return nil, err
		}
		n += m
	}
	conn.Write(hello)
	if _, err := io.ReadFull(conn, buf[:len(hello)]); err != nil {
		conn.Close()
		return nil, err
	}
	return conn.(*net.TCPConn), nil
}

// reportCPU reports the processor time of the whole process, client and origin
// included: on a shared machine it is steadier than the time that passes.
func reportCPU(b *testing.B) func() {
	used := func() int64 {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Error(err)
		}
		return u.Utime.Nano() + u.Stime.Nano()
	}
	before := used()
	return func() { b.ReportMetric(float64(used()-before)/float64(b.N)/1000, "cpu-µs/op") }
}

// BenchmarkTunnel opens a tunnel, sends a hello through it, and closes it.
func BenchmarkTunnel(b *testing.B) {
	eachRelay(b, echoOrigin(b), func(b *testing.B, addr, head string, hello []byte) {
		b.ReportAllocs()
		defer reportCPU(b)()
		b.SetParallelism(8)
		b.RunParallel(func(pb *testing.PB) {
			buf := make([]byte, 8192)
			for pb.Next() {
				conn, err := open(addr, head, hello, buf)
				if err != nil {
					b.Error(err)
					return
				}
				conn.SetLinger(0) // leaves no TIME_WAIT, of which ports run out
				conn.Close()
			}
		})
	})
}

// echoOrigin is an origin without the counting of proxytest.
func echoOrigin(b *testing.B) *proxytest.Origin {
	return proxytest.NewOrigin(b, func(c net.Conn) {
		buf := make([]byte, 8192)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			c.Write(buf[:n])
		}
	})
}

// BenchmarkRoundTrip sends a small message through an open tunnel and back.
func BenchmarkRoundTrip(b *testing.B) {
	eachRelay(b, echoOrigin(b), func(b *testing.B, addr, head string, hello []byte) {
		buf := make([]byte, 8192)
		conn, err := open(addr, head, hello, buf)
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		defer reportCPU(b)()
		for b.Loop() {
			conn.Write(buf[:100])
			if _, err := io.ReadFull(conn, buf[:100]); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkBulk downloads through 1 and 8 tunnels.
func BenchmarkBulk(b *testing.B) {
	block := make([]byte, 1<<20)
	origin := proxytest.NewOrigin(b, func(c net.Conn) {
		buf := make([]byte, 8192)
		n, _ := io.ReadAtLeast(c, buf, 1)
		for n < 1400 {
			m, err := c.Read(buf[n:])
			if err != nil {
				return
			}
			n += m
		}
		c.Write(buf[:n])
		for {
			if _, err := c.Write(block); err != nil {
				return
			}
		}
	})
	for _, tunnels := range []int{1, 8} {
		b.Run(strconv.Itoa(tunnels), func(b *testing.B) {
			eachRelay(b, origin, func(b *testing.B, addr, head string, hello []byte) {
				b.SetBytes(1 << 20)
				defer reportCPU(b)()
				b.ResetTimer()
				download(b, tunnels, func() (*net.TCPConn, error) { return open(addr, head, hello, make([]byte, 8192)) })
			})
		})
	}
}

// download reads b.N megabytes, shared out between tunnels.
func download(b *testing.B, tunnels int, open func() (*net.TCPConn, error)) {
	var wg sync.WaitGroup
	var left atomic.Int64
	left.Store(int64(b.N))
	for range tunnels {
		wg.Go(func() {
			conn, err := open()
			if err != nil {
				b.Error(err)
				return
			}
			defer conn.Close()
			for buf := make([]byte, 1<<20); left.Add(-1) >= 0; {
				if _, err := io.ReadFull(conn, buf); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkPlain sends small plain requests over kept connections, beside the
// same requests sent to the origin directly.
func BenchmarkPlain(b *testing.B) {
	origin := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") })}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- origin.Serve(ln) }()
	b.Cleanup(func() {
		origin.Close()
		if err := <-served; err != nil {
			b.Log(err) // that it was closed
		}
	})
	_, port, _ := net.SplitHostPort(ln.Addr().String())
	h := proxytest.New(b)
	server, token := h.Server(b, "calendar", identity.ModeBlock)
	h.Resolver.Add("api.test", "127.0.0.1")
	h.Approve(b, server, "api.test:"+port)
	_, addr := h.Start(b, func(c *proxy.Config) {
		c.Journal = quiet{}
		c.Logger = slog.New(slog.DiscardHandler)
	})
	request := "GET http://api.test:" + port + "/ HTTP/1.1\r\nHost: api.test\r\nProxy-Authorization: " + proxytest.Basic("calendar", token) + "\r\n\r\n"
	for _, test := range []struct{ name, addr string }{{"direct", ln.Addr().String()}, {"exeat", addr}} {
		b.Run(test.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetParallelism(8)
			b.RunParallel(func(pb *testing.PB) {
				conn, err := net.Dial("tcp", test.addr)
				if err != nil {
					b.Error(err)
					return
				}
				defer conn.Close()
				r := bufio.NewReader(conn)
				for pb.Next() {
					io.WriteString(conn, request)
					res, err := http.ReadResponse(r, nil)
					if err != nil || res.StatusCode != 200 {
						b.Errorf("%v, %v", res, err)
						return
					}
					io.Copy(io.Discard, res.Body)
				}
			})
		})
	}
}

// TestIdleCost prints what an idle tunnel costs, and fails if it holds more
// than its two descriptors.
func TestIdleCost(t *testing.T) {
	if raceEnabled || testing.Short() {
		t.Skip("measures memory")
	}
	const tunnels = 1000
	s := newScene(t, identity.ModeLearn, func(c *proxy.Config) {
		c.Limits.TunnelsPerServer = -1
		c.Journal = quiet{}
	})
	origin := proxytest.NewOrigin(t, func(c net.Conn) {
		buf := make([]byte, 2048)
		for {
			n, err := c.Read(buf)
			if err != nil {
				return
			}
			c.Write(buf[:n])
		}
	})
	head := proxytest.Head("api.test:"+origin.Port(), "calendar", s.token)
	hello := proxytest.Hello(t, "api.test")
	direct, _ := idleCost(t, tunnels, func() (net.Conn, error) {
		conn, err := net.DialTCP("tcp", nil, net.TCPAddrFromAddrPort(origin.Addr))
		if err == nil {
			conn.Write(hello)
			_, err = io.ReadFull(conn, make([]byte, len(hello)))
		}
		return conn, err
	})
	buf := make([]byte, 8192)
	bytes, held := idleCost(t, tunnels, func() (net.Conn, error) { return open(s.addr, head, hello, buf) })
	t.Logf("%d bytes a tunnel (%d with client and origin); %.2f descriptors", bytes-direct, bytes, held-2)
	if held > 4.01 {
		t.Errorf("an idle tunnel holds %.2f descriptors", held-2)
	}
}

// idleCost makes n connections and returns what each costs this process.
func idleCost(t *testing.T, n int, dial func() (net.Conn, error)) (bytes int64, fds float64) {
	t.Helper()
	conns := make([]net.Conn, 0, n)
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	before, held := inUse(), descriptors(t)
	for range n {
		conn, err := dial()
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	return (inUse() - before) / int64(n), float64(descriptors(t)-held) / float64(n)
}

func inUse() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapInuse + m.StackInuse)
}

func descriptors(t *testing.T) int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Skip("no /proc")
	}
	return len(entries)
}
