// Package certs makes and loads the certificates of Exeat's own TLS: a small
// certificate authority for origins on loopback (the demo and the tests), and
// the configuration of the proxy's TLS listener.
//
// Nothing here ever signs for somebody else's host on the way through:
// Exeat doesn't decrypt what it lets through. An authority lives in memory and
// dies with the process; its key is never written anywhere.
package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/exeat/exeat/flow"
)

// Config is what NewAuthority needs. Its zero value is valid.
type Config struct {
	// Name is what the authority calls itself. Empty: "Exeat local authority".
	Name string
	// Lifetime is how long certificates are valid, the authority's own
	// included. Zero: 30 days.
	Lifetime time.Duration
	// Now tells the time. Nil: time.Now.
	Now func() time.Time
}

// backdate is how far before now certificates become valid, for clients whose
// clock is behind.
const backdate = time.Hour

// Authority signs certificates with an ECDSA P-256 key of its own, which every
// TLS client in use accepts. It is safe for concurrent use.
type Authority struct {
	name     string
	lifetime time.Duration
	now      func() time.Time
	key      *ecdsa.PrivateKey
	cert     *x509.Certificate
}

// NewAuthority makes an authority with a fresh key.
func NewAuthority(c Config) (*Authority, error) {
	a := &Authority{name: c.Name, lifetime: c.Lifetime, now: c.Now}
	if a.name == "" {
		a.name = "Exeat local authority"
	}
	if a.lifetime == 0 {
		a.lifetime = 30 * 24 * time.Hour
	}
	if a.now == nil {
		a.now = time.Now
	}
	template := a.template()
	template.Subject = pkix.Name{CommonName: a.name}
	template.IsCA = true
	template.BasicConstraintsValid = true
	template.MaxPathLenZero = true // it signs leaves, no further authorities
	template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	made, err := a.sign(template)
	if err != nil {
		return nil, fmt.Errorf("making a certificate authority: %w", err)
	}
	a.cert = made.Leaf
	a.key = made.PrivateKey.(*ecdsa.PrivateKey)
	return a, nil
}

// Issue returns a server certificate for hosts: DNS names, of which the first
// label may be "*", and IP addresses. There must be at least one.
func (a *Authority) Issue(hosts ...string) (tls.Certificate, error) {
	if len(hosts) == 0 {
		return tls.Certificate{}, errors.New("a server certificate needs a host")
	}
	template := a.template()
	template.Subject = pkix.Name{Organization: []string{a.name}}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	for _, host := range hosts {
		if err := addHost(template, host); err != nil {
			return tls.Certificate{}, err
		}
	}
	return a.sign(template)
}

// IssueClient returns a client certificate whose common name is name.
func (a *Authority) IssueClient(name string) (tls.Certificate, error) {
	template := a.template()
	template.Subject = pkix.Name{Organization: []string{a.name}, CommonName: name}
	template.KeyUsage = x509.KeyUsageDigitalSignature
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return a.sign(template)
}

// Pool returns a new pool that trusts the authority and nobody else.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// PEM returns the authority's certificate, without its key, as programs want
// it in NODE_EXTRA_CA_CERTS or SSL_CERT_FILE.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

func (a *Authority) template() *x509.Certificate {
	now := a.now()
	return &x509.Certificate{NotBefore: now.Add(-backdate), NotAfter: now.Add(a.lifetime)}
}

// sign makes a key and a certificate for it, signed by the authority, or by
// itself while there is no authority yet. The serial number is random (RFC
// 5280, section 4.1.2.2; x509 chooses it).
func (a *Authority) sign(template *x509.Certificate) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	parent, parentKey := a.cert, a.key
	if parent == nil {
		parent, parentKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		return tls.Certificate{}, err
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return tls.Certificate{}, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, nil
}

// addHost adds host to the names that the certificate stands for.
func addHost(template *x509.Certificate, host string) error {
	bare, wild := strings.CutPrefix(host, "*.")
	canonical, err := flow.ParseHost(bare)
	if err != nil {
		return fmt.Errorf("no certificate for %q: %w", host, err)
	}
	addr, err := netip.ParseAddr(canonical)
	switch {
	case err != nil && wild:
		template.DNSNames = append(template.DNSNames, "*."+canonical)
	case err != nil:
		template.DNSNames = append(template.DNSNames, canonical)
	case wild:
		return fmt.Errorf("no certificate for %q: an address has no sub-domains", host)
	default:
		template.IPAddresses = append(template.IPAddresses, net.IP(addr.AsSlice()))
	}
	return nil
}
