package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/exeat/exeat/launch"
	"github.com/exeat/exeat/resolve"
	"github.com/exeat/exeat/web"
)

// finding is one thing that doctor looked at.
type finding struct {
	Check string `json:"check"`
	// State is "ok", "warn" (works, with a limit) or "fail".
	State  string `json:"state"`
	Detail string `json:"detail"`
	Try    string `json:"try"`
}

const (
	stateOK   = "ok"
	stateWarn = "warn"
	stateFail = "fail"
)

// geoOld is from when on bundled network data is worth a word.
const geoOld = 270 * 24 * time.Hour

func (a *app) doctorCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "doctor", Short: "Check every part and say what to do about it", Args: cobra.NoArgs,
		Long: "Checks the data directory, the daemon, its proxy and dashboard, the store, DNS, the network data and\n" +
			"the runtimes on this machine. Exit status 1 when something doesn't work.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load(cmd)
			if err != nil {
				return err
			}
			findings := examine(cmd.Context(), cfg)
			if asJSON {
				err = printJSON(cmd.OutOrStdout(), findings...)
			} else {
				err = printFindings(cmd.OutOrStdout(), findings)
			}
			if err != nil {
				return err
			}
			for _, f := range findings {
				if f.State == stateFail {
					return exitError(exitFailed)
				}
			}
			return nil
		},
	}
	addJSON(cmd, &asJSON)
	return cmd
}

func printFindings(w io.Writer, findings []finding) error {
	for _, f := range findings {
		if _, err := fmt.Fprintf(w, "%-4s  %-10s  %s\n", f.State, f.Check, line(f.Detail)); err != nil {
			return err
		}
		if f.Try != "" {
			if _, err := fmt.Fprintf(w, "%18stry: %s\n", "", line(f.Try)); err != nil {
				return err
			}
		}
	}
	return nil
}

func examine(ctx context.Context, cfg *config) []finding {
	findings := []finding{checkData(cfg)}
	findings = append(findings, checkDaemon(ctx, cfg)...)
	findings = append(findings, checkDNS(ctx, cfg))
	return append(findings, checkRuntimes(ctx)...)
}

func checkData(cfg *config) finding {
	f := finding{Check: "data", State: stateOK, Detail: tilde(cfg.Data)}
	info, err := os.Stat(cfg.Data)
	switch {
	case errors.Is(err, os.ErrNotExist):
		f.State, f.Detail, f.Try = stateWarn, f.Detail+" does not exist yet", "exeat serve"
	case err != nil:
		f.State, f.Detail = stateFail, err.Error()
	case info.Mode().Perm()&0o077 != 0:
		f.State, f.Detail, f.Try = stateWarn, f.Detail+" can be read by others", "chmod 700 "+cfg.Data
	}
	return f
}

// checkDaemon asks the daemon how it is, and knocks at its doors.
func checkDaemon(ctx context.Context, cfg *config) []finding {
	c, err := connect(ctx, cfg)
	if err != nil {
		return []finding{{Check: "daemon", State: stateFail, Detail: err.Error(), Try: "exeat serve"}}
	}
	defer func() { _ = c.close() }()
	var s web.StatusJSON
	if err := c.call(ctx, http.MethodGet, "/status", nil, &s); err != nil {
		return []finding{{Check: "daemon", State: stateFail, Detail: err.Error(), Try: "exeat serve"}}
	}
	return []finding{
		{Check: "daemon", State: stateOK, Detail: fmt.Sprintf("version %s, up %s, %d servers, %d open alerts",
			s.Version, time.Since(s.Started).Round(time.Second), s.Servers, s.Alerts["open"])},
		checkPort(ctx, "proxy", s.ProxyURL), checkDashboard(ctx, s.WebURL),
		checkRecord(s), checkGeo(s.Geo, time.Now()),
	}
}

func checkPort(ctx context.Context, what, address string) finding {
	u, err := url.Parse(address)
	if err != nil {
		return finding{Check: what, State: stateFail, Detail: err.Error()}
	}
	d := net.Dialer{Timeout: 3 * time.Second}
	conn, err := d.DialContext(ctx, "tcp", u.Host)
	if err != nil {
		return finding{Check: what, State: stateFail, Detail: err.Error(), Try: "exeat serve"}
	}
	_ = conn.Close() // nothing was sent
	return finding{Check: what, State: stateOK, Detail: address}
}

func checkDashboard(ctx context.Context, address string) finding {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	f := finding{Check: "dashboard", State: stateOK, Detail: address}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/healthz", nil)
	if err != nil {
		return finding{Check: "dashboard", State: stateFail, Detail: err.Error()}
	}
	// The dashboard is ours: no proxy in the environment has a say.
	transport := &http.Transport{Proxy: nil}
	defer transport.CloseIdleConnections()
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return finding{Check: "dashboard", State: stateFail, Detail: err.Error(), Try: "exeat serve"}
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		f.State, f.Detail = stateFail, address+" answered "+resp.Status
	}
	return f
}

func checkRecord(s web.StatusJSON) finding {
	f := finding{Check: "store", State: stateOK, Detail: fmt.Sprintf("%d flows recorded since the start", s.Record.Recorded)}
	if n := len(s.Gaps); n > 0 {
		f.State = stateWarn
		f.Detail += fmt.Sprintf("; %d gaps in the last 30 days, the latest until %s", n, s.Gaps[0].Until.Local().Format(time.DateTime))
	}
	if s.Record.Degraded {
		f.State, f.Detail = stateFail, "can't be written: "+s.Record.Cause
		f.Try = "free space on the disk of the data directory, or see who locks it"
	}
	return f
}

func checkGeo(g web.GeoJSON, now time.Time) finding {
	f := finding{Check: "networks", State: stateOK, Detail: g.Source}
	switch {
	case g.Source == "" || g.Date == nil:
		f.State, f.Detail, f.Try = stateWarn, "no network data", "set geo.asn and geo.country to MMDB files"
	case now.Sub(*g.Date) > geoOld:
		f.State, f.Try = stateWarn, "set geo.asn and geo.country to MMDB files of your own"
		f.Detail += ", of " + g.Date.Format(time.DateOnly) + ": old"
	default:
		f.Detail += ", of " + g.Date.Format(time.DateOnly)
	}
	return f
}

// probeName is a name that exists as long as DNS does (RFC 2606).
const probeName = "example.com"

func checkDNS(ctx context.Context, cfg *config) finding {
	f := finding{Check: "dns", State: stateOK}
	r, err := resolve.New(resolve.Config{Upstreams: cfg.DNS.Upstream, Timeout: time.Duration(cfg.DNS.Timeout), Logger: newLogger(io.Discard)})
	if err != nil {
		return finding{Check: "dns", State: stateFail, Detail: err.Error(), Try: "set dns.upstream"}
	}
	defer func() { _ = r.Close() }() // idle connections only
	start := time.Now()
	if _, err := r.Resolve(ctx, probeName); err != nil {
		f.State, f.Detail, f.Try = stateWarn, fmt.Sprintf("%s does not resolve: %v", probeName, err), "exeat serve --dns-upstream HOST:PORT"
		return f
	}
	f.Detail = fmt.Sprintf("%s resolved in %s", probeName, time.Since(start).Round(time.Millisecond))
	return f
}

// checkRuntimes says which of the runtimes on this machine come through.
func checkRuntimes(ctx context.Context) []finding {
	var findings []finding
	for _, r := range launch.Runtimes(ctx) {
		if r.Path == "" {
			continue
		}
		f := finding{Check: r.Name, State: stateWarn, Detail: strings.TrimSpace(r.Version + "  " + r.Note)}
		switch r.Reach {
		case launch.ReachAll, launch.ReachPreload:
			f.State = stateOK
		case launch.ReachNone:
			f.Try = "exeat server listen NAME, for a proxy that needs no credentials"
		case launch.ReachPart, launch.ReachUnknown:
		}
		findings = append(findings, f)
	}
	return findings
}
