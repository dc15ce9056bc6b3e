package main

import (
	"context"
	"io"
	"log"
	"net"
	"net/http"

	"github.com/elazarl/goproxy"
)

// startGoproxy starts elazarl/goproxy as a library user would, without its
// hooks and logs. Its transport may keep as many idle connections as there
// are clients: the default of two a host would only measure dialling.
func startGoproxy() (endpoints, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return endpoints{}, err
	}
	var d net.Dialer
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		return d.DialContext(ctx, network, onLoopback(addr))
	}
	proxy := goproxy.NewProxyHttpServer()
	proxy.Logger = log.New(io.Discard, "", 0)
	proxy.Tr = &http.Transport{DialContext: dial, MaxIdleConnsPerHost: 1024}
	proxy.ConnectDial = func(network, addr string) (net.Conn, error) {
		return dial(context.Background(), network, addr)
	}
	go func() { _ = http.Serve(l, proxy) }() // until the process ends
	return endpoints{Proxy: l.Addr().String()}, nil
}
