package web

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// holder looks for the process inside a launched tree that holds the client's
// end of a TCP connection on this machine; pid is 0 when none was found. known
// says that this means something: somebody else holds it, or may. A connection
// whose client has closed it already is held by nobody.
//
// A process of this user whose descriptors can't be read (browsers protect some
// of theirs) may be the holder; one of a launched tree then counts as it.
func holder(client, here netip.AddrPort, inside func(pid int) bool) (pid int, known bool, err error) {
	inode, uid, err := clientSocket(client, here)
	if err != nil || inode == "" || inode == "0" {
		return 0, false, err
	}
	if uid != os.Getuid() && os.Getuid() != 0 {
		return 0, true, nil // another user's, and what we launch is ours
	}
	holders, err := mayHold(inode)
	for _, candidate := range holders {
		if inside(candidate) {
			return candidate, true, nil
		}
	}
	return 0, len(holders) > 0, err
}

// mayHold returns the processes that have the socket; if none is seen to, those
// that can't be looked into.
func mayHold(inode string) ([]int, error) {
	procs, err := os.ReadDir("/proc")
	if err != nil {
		return nil, fmt.Errorf("web: list processes: %w", err)
	}
	var holders, hidden []int
	for _, p := range procs {
		pid, err := strconv.Atoi(p.Name())
		if err != nil {
			continue
		}
		switch has, err := hasSocket(pid, inode); {
		case has:
			holders = append(holders, pid)
		case errors.Is(err, fs.ErrPermission):
			hidden = append(hidden, pid)
		}
	}
	if len(holders) > 0 {
		return holders, nil
	}
	return hidden, nil
}

// hasSocket reports whether a process has a descriptor of the socket. The error
// says why that couldn't be read; it may just have ended.
func hasSocket(pid int, inode string) (bool, error) {
	dir := "/proc/" + strconv.Itoa(pid) + "/fd/"
	fds, err := os.ReadDir(dir)
	for _, fd := range fds {
		if to, err := os.Readlink(dir + fd.Name()); err == nil && to == "socket:["+inode+"]" {
			return true, nil
		}
	}
	return false, err
}

// clientSocket finds the client's socket and its user in the kernel's tables; ""
// if it isn't there, "0" if its process has closed it.
func clientSocket(client, here netip.AddrPort) (inode string, uid int, err error) {
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(table)
		if err != nil {
			continue // no IPv6 here
		}
		inode, uid, err := findSocket(bufio.NewScanner(f), client, here)
		_ = f.Close() // only read from
		if err != nil || inode != "" {
			return inode, uid, err
		}
	}
	return "", 0, nil
}

// findSocket reads a table of proc_net_tcp(5): "sl local remote state queues
// timer retransmits uid timeout inode".
func findSocket(lines *bufio.Scanner, client, here netip.AddrPort) (inode string, uid int, err error) {
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		if len(f) < 10 {
			continue
		}
		if tableAddr(f[1]) == client && tableAddr(f[2]) == here {
			uid, err := strconv.Atoi(f[7])
			if err != nil {
				return "", 0, fmt.Errorf("web: read the table of sockets: %w", err)
			}
			return f[9], uid, nil
		}
	}
	if err := lines.Err(); err != nil {
		return "", 0, fmt.Errorf("web: read the table of sockets: %w", err)
	}
	return "", 0, nil
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
