package main

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
)

// startRelay starts the reference: the smallest Go relay that can exist. It
// accepts, reads the CONNECT, dials, answers 200 and copies between two
// *net.TCPConn, so that the kernel splices. It knows nobody, resolves nothing,
// looks at nothing and writes nothing down.
func startRelay() (endpoints, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return endpoints{}, err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				continue // out of descriptors: the client sees it
			}
			go relay(c.(*net.TCPConn))
		}
	}()
	return endpoints{Proxy: l.Addr().String()}, nil
}

func relay(client *net.TCPConn) {
	defer func() { _ = client.Close() }()
	var head [4096]byte
	n, err := readHead(client, head[:])
	if err != nil {
		return
	}
	fields := strings.Fields(string(head[:n]))
	if len(fields) < 2 || fields[0] != "CONNECT" {
		return
	}
	conn, err := new(net.Dialer).DialContext(context.Background(), "tcp", onLoopback(fields[1]))
	if err != nil {
		return
	}
	origin := conn.(*net.TCPConn)
	defer func() { _ = origin.Close() }()
	if _, err := client.Write([]byte("HTTP/1.1 200 OK\r\n\r\n")); err != nil {
		return
	}
	done := make(chan struct{})
	go func() {
		_, _ = io.Copy(origin, client)
		_ = origin.CloseWrite()
		close(done)
	}()
	_, _ = io.Copy(client, origin)
	_ = client.CloseWrite()
	<-done
}

// readHead reads a request head; the benchmark's clients wait for the answer
// before they send more.
func readHead(r io.Reader, buf []byte) (int, error) {
	n := 0
	for !bytes.HasSuffix(buf[:n], []byte("\r\n\r\n")) {
		if n == len(buf) {
			return 0, errors.New("the head is too long")
		}
		m, err := r.Read(buf[n:])
		if err != nil {
			return 0, err
		}
		n += m
	}
	return n, nil
}

// onLoopback replaces the origin's name by its address: the proxies that we
// are compared with are spared the DNS.
func onLoopback(hostport string) string {
	if port, ok := strings.CutPrefix(hostport, originHost+":"); ok {
		return "127.0.0.1:" + port
	}
	return hostport
}
