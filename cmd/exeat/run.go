package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/launch"
	"github.com/exeat/exeat/mcp/pkgspec"
	"github.com/exeat/exeat/web"
)

func (a *app) runCommand() *cobra.Command {
	var mode string
	var solo bool
	cmd := &cobra.Command{
		Use:   "run NAME [--mode M] -- COMMAND [ARGUMENT…]",
		Short: "Launch a command as server NAME, through the proxy",
		Long: "Launches COMMAND as the MCP server NAME: its connections go through the proxy under that name.\n" +
			"Standard input, output and error are the command's own, byte for byte; signals and the exit\n" +
			"status are passed on. A name that is new is enrolled in learn mode.",
		Example: "  exeat run calendar -- npx -y some-calendar-server\n  exeat run --solo probe -- npm view is-number version",
		Args:    cobra.MatchAll(cobra.MinimumNArgs(2), refAt(0), afterDash),
		RunE: func(cmd *cobra.Command, args []string) error {
			if mode != "" {
				if _, err := identity.ParseMode(mode); err != nil {
					return &usageError{err}
				}
			}
			cfg, err := a.load(cmd)
			if err != nil {
				return err
			}
			if solo {
				return runSolo(cmd.Context(), cfg, args[0], mode, args[1:], cmd.ErrOrStderr())
			}
			c, err := need(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			return runServer(cmd.Context(), cfg, c, args[0], mode, args[1:])
		},
	}
	cmd.Flags().StringVar(&mode, "mode", "", "learn, alert or block; an existing server keeps its own unless this is given")
	cmd.Flags().BoolVar(&solo, "solo", false, "run a private daemon for the life of the command")
	cmd.Flags().SetInterspersed(true)
	return cmd
}

// runServer enrols the server, launches the command and passes its exit status
// on.
func runServer(ctx context.Context, cfg *config, c *client, name, mode string, command []string) error {
	issued, err := enrol(ctx, c, name, mode, command, true)
	if err != nil {
		return err
	}
	env, err := environment(cfg, issued, os.Environ())
	if err != nil {
		return err
	}
	if err := c.close(); err != nil {
		return err
	}
	// Signals are passed on to the command, which decides what they mean: an
	// interrupt ends this process only after it has ended the command.
	result, err := launch.Run(context.WithoutCancel(ctx), launch.Config{Command: command, Env: env.Apply(os.Environ())})
	var failed *launch.StartError
	if errors.As(err, &failed) && failed.Try != "" {
		err = try(err, failed.Try)
	}
	if err != nil {
		return &statusError{err, result.Code}
	}
	return exitError(result.Code)
}

// afterDash makes "--" obligatory, so that no flag of the command is ever
// taken for one of ours.
func afterDash(cmd *cobra.Command, args []string) error {
	if cmd.ArgsLenAtDash() != 1 {
		return try(errors.New("the command to launch comes after NAME and --"), "exeat run "+line(args[0])+" -- COMMAND …")
	}
	return nil
}

// enrol returns fresh credentials of the server, which is made if it is new.
func enrol(ctx context.Context, c *client, ref, mode string, command []string, launched bool) (web.Issued, error) {
	owner, name := splitRef(ref)
	req := web.EnrolRequest{
		NewServerRequest: web.NewServerRequest{Name: name, Owner: owner, Mode: mode, Command: command},
		Launch:           launched,
	}
	if launched {
		req.PID = os.Getpid()
	}
	if spec, ok := pkgspec.Parse(command); ok {
		req.Package, req.Version = spec.Name, spec.Version
	}
	var issued web.Issued
	if err := c.call(ctx, http.MethodPost, "/enrol", req, &issued); err != nil {
		return web.Issued{}, err
	}
	if mode != "" && string(issued.Mode) != mode {
		err := c.call(ctx, http.MethodPost, refPath("/servers", ref, "/mode"), web.ModeRequest{Mode: mode}, nil)
		return issued, err
	}
	return issued, nil
}

// environment returns what leads a program through the proxy.
func environment(cfg *config, issued web.Issued, base []string) (launch.Environment, error) {
	preload, err := launch.WritePreload(filepath.Join(cfg.Data, "launch"))
	if err != nil {
		return launch.Environment{}, fmt.Errorf("the Node preload: %w", err)
	}
	return launch.NewEnvironment(launch.EnvironmentConfig{
		Proxy: issued.ProxyURL, Server: issued.Name, Preload: preload, Base: base,
	}), nil
}

// runSolo starts a daemon of its own, on ports of the system's choosing, for
// the life of one command.
func runSolo(ctx context.Context, cfg *config, name, mode string, command []string, stderr io.Writer) error {
	cfg.Proxy.Listen, cfg.Web.Listen = "127.0.0.1:0", "127.0.0.1:0"
	d, err := startDaemon(ctx, cfg, newLogger(stderr), worldOptions{})
	if err != nil {
		return err
	}
	defer d.stop(context.WithoutCancel(ctx))
	c, err := need(ctx, cfg)
	if err != nil {
		return err
	}
	return runServer(ctx, cfg, c, name, mode, command)
}

func (a *app) envCommand() *cobra.Command {
	var shell string
	cmd := &cobra.Command{
		Use:   "env NAME",
		Short: "Print the variables that lead any program through the proxy as server NAME",
		Example: "  eval \"$(exeat env calendar)\"\n  exeat env calendar --shell fish | source\n" +
			"  exeat env calendar --shell json",
		Args: cobra.MatchAll(cobra.ExactArgs(1), refAt(0)),
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg, err := a.load(cmd)
			if err != nil {
				return err
			}
			c, err := need(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			issued, err := enrol(cmd.Context(), c, args[0], "", nil, false)
			if err != nil {
				return err
			}
			env, err := environment(cfg, issued, os.Environ())
			if err != nil {
				return err
			}
			text, err := launch.Render(shell, env)
			if err != nil {
				return &usageError{err}
			}
			_, err = io.WriteString(cmd.OutOrStdout(), text)
			return err
		},
	}
	cmd.Flags().StringVar(&shell, "shell", "sh", "sh, fish or json")
	return cmd
}
