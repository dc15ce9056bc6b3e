package main

import (
	"context"
	"net"

	"golang.org/x/sys/unix"

	"github.com/exeat/exeat/web"
)

// withPeer notes who is at the other end of a Unix socket, as the kernel knows
// it (SO_PEERCRED).
func withPeer(ctx context.Context, conn net.Conn) context.Context {
	sock, ok := conn.(*net.UnixConn)
	if !ok {
		return ctx
	}
	raw, err := sock.SyscallConn()
	if err != nil {
		return ctx
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err != nil || credErr != nil {
		return ctx
	}
	return web.WithPeer(ctx, web.Peer{UID: cred.Uid, PID: int(cred.Pid)})
}
