//go:build !linux

package main

import (
	"context"
	"net"
	"os"

	"github.com/exeat/exeat/web"
)

// withPeer takes the peer to be this user: the socket's file mode lets nobody
// else in. Which process it is isn't known here, so that a launched server
// can't be told apart: see docs/threat-model.md.
func withPeer(ctx context.Context, _ net.Conn) context.Context {
	return web.WithPeer(ctx, web.Peer{UID: uint32(os.Getuid())})
}
