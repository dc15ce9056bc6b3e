//go:build !linux

package proxy

import "syscall"

// pipes are for splice(2), which only Linux has.
type pipes struct{}

func (*pipes) close() {}

// bareReader is for Linux as well.
type bareReader struct{}

// copy carries the direction's bytes until src ends (nil) or something fails.
func (t *stream) copy() error { return t.copyPlain() }

// setKeepAlive does nothing: only on Linux is it known that a listener's
// options are inherited.
func setKeepAlive(syscall.RawConn) error { return nil }
