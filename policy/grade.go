package policy

import (
	"github.com/exeat/exeat/clienthello"
	"github.com/exeat/exeat/flow"
)

// GradeOf returns how firmly what a client's first bytes show ties a tunnel to
// the name that it was opened for. tls says whether they were a ClientHello at
// all; h is looked at only then.
//
// It is for tunnels: a request that the proxy itself carries to the named host
// is flow.GradeVerified without asking. A hello with ECH whose outer name is
// the name asked for is verified too: real ECH and the GREASE of browsers look
// alike. Real ECH could then still hide another name that the same front serves;
// what it is can't be seen without decrypting.
func GradeOf(d flow.Destination, h clienthello.Hello, tls bool) flow.Grade {
	if !tls {
		return flow.GradeNotTLS
	}
	if _, literal := d.Addr(); literal {
		return flow.GradeIPLiteral
	}
	sni, err := flow.ParseHost(h.ServerName)
	switch {
	case err == nil && sni == d.Host:
		return flow.GradeVerified
	case h.ECH:
		return flow.GradeHidden
	case h.ServerName == "":
		return flow.GradeNoSNI
	}
	return flow.GradeSNIDiffers
}
