package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
)

// squidConfig makes squid a plain forwarder: no cache, no logs, no
// authentication, and it knows the origin by a hosts file.
const squidConfig = `http_port %[1]s
hosts_file %[2]s/hosts
http_access allow all
cache deny all
cache_mem 8 MB
access_log none
cache_log %[2]s/cache.log
cache_store_log none
pid_filename none
coredump_dir %[2]s
max_filedescriptors 20000
shutdown_lifetime 0 seconds
via off
forwarded_for delete
`

// startSquid starts squid where it is installed.
func startSquid(ctx context.Context, _ endpoints, t target) (*subject, error) {
	path, err := installed("squid")
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "exeat-bench-squid-")
	if err != nil {
		return nil, err
	}
	s, err := startSquidIn(ctx, path, dir, t)
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	s.clean = func() error { return os.RemoveAll(dir) }
	return s, nil
}

func startSquidIn(ctx context.Context, path, dir string, t target) (*subject, error) {
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(ports[0])
	if err != nil {
		return nil, err
	}
	// Started by root, squid becomes another user, who must be able to write.
	if err := os.Chmod(dir, 0o777); err != nil {
		return nil, err
	}
	config := filepath.Join(dir, "squid.conf")
	for file, text := range map[string]string{
		config:                      fmt.Sprintf(squidConfig, "127.0.0.1:"+port, dir),
		filepath.Join(dir, "hosts"): "127.0.0.1 " + originHost + "\n",
	} {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			return nil, err
		}
	}
	cmd := exec.CommandContext(ctx, path, "-N", "-f", config)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	s := &subject{name: "squid", target: t.at(ports[0]), proc: &process{cmd: cmd}}
	if err := listening(ctx, ports[0]); err != nil {
		s.proc.stop()
		return nil, err
	}
	return s, nil
}
