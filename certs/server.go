package certs

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// LoadServer reads the files of the proxy's TLS listener: its certificate chain
// and key in PEM, and if clientCA is not empty, the authorities of which every
// client must show a certificate. TLS 1.2 is the least, with Go's choice of
// cipher suites; the protocol inside is HTTP/1.1, since a CONNECT tunnel is a
// connection of its own.
//
// The files are read once: a renewed certificate is taken up at the next start.
func LoadServer(cert, key, clientCA string) (*tls.Config, error) {
	if cert == "" || key == "" {
		return nil, errors.New("a TLS listener needs both a certificate and a key file")
	}
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("the certificate %s with the key %s: %w", cert, key, err)
	}
	config := &tls.Config{
		MinVersion:   tls.VersionTLS12,
		Certificates: []tls.Certificate{pair},
		NextProtos:   []string{"http/1.1"},
	}
	if clientCA == "" {
		return config, nil
	}
	if config.ClientCAs, err = loadPool(clientCA); err != nil {
		return nil, err
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	return config, nil
}

func loadPool(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("the client authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(text) {
		return nil, fmt.Errorf("the client authorities: %s holds no certificate in PEM", file)
	}
	return pool, nil
}
