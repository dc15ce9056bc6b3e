package web

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// holders returns the processes that hold the client's end of a TCP connection
// on this machine, as far as /proc lets us see: candidate says which processes
// are worth looking into.
func holders(client, here netip.AddrPort, candidate func(pid int) bool) ([]int, error) {
	inode, err := socketInode(client, here)
	if err != nil || inode == "" {
		return nil, err
	}
	want := "socket:[" + inode + "]"
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("web: list processes: %w", err)
	}
	var out []int
	for _, p := range procs {
		pid, err := strconv.Atoi(p.Name())
		if err == nil && candidate(pid) && holds(pid, want) {
			out = append(out, pid)
		}
	}
	return out, nil
}

// holds reports whether a process has a descriptor that leads to link.
func holds(pid int, link string) bool {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd/"
	fds, err := os.ReadDir(dir)
	if err != nil {
		return false // it ended, or it isn't ours to see
	}
	for _, fd := range fds {
		if to, err := os.Readlink(dir + fd.Name()); err == nil && to == link {
			return true
		}
	}
	return false
}

// socketInode finds the client's socket in the kernel's tables; "" if it isn't
// there, because the client is on another machine.
func socketInode(client, here netip.AddrPort) (string, error) {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(table)
		if err != nil {
			continue // no IPv6 here
		}
		inode, err := findSocket(bufio.NewScanner(f), client, here)
		_ = f.Close() // only read from
		if err != nil || inode != "" {
			return inode, err
		}
	}
	return "", nil
}

// findSocket reads a table of proc_net_tcp(5): "sl local remote state … inode".
func findSocket(lines *bufio.Scanner, client, here netip.AddrPort) (string, error) {
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 10 {
			continue
		}
		if tableAddr(f[1]) == client && tableAddr(f[2]) == here {
			return f[9], nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", fmt.Errorf("web: read the table of sockets: %w", err)
	}
	return "", nil
}

// tableAddr reads "0100007F:1C0D": 32-bit words in this machine's byte order,
// then the port. The zero value for what it can't read.
func tableAddr(s string) netip.AddrPort {
	host, port, _ := strings.Cut(s, ":")
	raw, err := hex.DecodeString(host)
	p, perr := strconv.ParseUint(port, 16, 16)
	if err != nil || perr != nil || len(raw)%4 != 0 {
		return netip.AddrPort{}
	}
	for i := 0; i < len(raw); i += 4 {
		binary.NativeEndian.PutUint32(raw[i:], binary.BigEndian.Uint32(raw[i:]))
	}
	addr, ok := netip.AddrFromSlice(raw)
	if !ok {
		return netip.AddrPort{}
	}
	return netip.AddrPortFrom(addr.Unmap(), uint16(p))
}
