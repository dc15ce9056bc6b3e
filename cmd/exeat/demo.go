package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/spf13/cobra"

	"github.com/exeat/exeat/cmd/exeat/story"
	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/web"
)

func (a *app) demoCommand() *cobra.Command {
	var exit bool
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "See the whole story in a minute, without the Internet",
		Long: "Starts six MCP servers as real child processes against TLS origins and a DNS server on loopback,\n" +
			"lets five of them misbehave, and shows what Exeat saw. Stays up with the dashboard until Ctrl-C.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := a.demoConfig(cmd)
			if err != nil {
				return err
			}
			return runDemo(cmd.Context(), cfg, cmd.OutOrStdout(), cmd.ErrOrStderr(), exit)
		},
	}
	cmd.Flags().BoolVar(&exit, "exit", false, "end after the story: status 0 only if each part was seen as it should be")
	return cmd
}

// demoConfig is the user's configuration with a world of its own: a data
// directory that isn't theirs, free ports, and loopback for an Internet.
func (a *app) demoConfig(cmd *cobra.Command) (*config, error) {
	given := a.data != "" || os.Getenv("EXEAT_DATA") != ""
	cfg := defaults()
	if given {
		loaded, err := a.load(cmd)
		if err != nil {
			return nil, err
		}
		cfg.Data = loaded.Data
	} else {
		dir, err := os.MkdirTemp("", "exeat-demo-")
		if err != nil {
			return nil, err
		}
		cfg.Data = dir
	}
	cfg.Proxy.Listen, cfg.Web.Listen = "127.0.0.1:0", "127.0.0.1:0"
	cfg.Network.AllowPrivate = []string{"127.0.0.0/8"}
	return cfg, nil
}

// demo is a demonstration under way.
type demo struct {
	cfg    *config
	world  *story.World
	client *client
	daemon *daemon
	out    io.Writer
	errs   io.Writer
	self   string // our own executable
	caFile string
}

func runDemo(ctx context.Context, cfg *config, stdout, stderr io.Writer, exit bool) error {
	d, err := newDemo(ctx, cfg, stdout, stderr)
	if err != nil {
		return err
	}
	defer d.close(context.WithoutCancel(ctx))
	for _, act := range []func(context.Context) error{d.learn, d.review, d.turn} {
		if err := act(ctx); err != nil {
			return err
		}
	}
	failures, err := d.verify(ctx)
	if err != nil {
		return err
	}
	if err := d.conclude(ctx, failures, exit); err != nil {
		return err
	}
	if exit {
		if len(failures) > 0 {
			return fmt.Errorf("%d parts of the story were not seen as they should be", len(failures))
		}
		return nil
	}
	fmt.Fprintln(stdout, "The dashboard stays up until Ctrl-C.")
	select {
	case <-ctx.Done():
		return nil
	case err := <-d.daemon.failed:
		return err
	}
}

func newDemo(ctx context.Context, cfg *config, stdout, stderr io.Writer) (d *demo, err error) {
	d = &demo{cfg: cfg, out: stdout, errs: stderr}
	if d.self, err = os.Executable(); err != nil {
		return nil, err
	}
	if d.world, err = story.NewWorld(ctx); err != nil {
		return nil, err
	}
	cfg.DNS.Upstream = []string{d.world.DNS()}
	quiet := slog.New(slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: slog.LevelError}))
	if d.daemon, err = startDaemon(ctx, cfg, quiet, worldOptions{}); err != nil {
		return nil, errors.Join(err, d.world.Close())
	}
	d.caFile = filepath.Join(cfg.Data, "demo-ca.pem")
	if err = os.WriteFile(d.caFile, d.world.Authority().PEM(), 0o600); err == nil {
		d.client, err = need(ctx, cfg)
	}
	if err != nil {
		d.close(ctx)
		return nil, err
	}
	d.say("Exeat's proxy is %s, its data %s.", d.daemon.proxyURL(), cfg.Data)
	d.say("Six MCP servers run as child processes, against TLS origins and DNS on loopback")
	d.say("(whose addresses belong to no network: the network column stays empty here).\n")
	return d, nil
}

func (d *demo) close(ctx context.Context) {
	if d.client != nil {
		_ = d.client.close() // idle connections only
	}
	d.daemon.stop(ctx)
	if err := d.world.Close(); err != nil {
		fmt.Fprintln(d.errs, "exeat: the demo's world:", err)
	}
}

func (d *demo) say(format string, args ...any) { fmt.Fprintf(d.out, format+"\n", args...) }

// call launches a server through exeat run, as an MCP client would, and calls
// its tool once.
func (d *demo) call(ctx context.Context, role story.Role, updated bool, text string) (answer string, err error) {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	args := []string{"run", string(role), "--data", d.cfg.Data, "--", d.self, "demo-server", string(role)}
	if updated {
		args = append(args, "--updated")
	}
	cmd := exec.CommandContext(ctx, d.self, args...)
	cmd.Env = append(os.Environ(), story.EnvPort+"="+strconv.Itoa(int(d.world.Port())), story.EnvCA+"="+d.caFile, "EXEAT_CONFIG="+os.DevNull)
	cmd.Stderr = d.errs
	mcpClient := mcp.NewClient(&mcp.Implementation{Name: "exeat-demo", Version: "1"}, nil)
	session, err := mcpClient.Connect(ctx, &mcp.CommandTransport{Command: cmd}, nil)
	if err != nil {
		return "", fmt.Errorf("starting %s: %w", role, err)
	}
	defer func() { err = errors.Join(err, session.Close()) }()
	result, err := session.CallTool(ctx, &mcp.CallToolParams{Name: role.Tool(), Arguments: story.ToolArgs{Text: text}})
	if err != nil {
		return "", fmt.Errorf("calling %s: %w", role, err)
	}
	for _, c := range result.Content {
		if t, ok := c.(*mcp.TextContent); ok {
			answer += t.Text
		}
	}
	return answer, nil
}

// learn is the first act: every server does its job, in learn mode.
func (d *demo) learn(ctx context.Context) error {
	d.say("1. Learning. Each server is new; Exeat lets it through and notes where it goes.")
	for _, role := range story.Roles() {
		answer, err := d.call(ctx, role, false, "the usual")
		if err != nil {
			return err
		}
		d.say("   %-9s %s", role, line(answer))
	}
	return nil
}

// review is the second: a person approves what they recognise and sets modes.
func (d *demo) review(ctx context.Context) error {
	d.say("\n2. Review. You approve each server's own API, and nothing approves itself.")
	for _, role := range story.Roles() {
		target := flow.Destination{Host: role.Home(), Port: d.world.Port()}.String()
		req := web.DecideRequest{Targets: []string{target}, Note: "its own API"}
		if err := d.client.call(ctx, http.MethodPost, refPath("/baselines", string(role), "/approve"), req, nil); err != nil {
			return err
		}
		mode := modeOf(role)
		err := d.client.call(ctx, http.MethodPost, refPath("/servers", string(role), "/mode"), web.ModeRequest{Mode: string(mode)}, nil)
		if err != nil {
			return err
		}
		d.say("   %-9s %s approved, mode %s", role, target, mode)
	}
	return nil
}

// modeOf is the mode that the story gives a server.
func modeOf(role story.Role) identity.Mode {
	switch role {
	case story.Postmrk:
		return identity.ModeAlert
	case story.Search, story.Files:
		return identity.ModeLearn
	}
	return identity.ModeBlock
}

// turn is the third: five of the six go wrong, each in its own way.
func (d *demo) turn(ctx context.Context) error {
	d.say("\n3. The turn.")
	for _, scene := range []struct {
		role    story.Role
		updated bool
		text    string
		says    string
	}{
		{story.Calendar, false, "next week", "goes on as before"},
		{story.Postmrk, true, "hello", "a typosquat of postmark: its update also posts its environment to " + story.HostCollector},
		{story.Notes, false, "minutes of Monday", "a harmless note"},
		{story.Notes, false, "the invoice of May", "wakes on the word invoice and copies the note to " + story.HostSleeper},
		{story.Weather, true, "Oslo", "asks for its API and then greets " + story.HostHidden + " inside the tunnel"},
		{story.Search, true, "salaries", "reports what you search for to a request catcher, while still in learn mode"},
		{story.Files, true, "notes.txt", "asks the cloud's metadata service for credentials"},
	} {
		answer, err := d.call(ctx, scene.role, scene.updated, scene.text)
		if err != nil {
			return err
		}
		d.say("   %-9s %s\n             its client sees: %s", scene.role, scene.says, line(answer))
	}
	return nil
}

// expected are the alerts of the story: exactly these.
func expected() map[story.Role]detect.Kind {
	return map[story.Role]detect.Kind{
		story.Postmrk: detect.NewDestination,
		story.Notes:   detect.NewDestination,
		story.Weather: detect.SNIMismatch,
		story.Search:  detect.RiskyDestination,
		story.Files:   detect.MetadataAccess,
	}
}

// alerts returns every alert there is.
func (d *demo) alerts(ctx context.Context) ([]detect.Alert, error) {
	var all []detect.Alert
	err := each(ctx, d.client, "/alerts", url.Values{"limit": {"100"}}, 0, func(a detect.Alert) error {
		all = append(all, a)
		return nil
	})
	return all, err
}

// conclude shows the alerts and where to look further.
func (d *demo) conclude(ctx context.Context, failures []string, exit bool) error {
	alerts, err := d.alerts(ctx)
	if err != nil {
		return err
	}
	d.say("\n4. What Exeat says.")
	for _, a := range alerts {
		d.say("   %-8s %-9s %s", a.Severity, a.Server, line(a.Title))
	}
	d.say("   calendar stayed honest, and nothing is said of it.\n")
	for _, f := range failures {
		d.say("   NOT AS IT SHOULD BE: %s", f)
	}
	d.say("terminal   exeat alerts --data %s", d.cfg.Data)
	if exit {
		d.say("dashboard  exeat serve --data %s", d.cfg.Data)
		return nil
	}
	link, err := d.daemon.web.SignInLink()
	if err != nil {
		return err
	}
	d.say("dashboard  %s", link)
	return nil
}

func (a *app) demoServerCommand() *cobra.Command {
	var updated bool
	cmd := &cobra.Command{
		Use: "demo-server ROLE", Short: "One of the demo's MCP servers, on stdio", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return story.Serve(cmd.Context(), story.Role(args[0]), updated)
		},
	}
	cmd.Flags().BoolVar(&updated, "updated", false, "the server after the update that turned it")
	return cmd
}
