package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"
)

func (a *app) serveCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the proxy and the dashboard",
		Long: "Runs the proxy and the dashboard in one process, until it is interrupted.\n" +
			"Prints where each listens and a link that signs one browser in.",
		Example: "  exeat serve\n  exeat serve --proxy-listen 127.0.0.1:8180 --dns-upstream tls://9.9.9.9",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.load(cmd)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), cfg, cmd.OutOrStdout(), newLogger(cmd.ErrOrStderr()))
		},
	}
	addConfigFlags(cmd)
	return cmd
}

// addConfigFlags gives cmd a flag for every key of the configuration.
func addConfigFlags(cmd *cobra.Command) {
	for _, o := range defaults().options() {
		cmd.Flags().Var(o.value, o.flag(), o.help)
	}
}

func newLogger(w io.Writer) *slog.Logger {
	level := slog.LevelInfo
	if os.Getenv("EXEAT_DEBUG") != "" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: level}))
}

// serve runs a daemon until ctx ends or the daemon fails.
func serve(ctx context.Context, cfg *config, stdout io.Writer, log *slog.Logger) error {
	d, err := startDaemon(ctx, cfg, log, worldOptions{})
	if err != nil {
		return err
	}
	defer d.stop(context.WithoutCancel(ctx))
	link, err := d.web.SignInLink()
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "proxy      %s\n", d.proxyURL())
	fmt.Fprintf(stdout, "dashboard  %s\n", d.publicURL())
	fmt.Fprintf(stdout, "sign in    %s  (once, within ten minutes; 'exeat signin' makes another)\n", link)
	fmt.Fprintf(stdout, "data       %s\n", tilde(cfg.Data))
	fmt.Fprintf(stdout, "\nnext: exeat run NAME%s -- COMMAND …   Ctrl-C stops.\n", cfg.dataFlag())
	select {
	case <-ctx.Done():
		fmt.Fprintln(stdout, "stopping")
		return nil
	case err := <-d.failed:
		return err
	}
}
