package detect

import (
	"bufio"
	_ "embed" // for the list of risky destinations
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/net/publicsuffix"

	"github.com/exeat/exeat/flow"
)

//go:embed data/risky.tsv
var riskyTSV string

// ErrRiskyData is wrapped by every error about the list of risky destinations.
var ErrRiskyData = errors.New("the list of risky destinations is malformed")

// Risky is the list of risky destinations. It is immutable and safe for
// concurrent use; nil and the zero value know none.
type Risky struct {
	hosts map[string]riskyHost
}

type riskyHost struct{ class, source, note string }

// LoadRisky reads the list that is built in.
func LoadRisky() (*Risky, error) { return parseRisky(riskyTSV) }

// parseRisky reads lines of pattern, class, source and note, separated by one
// tab each; empty lines and lines that start with "#" are skipped. It is
// strict: a list that silently lacks a line is worse than a program that
// doesn't start.
func parseRisky(data string) (*Risky, error) {
	r := &Risky{hosts: make(map[string]riskyHost)}
	lines := bufio.NewScanner(strings.NewReader(data))
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		if err := r.add(line); err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrRiskyData, n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRiskyData, err)
	}
	return r, r.checkOverlap()
}

func (r *Risky) add(line string) error {
	fields := strings.Split(line, "\t")
	if len(fields) != 4 {
		return fmt.Errorf("%d fields, not 4", len(fields))
	}
	pattern, h := fields[0], riskyHost{class: fields[1], source: fields[2], note: fields[3]}
	if err := checkRiskyPattern(pattern); err != nil {
		return err
	}
	if classInfo(h.class).Name == classInfo("").Name {
		return fmt.Errorf("unknown class %q", h.class)
	}
	if u, err := url.Parse(h.source); err != nil || u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("the source %q is not an https URL", h.source)
	}
	if h.note == "" || strings.TrimSpace(h.note) != h.note {
		return errors.New("the note is empty or padded")
	}
	if _, ok := r.hosts[pattern]; ok {
		return fmt.Errorf("%s is there twice", pattern)
	}
	r.hosts[pattern] = h
	return nil
}

func checkRiskyPattern(pattern string) error {
	host, err := flow.ParseHost(pattern)
	if err != nil || host != pattern {
		return fmt.Errorf("%q is not a canonical host", pattern)
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return fmt.Errorf("%s is an address: those are judged as such", pattern)
	}
	if suffix, icann := publicsuffix.PublicSuffix(host); icann && suffix == host {
		return fmt.Errorf("%s is a registry's suffix and would cover strangers", pattern)
	}
	return nil
}

// checkOverlap refuses a line that another one already covers.
func (r *Risky) checkOverlap() error {
	for pattern, h := range r.hosts {
		_, parent, _ := strings.Cut(pattern, ".")
		if above, ok := r.find(parent); ok && above.class == h.class {
			return fmt.Errorf("%w: %s is already covered by a wider line of its class", ErrRiskyData, pattern)
		}
	}
	return nil
}

// find returns the line that covers host: the longest suffix of whole labels.
func (r *Risky) find(host string) (riskyHost, bool) {
	if r == nil {
		return riskyHost{}, false
	}
	for host != "" {
		if h, ok := r.hosts[host]; ok {
			return h, true
		}
		i := strings.IndexByte(host, '.')
		if i < 0 {
			break
		}
		host = host[i+1:]
	}
	return riskyHost{}, false
}

// Class returns the class of a canonical host, or "" if it isn't on the list.
// A line covers its host and all sub-domains; the longest one counts. Class
// allocates nothing.
func (r *Risky) Class(host string) string {
	h, _ := r.find(host)
	return h.class
}

// Source returns where the line that covers host is documented, an https URL,
// or "" if it isn't on the list.
func (r *Risky) Source(host string) string {
	h, _ := r.find(host)
	return h.source
}

// Note returns what the line that covers host says it is, or "".
func (r *Risky) Note(host string) string {
	h, _ := r.find(host)
	return h.note
}

// Info explains a class for people.
func (r *Risky) Info(class string) ClassInfo { return classInfo(class) }

// Len returns the number of lines.
func (r *Risky) Len() int {
	if r == nil {
		return 0
	}
	return len(r.hosts)
}
