package main

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/exeat/exeat/web"
)

func (a *app) signInCommand() *cobra.Command {
	return &cobra.Command{
		Use: "signin", Short: "Print a link that signs one browser in to the dashboard, once", Args: cobra.NoArgs,
		RunE: a.acting(func(cmd *cobra.Command, c *client, _ []string) error {
			var link web.SignInLink
			if err := c.call(cmd.Context(), http.MethodPost, "/signin-links", struct{}{}, &link); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), link.URL)
			return err
		}),
	}
}

func (a *app) tokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Manage API tokens, for EXEAT_TOKEN and for scraping /metrics",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.tokenAddCommand(), a.tokenListCommand(), a.tokenRemoveCommand())
	return cmd
}

func (a *app) tokenAddCommand() *cobra.Command {
	var days int
	cmd := &cobra.Command{
		Use: "add LABEL", Short: "Make an API token and print it, once", Args: cobra.ExactArgs(1),
		RunE: a.acting(func(cmd *cobra.Command, c *client, args []string) error {
			var t web.TokenJSON
			if err := c.call(cmd.Context(), http.MethodPost, "/tokens", web.TokenRequest{Label: args[0], Days: days}, &t); err != nil {
				return err
			}
			_, err := fmt.Fprintln(cmd.OutOrStdout(), t.Token)
			return err
		}),
	}
	cmd.Flags().IntVar(&days, "days", 90, "for how many days it is good")
	return cmd
}

func (a *app) tokenListCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "list", Short: "List the API tokens", Args: cobra.NoArgs,
		RunE: a.acting(func(cmd *cobra.Command, c *client, _ []string) error {
			var rows [][]string
			now := time.Now()
			err := each(cmd.Context(), c, "/tokens", url.Values{}, 0, func(t web.TokenJSON) error {
				if asJSON {
					return printJSON(cmd.OutOrStdout(), t)
				}
				rows = append(rows, []string{t.ID.String(), t.Label, t.Expires.Local().Format(time.DateOnly), ago(t.Seen, now)})
				return nil
			})
			if err != nil || asJSON {
				return err
			}
			return printTable(cmd.OutOrStdout(), []string{"ID", "LABEL", "GOOD UNTIL", "LAST USED"}, rows)
		}),
	}
	addJSON(cmd, &asJSON)
	return cmd
}

func (a *app) tokenRemoveCommand() *cobra.Command {
	return &cobra.Command{
		Use: "rm ID", Short: "Withdraw an API token", Args: cobra.ExactArgs(1),
		RunE: a.acting(func(cmd *cobra.Command, c *client, args []string) error {
			return c.call(cmd.Context(), http.MethodDelete, "/tokens/"+url.PathEscape(args[0]), struct{}{}, nil)
		}),
	}
}
