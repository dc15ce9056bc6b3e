package main

import (
	"bufio"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/exeat/exeat/flow"
)

// flowFlags are the filters of exeat flows.
type flowFlags struct {
	server, host, verdict, format string
	since                         duration
	limit                         int
	follow, asJSON                bool
}

func (a *app) flowsCommand() *cobra.Command {
	f := flowFlags{since: duration(24 * time.Hour)}
	cmd := &cobra.Command{
		Use:     "flows",
		Short:   "List what happened: one line a connection, newest first",
		Example: "  exeat flows --server calendar --since 1h\n  exeat flows --verdict refused --format csv\n  exeat flows --follow",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.asJSON {
				f.format = "json"
			}
			if err := checkFormat(f.format); err != nil {
				return err
			}
			if err := oneOf("--verdict", f.verdict, "allowed", "refused"); err != nil {
				return err
			}
			if f.follow {
				return a.acting(f.followFlows)(cmd, args)
			}
			return a.listing(f.list)(cmd, args)
		},
	}
	cmd.Flags().StringVar(&f.server, "server", "", "only this server")
	cmd.Flags().StringVar(&f.host, "host", "", "only this host, or '*.x' for the sub-domains of x")
	cmd.Flags().StringVar(&f.verdict, "verdict", "", "allowed or refused")
	cmd.Flags().Var(&f.since, "since", "how far back")
	cmd.Flags().IntVar(&f.limit, "limit", 0, "at most so many; 0: all of them")
	cmd.Flags().BoolVar(&f.follow, "follow", false, "show flows as they happen, until interrupted")
	cmd.Flags().StringVar(&f.format, "format", "table", "table, json or csv")
	addJSON(cmd, &f.asJSON)
	return cmd
}

// query returns the filters for the API.
func (f *flowFlags) query(now time.Time) url.Values {
	q := url.Values{"limit": {"500"}, "since": {now.Add(-time.Duration(f.since)).UTC().Format(time.RFC3339)}}
	owner, name := splitRef(f.server)
	for key, value := range map[string]string{"server": name, "owner": owner, "host": f.host, "verdict": f.verdict} {
		if value != "" {
			q.Set(key, value)
		}
	}
	return q
}

func (f *flowFlags) list(cmd *cobra.Command, c *client, _ []string) error {
	p := newFlowPrinter(cmd.OutOrStdout(), f.format)
	if err := each(cmd.Context(), c, "/flows", f.query(time.Now()), f.limit, p.print); err != nil {
		return err
	}
	return p.flush()
}

// followFlows prints flows from the daemon's event stream. A flow comes when it
// opens and when it ends; only its end is printed.
func (f *flowFlags) followFlows(cmd *cobra.Command, c *client, _ []string) error {
	p := newFlowPrinter(cmd.OutOrStdout(), f.format)
	if f.format == "table" {
		p = followPrinter(cmd.OutOrStdout())
	}
	resp, err := c.send(cmd.Context(), http.MethodGet, "/events", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	err = readEvents(resp.Body, func(event string, data []byte) error {
		if event == "missed" {
			_, err := fmt.Fprintln(cmd.ErrOrStderr(), "some flows were too many to show; see exeat flows")
			return err
		}
		var got flow.Flow
		if event != "flow" || json.Unmarshal(data, &got) != nil || got.End == "" || !f.wants(&got) {
			return nil
		}
		if err := p.print(got); err != nil {
			return err
		}
		return p.flush()
	})
	if cmd.Context().Err() != nil {
		return nil // interrupted, as one does
	}
	return err
}

func (f *flowFlags) wants(got *flow.Flow) bool {
	host := f.host == "" || f.host == got.Host ||
		strings.HasPrefix(f.host, "*.") && strings.HasSuffix(got.Host, f.host[1:])
	server := f.server == "" || f.server == string(got.Server) || f.server == ownerRef(got.Owner, got.Server)
	return host && server && (f.verdict == "" || f.verdict == string(got.Verdict))
}

// readEvents reads server-sent events (WHATWG HTML, section 9.2) until the
// stream ends.
func readEvents(r io.Reader, do func(event string, data []byte) error) error {
	scanner := bufio.NewScanner(r)
	scanner.Buffer(make([]byte, 64<<10), 4<<20)
	var event string
	var data []byte
	for scanner.Scan() {
		text := scanner.Text()
		switch field, value, _ := strings.Cut(text, ":"); {
		case text == "":
			if err := do(event, data); err != nil {
				return err
			}
			event, data = "", nil
		case field == "event":
			event = strings.TrimPrefix(value, " ")
		case field == "data":
			data = append(data, strings.TrimPrefix(value, " ")...)
		}
	}
	return scanner.Err()
}

// flowPrinter writes flows in one format.
type flowPrinter struct {
	print func(flow.Flow) error
	flush func() error
}

// oneOf refuses a value that is none of the words that a flag can be.
func oneOf(flag, value string, words ...string) error {
	if value == "" || slices.Contains(words, value) {
		return nil
	}
	return usagef("%s %q: use %s", flag, value, strings.Join(words, " or "))
}

func checkFormat(format string) error {
	switch format {
	case "table", "json", "csv":
		return nil
	case "ocsf", "zeek":
		return usagef("format %s is not in this version: use table, json or csv", format)
	}
	return usagef("%q is not a format: use table, json or csv", format)
}

func newFlowPrinter(w io.Writer, format string) *flowPrinter {
	switch format {
	case "json":
		return &flowPrinter{
			print: func(f flow.Flow) error { return printJSON(w, f) },
			flush: func() error { return nil },
		}
	case "csv":
		return csvPrinter(w)
	}
	return tablePrinter(w)
}

func flowHeader() []string {
	return []string{"TIME", "SERVER", "DESTINATION", "VERDICT", "REASON", "GRADE", "NETWORK", "UP", "DOWN", "END"}
}

// followPrinter writes each row at once, in columns that are wide enough for
// most: what comes later isn't known yet.
func followPrinter(w io.Writer) *flowPrinter {
	row := func(cells []string) error {
		for i, width := range []int{14, 12, 36, 7, 17, 10, 28, 7, 7} {
			cells[i] = fmt.Sprintf("%-*s", width, line(cells[i]))
		}
		_, err := fmt.Fprintln(w, strings.Join(cells, "  "))
		return err
	}
	headed := false
	return &flowPrinter{
		flush: func() error { return nil },
		print: func(f flow.Flow) error {
			if !headed {
				headed = true
				if err := row(flowHeader()); err != nil {
					return err
				}
			}
			return row(flowRow(&f))
		},
	}
}

// tablePrinter gathers rows so that columns align, and starts a new table when
// it has held more than anybody reads at once.
func tablePrinter(w io.Writer) *flowPrinter {
	var rows [][]string
	flush := func() error {
		if len(rows) == 0 {
			return nil
		}
		err := printTable(w, flowHeader(), rows)
		rows = nil
		return err
	}
	return &flowPrinter{flush: flush, print: func(f flow.Flow) error {
		rows = append(rows, flowRow(&f))
		if len(rows) < 500 {
			return nil
		}
		return flush()
	}}
}

func flowRow(f *flow.Flow) []string {
	end := string(f.End)
	if end == "" {
		end = "open"
	}
	return []string{
		f.Opened.Local().Format("01-02 15:04:05"), ownerRef(f.Owner, f.Server), f.Destination().String(),
		string(f.Verdict), string(f.Reason), orDash(string(f.Grade)),
		orDash(place(f.Place.ASN, f.Place.Org, f.Place.Country)), size(f.BytesUp), size(f.BytesDown), end,
	}
}

// csvColumns returns the keys of the JSON form, in its order.
func csvColumns() []string {
	return []string{
		"id", "server", "owner", "opened", "closed", "method", "host", "port", "ip", "sni", "alpn", "ja4", "ech", "grade",
		"phase", "tool", "asn", "as_org", "country", "bytes_up", "bytes_down", "verdict", "reason", "mode", "end",
	}
}

func csvPrinter(w io.Writer) *flowPrinter {
	out := csv.NewWriter(w)
	started := false
	head := func() error {
		if started {
			return nil
		}
		started = true
		return out.Write(csvColumns())
	}
	return &flowPrinter{
		print: func(f flow.Flow) error {
			if err := head(); err != nil {
				return err
			}
			return out.Write(csvRow(&f))
		},
		flush: func() error {
			if err := head(); err != nil {
				return err
			}
			out.Flush()
			return out.Error()
		},
	}
}

func csvRow(f *flow.Flow) []string {
	closed := ""
	if !f.Closed.IsZero() {
		closed = f.Closed.UTC().Format(time.RFC3339Nano)
	}
	ip := ""
	if f.IP.IsValid() {
		ip = f.IP.String()
	}
	row := []string{
		f.ID.String(), string(f.Server), f.Owner, f.Opened.UTC().Format(time.RFC3339Nano), closed,
		string(f.Method), f.Host, strconv.Itoa(int(f.Port)), ip, f.SNI, strings.Join(f.ALPN, " "), f.JA4,
		strconv.FormatBool(f.ECH), string(f.Grade), string(f.Phase), f.Tool, strconv.Itoa(int(f.Place.ASN)),
		f.Place.Org, f.Place.Country, strconv.FormatInt(f.BytesUp, 10), strconv.FormatInt(f.BytesDown, 10),
		string(f.Verdict), string(f.Reason), string(f.Mode), string(f.End),
	}
	for i := range row {
		row[i] = spreadsheetSafe(row[i])
	}
	return row
}

// spreadsheetSafe keeps a hostile name from being run as a formula by the
// program that opens the file.
func spreadsheetSafe(s string) string {
	if s != "" && strings.ContainsRune("=+-@\t\r", rune(s[0])) {
		return "'" + s
	}
	return s
}
