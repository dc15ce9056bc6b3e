package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/web"
)

func (a *app) serverCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "server",
		Short: "List and manage servers",
		Long:  "Servers are the MCP servers that Exeat knows. NAME is a server's name, or OWNER/NAME in a team.",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		a.serverListCommand(), a.serverShowCommand(), a.serverAddCommand(), a.serverModeCommand(),
		a.serverRotateCommand(), a.serverListenCommand(), a.serverRenameCommand(),
		a.serverEndCommand("revoke", "Withdraw a server's credentials and cut its open tunnels, for good", http.MethodPost, "/revoke",
			"revoked, for good; to begin again, without its baseline: exeat server rm NAME, then exeat server add NAME"),
		a.serverEndCommand("rm", "Forget a server and its baseline; its flows and alerts stay", http.MethodDelete, "", "removed"),
	)
	return cmd
}

func (a *app) serverListCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the servers", Args: cobra.NoArgs,
		RunE: a.listing(func(cmd *cobra.Command, c *client, _ []string) error {
			var rows [][]string
			err := each(cmd.Context(), c, "/servers", url.Values{"limit": {"1000"}}, 0, func(s web.ServerJSON) error {
				if asJSON {
					return printJSON(cmd.OutOrStdout(), s)
				}
				rows = append(rows, serverRow(s, time.Now()))
				return nil
			})
			if err != nil || asJSON {
				return err
			}
			if len(rows) == 0 {
				_, err := fmt.Fprintln(cmd.OutOrStdout(), "No servers yet. Launch one:  exeat run NAME -- COMMAND …")
				return err
			}
			return printTable(cmd.OutOrStdout(), []string{"SERVER", "MODE", "COVERAGE", "FLOWS", "OPEN ALERTS", "LAST SEEN", "PACKAGE"}, rows)
		}),
	}
	addJSON(cmd, &asJSON)
	return cmd
}

func serverRow(s web.ServerJSON, now time.Time) []string {
	mode := string(s.Mode)
	if s.Status != identity.StatusActive {
		mode = string(s.Status)
	}
	pkg := s.Package
	if s.Version != "" {
		pkg += "@" + s.Version
	}
	return []string{
		ownerRef(s.Owner, s.Name), mode, string(s.Coverage), fmt.Sprint(s.Flows), fmt.Sprint(s.OpenAlerts),
		ago(orZero(s.LastSeen), now), orDash(pkg),
	}
}

func ownerRef(owner string, name identity.Name) string {
	if owner == "" {
		return string(name)
	}
	return owner + "/" + string(name)
}

func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

func (a *app) serverShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show NAME", Short: "Show one server and its destinations", Args: cobra.ExactArgs(1),
		RunE: a.listing(func(cmd *cobra.Command, c *client, args []string) error {
			var s web.ServerDetail
			if err := c.call(cmd.Context(), http.MethodGet, refPath("/servers", args[0], ""), nil, &s); err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), s)
			}
			return showServer(cmd, c, s)
		}),
	}
	addJSON(cmd, &asJSON)
	return cmd
}

func showServer(cmd *cobra.Command, c *client, s web.ServerDetail) error {
	out, now := cmd.OutOrStdout(), time.Now()
	fmt.Fprintf(out, "%s\n", line(ownerRef(s.Owner, s.Name)))
	fmt.Fprintf(out, "  mode       %s (%s)\n", s.Mode, s.Status)
	fmt.Fprintf(out, "  coverage   %s\n", s.Coverage)
	fmt.Fprintf(out, "  command    %s\n", orDash(line(strings.Join(s.Command, " "))))
	fmt.Fprintf(out, "  baseline   version %d: %d approved, %d candidates, %d rejected\n",
		s.Baseline.Version, s.Baseline.Approved, s.Baseline.Candidates, s.Baseline.Rejected)
	fmt.Fprintf(out, "  flows      %d, last %s\n", s.Flows, ago(orZero(s.LastSeen), now))
	fmt.Fprintf(out, "  alerts     %d open\n", s.OpenAlerts)
	if s.Listen != "" {
		fmt.Fprintf(out, "  listener   http://%s (needs no credentials)\n", s.Listen)
	}
	var rows [][]string
	query := url.Values{"server": {string(s.Name)}, "limit": {"200"}}
	if s.Owner != "" {
		query.Set("owner", s.Owner)
	}
	err := each(cmd.Context(), c, "/destinations", query, 200, func(d web.DestinationJSON) error {
		rows = append(rows, []string{
			fmt.Sprintf("%s:%d", d.Host, d.Port), orDash(place(d.ASN, d.Org, d.Country)), orDash(string(d.Grade)),
			fmt.Sprint(d.Flows), size(d.BytesUp), size(d.BytesDown), ago(orZero(d.LastSeen), now),
		})
		return nil
	})
	if err != nil || len(rows) == 0 {
		return err
	}
	fmt.Fprintln(out)
	return printTable(out, []string{"DESTINATION", "NETWORK", "GRADE", "FLOWS", "UP", "DOWN", "LAST SEEN"}, rows)
}

// place writes a network for people.
func place(asn uint32, org, country string) string {
	var parts []string
	if asn != 0 {
		parts = append(parts, fmt.Sprintf("AS%d", asn))
	}
	if org != "" {
		parts = append(parts, org)
	}
	if country != "" {
		parts = append(parts, "("+country+")")
	}
	return strings.Join(parts, " ")
}

func (a *app) serverAddCommand() *cobra.Command {
	var asJSON bool
	var mode, owner string
	cmd := &cobra.Command{
		Use: "add NAME", Short: "Make a server and print its proxy URL, once",
		Args: cobra.MatchAll(cobra.ExactArgs(1), nameAt(0)),
		RunE: a.acting(func(cmd *cobra.Command, c *client, args []string) error {
			var issued web.Issued
			req := web.NewServerRequest{Name: args[0], Owner: owner, Mode: mode}
			if err := c.call(cmd.Context(), http.MethodPost, "/servers", req, &issued); err != nil {
				return err
			}
			return printIssued(cmd, issued, asJSON)
		}),
	}
	cmd.Flags().StringVar(&mode, "mode", "learn", "learn, alert or block")
	cmd.Flags().StringVar(&owner, "owner", "", "the person it belongs to, in a team")
	addJSON(cmd, &asJSON)
	return cmd
}

func printIssued(cmd *cobra.Command, issued web.Issued, asJSON bool) error {
	if asJSON {
		return printJSON(cmd.OutOrStdout(), issued)
	}
	fmt.Fprintf(cmd.OutOrStdout(), "%s\n", issued.ProxyURL)
	fmt.Fprintln(cmd.ErrOrStderr(), "This is shown once: only a hash of the token is kept. Set it as HTTPS_PROXY.")
	return nil
}

func (a *app) serverModeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "mode NAME learn|alert|block", Short: "Set what happens outside the baseline",
		Args: cobra.MatchAll(cobra.ExactArgs(2), modeAt(1)),
		RunE: a.acting(func(cmd *cobra.Command, c *client, args []string) error {
			err := c.call(cmd.Context(), http.MethodPost, refPath("/servers", args[0], "/mode"), web.ModeRequest{Mode: args[1]}, nil)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is in mode %s\n", args[0], args[1])
			return err
		}),
	}
}

func (a *app) serverRotateCommand() *cobra.Command {
	var asJSON bool
	overlap := duration(time.Hour)
	cmd := &cobra.Command{
		Use: "rotate NAME", Short: "Give a server a new credential and let the old ones run out", Args: cobra.ExactArgs(1),
		RunE: a.acting(func(cmd *cobra.Command, c *client, args []string) error {
			seconds := int64(time.Duration(overlap) / time.Second)
			var issued web.Issued
			err := c.call(cmd.Context(), http.MethodPost, refPath("/servers", args[0], "/rotate"), web.RotateRequest{Overlap: &seconds}, &issued)
			if err != nil {
				return err
			}
			return printIssued(cmd, issued, asJSON)
		}),
	}
	cmd.Flags().Var(&overlap, "overlap", "how long the old credentials go on working")
	addJSON(cmd, &asJSON)
	return cmd
}

func (a *app) serverListenCommand() *cobra.Command {
	return &cobra.Command{
		Use: "listen NAME", Short: "Open a loopback port for a server whose clients can't send credentials",
		Long: "Opens a loopback listener of the server's own. Whoever connects to it is taken to be that server,\n" +
			"so it is for clients that can't send proxy credentials (Chromium, Java).",
		Args: cobra.ExactArgs(1),
		RunE: a.acting(func(cmd *cobra.Command, c *client, args []string) error {
			var l web.Listener
			if err := c.call(cmd.Context(), http.MethodPost, refPath("/servers", args[0], "/listener"), struct{}{}, &l); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), l.ProxyURL)
			return err
		}),
	}
}

func (a *app) serverRenameCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rename NAME NEW", Short: "Rename a server; its baseline and history stay its own",
		Args: cobra.MatchAll(cobra.ExactArgs(2), nameAt(1)),
		RunE: a.acting(func(cmd *cobra.Command, c *client, args []string) error {
			name := args[1]
			err := c.call(cmd.Context(), http.MethodPost, refPath("/servers", args[0], "/rename"), web.RenameRequest{Name: name}, nil)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s is now %s; the old name goes on to mean it\n", args[0], name)
			return err
		}),
	}
}

func (a *app) serverEndCommand(verb, short, method, suffix, done string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " NAME", Short: short, Args: cobra.ExactArgs(1),
		RunE: a.acting(func(cmd *cobra.Command, c *client, args []string) error {
			if err := c.call(cmd.Context(), method, refPath("/servers", args[0], suffix), struct{}{}, nil); err != nil {
				return err
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "%s is %s\n", args[0], done)
			return err
		}),
	}
}

// withClient is the body of a command that has a client.
type withClient func(cmd *cobra.Command, c *client, args []string) error

// listing runs do with a client that may read the store itself.
func (a *app) listing(do withClient) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		cfg, err := a.load(cmd)
		if err != nil {
			return err
		}
		c, err := reading(cmd.Context(), cfg)
		if err != nil {
			return err
		}
		defer func() { _ = c.close() }() // nothing was written
		return do(cmd, c, args)
	}
}

// acting runs do with a client of a running daemon.
func (a *app) acting(do withClient) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		cfg, err := a.load(cmd)
		if err != nil {
			return err
		}
		c, err := need(cmd.Context(), cfg)
		if err != nil {
			return err
		}
		defer func() { _ = c.close() }() // every answer was read
		return do(cmd, c, args)
	}
}

func addJSON(cmd *cobra.Command, asJSON *bool) {
	cmd.Flags().BoolVar(asJSON, "json", false, "one JSON object a line, with stable keys")
}
