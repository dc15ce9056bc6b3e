package main

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/web"
)

func (a *app) baselineCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "baseline",
		Short: "Review what a server may do",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(
		a.baselineShowCommand(),
		a.decideCommand("approve", "Let a server reach destinations", "approved"),
		a.decideCommand("reject", "Refuse destinations to a server, in every mode", "rejected"),
	)
	return cmd
}

func (a *app) baselineShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show NAME", Short: "Show a server's baseline, candidates first", Args: cobra.ExactArgs(1),
		RunE: a.listing(func(cmd *cobra.Command, c *client, args []string) error {
			var b web.BaselineJSON
			if err := c.call(cmd.Context(), http.MethodGet, refPath("/baselines", args[0], ""), nil, &b); err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), b.Items...)
			}
			return showBaseline(cmd, b, args[0])
		}),
	}
	addJSON(cmd, &asJSON)
	return cmd
}

func showBaseline(cmd *cobra.Command, b web.BaselineJSON, ref string) error {
	out, now := cmd.OutOrStdout(), time.Now()
	fmt.Fprintf(out, "%s, version %d: %d approved, %d candidates, %d rejected\n", ref, b.Version, b.Approved, b.Candidates, b.Rejected)
	if len(b.Items) == 0 {
		_, err := fmt.Fprintln(out, "Nothing was seen yet. Candidates come from the server's traffic in learn mode.")
		return err
	}
	var rows [][]string
	for _, e := range b.Items {
		var networks []string
		for _, n := range e.Networks {
			networks = append(networks, place(n.ASN, n.Org, n.Country))
		}
		by := orDash(e.DecidedBy)
		if e.DecidedAt != nil {
			by += ", " + ago(*e.DecidedAt, now)
		}
		rows = append(rows, []string{
			string(e.State), fmt.Sprintf("%s:%d", e.Host, e.Port), orDash(strings.Join(networks, "; ")),
			orDash(joined(e.Grades)), fmt.Sprint(e.Flows), size(e.UsualUp), ago(orZero(e.LastSeen), now), by, orDash(e.Note),
		})
	}
	fmt.Fprintln(out)
	if err := printTable(out, []string{"STATE", "DESTINATION", "NETWORKS", "GRADES", "FLOWS", "USUAL UP", "LAST SEEN", "DECIDED", "NOTE"}, rows); err != nil {
		return err
	}
	if b.Overflow > 0 {
		fmt.Fprintf(out, "\n%d more destinations found no place among the candidates.\n", b.Overflow)
	}
	return nil
}

func joined(grades []flow.Grade) string {
	var words []string
	for _, g := range grades {
		words = append(words, string(g))
	}
	return strings.Join(words, ",")
}

func (a *app) decideCommand(verb, short, done string) *cobra.Command {
	var note string
	var grades []string
	cmd := &cobra.Command{
		Use:   verb + " NAME HOST[:PORT]…",
		Short: short,
		Long: short + ", and resolve the alerts about them. What is rejected is refused without a further alert;\n" +
			"'exeat flows --verdict refused' shows it. A destination needs not have been seen; the port is 443 unless given;\n" +
			"'*.example.com' covers the sub-domains of example.com and not example.com itself.",
		Example: "  exeat baseline " + verb + " calendar api.calendar.example\n  exeat baseline " + verb + " calendar '*.example.com:443'",
		Args:    cobra.MatchAll(cobra.MinimumNArgs(2), noURLs),
		RunE: a.acting(func(cmd *cobra.Command, c *client, args []string) error {
			req := web.DecideRequest{Targets: args[1:], Note: note}
			for _, g := range grades {
				req.Grades = append(req.Grades, flow.Grade(g))
			}
			if err := c.call(cmd.Context(), http.MethodPost, refPath("/baselines", args[0], "/"+verb), req, nil); err != nil {
				return err
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s for %s: %s\n", done, args[0], line(strings.Join(args[1:], ", ")))
			return resolveDecided(cmd, c, args[0], args[1:])
		}),
	}
	cmd.Flags().StringVar(&note, "note", "", "why, for whoever reads it later")
	if verb == "approve" {
		cmd.Flags().StringSliceVar(&grades, "grade", nil, "accept this attribution grade too: no_sni, not_tls, ip_literal or hidden")
	}
	return cmd
}

// resolveDecided resolves the open alerts about exactly the destinations that
// were decided on, as the dashboard's buttons do.
func resolveDecided(cmd *cobra.Command, c *client, ref string, targets []string) error {
	decided := make(map[string]bool)
	for _, t := range targets {
		if target, err := baseline.ParseTarget(t); err == nil {
			decided[target.String()] = true
		}
	}
	var ids []string
	for _, status := range []detect.Status{detect.Open, detect.Acknowledged} {
		q := (&flowFlags{server: ref}).query(time.Now())
		q.Del("since")
		q.Set("status", string(status))
		err := each(cmd.Context(), c, "/alerts", q, 0, func(al detect.Alert) error {
			if decided[flow.Destination{Host: al.Host, Port: al.Port}.String()] {
				ids = append(ids, al.ID.String())
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	for _, id := range ids {
		if err := c.call(cmd.Context(), http.MethodPost, "/alerts/"+id+"/resolve", struct{}{}, nil); err != nil {
			return err
		}
		fmt.Fprintf(cmd.OutOrStdout(), "alert %s is resolved\n", id)
	}
	return nil
}

// noURLs refuses what is easily typed for a destination.
func noURLs(_ *cobra.Command, args []string) error {
	for _, t := range args[1:] {
		if strings.Contains(t, "/") {
			return fmt.Errorf("%q is not HOST[:PORT]: leave out https:// and the path", t)
		}
	}
	return nil
}

func (a *app) alertsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "alerts",
		Short: "List, read and settle alerts",
		Args:  cobra.NoArgs,
	}
	list := a.alertListCommand()
	// "exeat alerts" and "exeat alerts list" are the same.
	cmd.RunE, cmd.PreRunE = list.RunE, list.PreRunE
	cmd.Flags().AddFlagSet(list.Flags())
	cmd.AddCommand(list, a.alertShowCommand(),
		a.settleCommand("ack", "Say that an alert has been seen; it goes on counting", "acknowledged"),
		a.settleCommand("resolve", "Close an alert; the same cause then makes a new one", "resolved"))
	return cmd
}

func (a *app) alertListCommand() *cobra.Command {
	var asJSON bool
	var server, status string
	since := duration(0)
	cmd := &cobra.Command{
		Use: "list", Short: "List the alerts, latest first", Args: cobra.NoArgs,
		PreRunE: func(*cobra.Command, []string) error {
			return oneOf("--status", status, "open", "acknowledged", "resolved")
		},
		RunE: a.listing(func(cmd *cobra.Command, c *client, _ []string) error {
			q := (&flowFlags{server: server}).query(time.Now())
			q.Del("since")
			if since > 0 {
				q.Set("since", time.Now().Add(-time.Duration(since)).UTC().Format(time.RFC3339))
			}
			if status != "" {
				q.Set("status", status)
			}
			return listAlerts(cmd, c, q, asJSON)
		}),
	}
	cmd.Flags().StringVar(&server, "server", "", "only this server")
	cmd.Flags().StringVar(&status, "status", "", "open, acknowledged or resolved")
	cmd.Flags().Var(&since, "since", "only those with an event within this span; 0s: all")
	addJSON(cmd, &asJSON)
	return cmd
}

func listAlerts(cmd *cobra.Command, c *client, q url.Values, asJSON bool) error {
	var rows [][]string
	now := time.Now()
	err := each(cmd.Context(), c, "/alerts", q, 0, func(al detect.Alert) error {
		if asJSON {
			return printJSON(cmd.OutOrStdout(), al)
		}
		rows = append(rows, []string{
			al.ID.String(), string(al.Severity), string(al.Status), orDash(ownerRef(al.Owner, al.Server)),
			fmt.Sprint(al.Count), ago(al.Last, now), al.Title,
		})
		return nil
	})
	if err != nil || asJSON {
		return err
	}
	if len(rows) == 0 {
		_, err := fmt.Fprintln(cmd.OutOrStdout(), "No alerts.")
		return err
	}
	return printTable(cmd.OutOrStdout(), []string{"ID", "SEVERITY", "STATUS", "SERVER", "COUNT", "LAST", "WHAT"}, rows)
}

func (a *app) alertShowCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show ID", Short: "Explain an alert: what, why, evidence, next step", Args: cobra.ExactArgs(1),
		RunE: a.listing(func(cmd *cobra.Command, c *client, args []string) error {
			var al detect.Alert
			if err := c.call(cmd.Context(), http.MethodGet, "/alerts/"+url.PathEscape(args[0]), nil, &al); err != nil {
				return err
			}
			if asJSON {
				return printJSON(cmd.OutOrStdout(), al)
			}
			return showAlert(cmd, c, &al)
		}),
	}
	addJSON(cmd, &asJSON)
	return cmd
}

func showAlert(cmd *cobra.Command, c *client, al *detect.Alert) error {
	out, now := cmd.OutOrStdout(), time.Now()
	fmt.Fprintf(out, "%s\n%s, %s, %s: seen %s, first %s, last %s\n\n", line(al.Title), al.Kind, al.Severity,
		al.Status, times(al.Count), ago(al.First, now), ago(al.Last, now))
	fmt.Fprintf(out, "%s\n\nnext: %s\n", clean(al.Explanation), clean(al.Next))
	var rows [][]string
	for _, id := range al.Flows {
		var f flow.Flow
		if err := c.call(cmd.Context(), http.MethodGet, "/flows/"+id.String(), nil, &f); err != nil {
			continue // pruned, or not written yet
		}
		rows = append(rows, flowRow(&f))
	}
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintln(out)
	return printTable(out, flowHeader(), rows)
}

func times(n int64) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

func (a *app) settleCommand(verb, short, done string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " ID…", Short: short, Args: cobra.MinimumNArgs(1),
		RunE: a.acting(func(cmd *cobra.Command, c *client, args []string) error {
			for _, id := range args {
				if err := c.call(cmd.Context(), http.MethodPost, "/alerts/"+url.PathEscape(id)+"/"+verb, struct{}{}, nil); err != nil {
					return fmt.Errorf("alert %s: %w", line(id), err)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "alert %s is %s\n", id, done)
			}
			return nil
		}),
	}
}
