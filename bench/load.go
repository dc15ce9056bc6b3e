package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// load is what every measurement is told.
type load struct {
	target   target
	workers  int
	duration time.Duration
}

// rate runs op in all workers for the load's duration and returns how often a
// second it succeeded. An error ends the measurement: a proxy under test has
// no reason to fail.
func (l load) rate(ctx context.Context, op func(ctx context.Context) error) (count int64, perSecond float64, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var done atomic.Int64
	var wg sync.WaitGroup
	start := time.Now()
	for range l.workers {
		wg.Go(func() {
			for time.Since(start) < l.duration && ctx.Err() == nil {
				if err := op(ctx); err != nil {
					cancel(err)
					return
				}
				done.Add(1)
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(start)
	return done.Load(), float64(done.Load()) / elapsed.Seconds(), context.Cause(ctx)
}

// setup measures how many tunnels a second are opened, used once and closed.
func (l load) setup(ctx context.Context, open func(context.Context) (net.Conn, error)) (int64, float64, error) {
	return l.rate(ctx, func(ctx context.Context) error {
		c, err := open(ctx)
		if err != nil {
			return err
		}
		return c.Close()
	})
}

// down measures the bytes a second that arrive through n tunnels.
func (l load) down(ctx context.Context, n int) (float64, error) {
	return l.bulk(ctx, n, cmdDown, func(c net.Conn, end time.Time, moved func(int)) error {
		buf := make([]byte, blockSize)
		for time.Now().Before(end) {
			m, err := c.Read(buf)
			if err != nil {
				return err
			}
			moved(m)
		}
		return nil
	})
}

// up measures the bytes a second that leave through n tunnels, until the
// origin has them all.
func (l load) up(ctx context.Context, n int) (float64, error) {
	return l.bulk(ctx, n, cmdUp, func(c net.Conn, end time.Time, moved func(int)) error {
		block := make([]byte, blockSize)
		block[0] = 1
		for block[0] == 1 {
			if !time.Now().Before(end) {
				block[0] = 0
			}
			if _, err := c.Write(block); err != nil {
				return err
			}
			moved(len(block))
		}
		_, err := io.ReadFull(c, block[:1])
		return err
	})
}

// bulk opens n tunnels, moves bytes through all of them and returns bytes a
// second.
func (l load) bulk(ctx context.Context, n int, command byte, move func(c net.Conn, end time.Time, moved func(int)) error) (float64, error) {
	conns, err := openMany(n, 1, func() (net.Conn, error) { return l.target.open(ctx, command) })
	defer closeAll(conns)
	if err != nil {
		return 0, err
	}
	var total atomic.Int64
	errs := make(chan error, n)
	start := time.Now()
	for _, c := range conns {
		c.SetDeadline(start.Add(l.duration + patience))
		go func() { errs <- move(c, start.Add(l.duration), func(m int) { total.Add(int64(m)) }) }()
	}
	for range conns {
		if e := <-errs; e != nil {
			err = e
		}
	}
	return float64(total.Load()) / time.Since(start).Seconds(), err
}

// roundTrip measures the median time that a small message and its echo take on
// one open tunnel.
func (l load) roundTrip(ctx context.Context) (time.Duration, error) {
	c, err := l.target.openIdle(ctx)
	if err != nil {
		return 0, err
	}
	defer c.Close()
	var times []time.Duration
	var message [32]byte
	c.SetDeadline(time.Now().Add(l.duration + patience))
	for start := time.Now(); time.Since(start) < l.duration; {
		sent := time.Now()
		if _, err := c.Write(message[:]); err != nil {
			return 0, err
		}
		if _, err := io.ReadFull(c, message[:]); err != nil {
			return 0, err
		}
		times = append(times, time.Since(sent))
	}
	slices.Sort(times)
	return times[len(times)/2], nil
}

// requests measures plain HTTP requests a second on kept connections.
func (l load) requests(ctx context.Context) (float64, error) {
	clients := make(chan *httpClient, l.workers)
	conns, err := openMany(l.workers, 1, func() (net.Conn, error) {
		c, err := (&net.Dialer{Timeout: patience}).DialContext(ctx, "tcp", l.target.proxy)
		if err == nil {
			clients <- newHTTPClient(c, l.target)
		}
		return c, err
	})
	defer closeAll(conns)
	if err != nil {
		return 0, err
	}
	_, perSecond, err := l.rate(ctx, func(context.Context) error {
		c := <-clients
		defer func() { clients <- c }()
		return c.get()
	})
	return perSecond, err
}

// httpClient asks a proxy over one connection.
type httpClient struct {
	conn    net.Conn
	answers *bufio.Reader
	request []byte
}

func newHTTPClient(c net.Conn, t target) *httpClient {
	host := originHost + ":" + t.ports.http
	return &httpClient{conn: c, answers: bufio.NewReader(c), request: []byte("GET http://" + host + "/ HTTP/1.1\r\nHost: " + host + "\r\n" + t.auth + "\r\n")}
}

func (c *httpClient) get() error {
	c.conn.SetDeadline(time.Now().Add(patience))
	if _, err := c.conn.Write(c.request); err != nil {
		return err
	}
	resp, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("the proxy says %s", resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}

// openMany opens n connections, some at the same time. It returns those that
// it opened also with an error.
func openMany(n, atOnce int, open func() (net.Conn, error)) ([]net.Conn, error) {
	type result struct {
		conn net.Conn
		err  error
	}
	results := make(chan result, n)
	var next atomic.Int64
	var failed atomic.Bool
	var wg sync.WaitGroup
	for range atOnce {
		wg.Go(func() {
			for next.Add(1) <= int64(n) && !failed.Load() {
				c, err := open()
				if err != nil {
					failed.Store(true)
				}
				results <- result{c, err}
			}
		})
	}
	wg.Wait()
	close(results)
	var conns []net.Conn
	var fault error
	for r := range results {
		if r.err != nil {
			fault = r.err
			continue
		}
		conns = append(conns, r.conn)
	}
	return conns, fault
}

func closeAll(conns []net.Conn) {
	for _, c := range conns {
		c.Close()
	}
}
