package resolve

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/exeat/exeat/flow"
)

// recheck is how often a watched file is looked at.
const recheck = time.Second

// watched is a file that is read again when it changes. A file that is not
// there reads as an empty one.
type watched[T any] struct {
	path    string
	parse   func(io.Reader) (T, error)
	changed func() // told of each later reading; may be nil
	log     *slog.Logger

	value atomic.Pointer[T]
	due   atomic.Int64 // when to look next, in Unix nanoseconds
	mu    sync.Mutex   // held by the one who looks
	seen  stamp        // guarded by mu
}

// stamp tells one state of a file from another.
type stamp struct {
	modified time.Time
	size     int64
	there    bool
}

// load reads the file for the first time.
func (w *watched[T]) load(now time.Time) error {
	w.due.Store(now.Add(recheck).UnixNano())
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.read(w.stat())
}

// get returns the last reading. When it is time to look, one caller does and
// the others are not held up.
func (w *watched[T]) get(now time.Time) T {
	if wait := w.due.Load() - now.UnixNano(); wait > 0 && wait <= int64(recheck) {
		return *w.value.Load()
	}
	if w.mu.TryLock() {
		w.look(now)
		w.mu.Unlock()
	}
	return *w.value.Load()
}

func (w *watched[T]) look(now time.Time) {
	w.due.Store(now.Add(recheck).UnixNano())
	s := w.stat()
	if s == w.seen {
		return
	}
	if err := w.read(s); err != nil {
		w.log.Error("a system file can't be read; its last content stays in force", "file", w.path, "err", err)
		return
	}
	w.log.Info("a system file changed and was read again", "file", w.path)
	if w.changed != nil {
		w.changed()
	}
}

func (w *watched[T]) stat() stamp {
	info, err := os.Stat(w.path)
	if err != nil {
		return stamp{}
	}
	return stamp{modified: info.ModTime(), size: info.Size(), there: true}
}

func (w *watched[T]) read(s stamp) error {
	value, err := w.parseFile()
	if err != nil {
		return fmt.Errorf("%s: %w", w.path, err)
	}
	w.seen = s
	w.value.Store(&value)
	return nil
}

func (w *watched[T]) parseFile() (T, error) {
	f, err := os.Open(w.path)
	if errors.Is(err, fs.ErrNotExist) {
		return w.parse(strings.NewReader(""))
	}
	if err != nil {
		var none T
		return none, err
	}
	defer f.Close()
	return w.parse(f)
}

// parseResolvConf reads the name servers of a resolv.conf(5). As in the C
// library, none means one on this machine.
func parseResolvConf(file io.Reader) ([]*upstream, error) {
	text, err := io.ReadAll(file) // the dns package passes over read errors
	if err != nil {
		return nil, err
	}
	c, err := dns.ClientConfigFromReader(bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	if len(c.Servers) == 0 {
		c.Servers = []string{"127.0.0.1"}
	}
	var ups []*upstream
	for _, s := range c.Servers {
		if addr, err := netip.ParseAddr(s); err == nil {
			ups = append(ups, &upstream{addr: net.JoinHostPort(addr.String(), c.Port)})
		}
	}
	if len(ups) == 0 {
		return nil, errors.New("no nameserver line has an address")
	}
	return ups, nil
}

// hostsTable has the answers of a hosts(5) file by canonical name.
type hostsTable map[string]Answer

// parseHosts reads a hosts(5) file. Lines that make no sense are passed over,
// as every reader of that file does.
func parseHosts(file io.Reader) (hostsTable, error) {
	six, four := make(map[string][]netip.Addr), make(map[string][]netip.Addr)
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		text, _, _ := strings.Cut(lines.Text(), "#")
		fields := strings.Fields(text)
		if len(fields) < 2 {
			continue
		}
		addr, err := netip.ParseAddr(fields[0])
		if err != nil || addr.Zone() != "" {
			continue
		}
		family := six
		if addr.Is4() {
			family = four
		}
		addHosts(family, fields[1:], addr)
	}
	table := make(hostsTable, len(six)+len(four))
	for _, family := range []map[string][]netip.Addr{six, four} {
		for name := range family {
			table[name] = Answer{Name: name, Addrs: alternate(six[name], four[name])}
		}
	}
	return table, lines.Err()
}

func addHosts(family map[string][]netip.Addr, names []string, addr netip.Addr) {
	for _, s := range names {
		if name, err := flow.ParseHost(s); err == nil && len(family[name]) < maxAddrs {
			family[name] = append(family[name], addr)
		}
	}
}
