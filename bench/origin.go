package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"time"

	"github.com/miekg/dns"
)

// originHost is the name that is asked for. The DNS server of the origin knows
// it; .test can't exist elsewhere (RFC 6761).
const originHost = "origin.bench.test"

// blockSize is the unit of bulk transfer. The first byte of a block is 0 in
// the last block of a transfer.
const blockSize = 64 << 10

// Commands to the raw origin, one byte after the ClientHello.
const (
	cmdPing = 'P' // answers one byte, and so does every further byte
	cmdDown = 'D' // sends blocks until the client goes
	cmdUp   = 'U' // reads blocks and answers one byte after the last one
)

// startOrigin starts what is behind the proxies: the raw origin, the TLS
// origin, the HTTP origin and a DNS server that knows them.
func startOrigin() (endpoints, error) {
	cert, root, err := selfSigned()
	if err != nil {
		return endpoints{}, err
	}
	tlsConfig := &tls.Config{Certificates: []tls.Certificate{cert}, SessionTicketsDisabled: true}
	e := endpoints{Root: root}
	for _, o := range []struct {
		addr  *string
		serve func(net.Conn)
	}{
		{&e.Raw, serveRaw},
		{&e.TLS, func(c net.Conn) { echoBytes(tls.Server(c, tlsConfig)) }},
	} {
		if *o.addr, err = acceptAll(o.serve); err != nil {
			return endpoints{}, err
		}
	}
	if e.HTTP, err = startHTTP(); err != nil {
		return endpoints{}, err
	}
	e.DNS, err = startDNS()
	return e, err
}

// acceptAll serves every connection to a new listener.
func acceptAll(serve func(net.Conn)) (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				continue
			}
			go func() {
				defer c.Close()
				serve(c)
			}()
		}
	}()
	return l.Addr().String(), nil
}

// serveRaw passes over the ClientHello and does what the next byte says.
func serveRaw(c net.Conn) {
	var record [5]byte // type, version, length
	if _, err := io.ReadFull(c, record[:]); err != nil {
		return
	}
	rest := make([]byte, int(binary.BigEndian.Uint16(record[3:]))+1)
	if _, err := io.ReadFull(c, rest); err != nil {
		return
	}
	switch rest[len(rest)-1] {
	case cmdPing:
		if _, err := c.Write([]byte{cmdPing}); err == nil {
			echoBytes(c)
		}
	case cmdDown:
		sendBlocks(c)
	case cmdUp:
		if err := readBlocks(c, func(int) {}); err == nil {
			_, _ = c.Write([]byte{cmdUp}) // the client waits for it, and says so
		}
	}
}

// echoBytes answers what it reads, in a buffer that fits small messages: an
// idle connection should not cost the machine much.
func echoBytes(c net.Conn) {
	var buf [64]byte
	for {
		n, err := c.Read(buf[:])
		if err != nil {
			return
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return
		}
	}
}

func sendBlocks(c net.Conn) {
	block := make([]byte, blockSize)
	block[0] = 1
	for {
		if _, err := c.Write(block); err != nil {
			return
		}
	}
}

// readBlocks reads blocks up to the last one and reports each.
func readBlocks(c net.Conn, got func(n int)) error {
	block := make([]byte, blockSize)
	for {
		if _, err := io.ReadFull(c, block); err != nil {
			return err
		}
		got(blockSize)
		if block[0] == 0 {
			return nil
		}
	}
}

func startHTTP() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	body := []byte("a small answer\n")
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header()["Date"] = nil
		_, _ = w.Write(body)
	})
	go func() { _ = http.Serve(l, handler) }() // until the process ends
	return l.Addr().String(), nil
}

// startDNS answers A questions for originHost.
func startDNS() (string, error) {
	conn, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return "", err
	}
	record, err1 := dns.NewRR(originHost + ". 300 IN A 127.0.0.1")
	soa, err2 := dns.NewRR("bench.test. 300 IN SOA ns.bench.test. admin.bench.test. 1 3600 600 86400 300")
	if err := errors.Join(err1, err2); err != nil {
		return "", err
	}
	started := make(chan struct{})
	srv := &dns.Server{PacketConn: conn, NotifyStartedFunc: func() { close(started) }}
	srv.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		switch q0 := q.Question[0]; {
		case q0.Name != originHost+".":
			m.Rcode, m.Ns = dns.RcodeNameError, []dns.RR{soa}
		case q0.Qtype == dns.TypeA:
			m.Answer = []dns.RR{record}
		default:
			m.Ns = []dns.RR{soa}
		}
		_ = w.WriteMsg(m)
	})
	go func() { _ = srv.ActivateAndServe() }()
	<-started
	return conn.LocalAddr().String(), nil
}

// selfSigned makes a certificate for originHost.
func selfSigned() (cert tls.Certificate, der []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return cert, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: originHost},
		DNSNames:     []string{originHost},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	der, err = x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, der, err
}
