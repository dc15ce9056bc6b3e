package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/exeat/exeat/identity"
)

// app is what every command shares: the global flags.
type app struct {
	data       string
	configFile string
}

func newRoot() *cobra.Command {
	a := &app{}
	root := &cobra.Command{
		Use:   "exeat",
		Short: "The egress gate for MCP servers",
		Long: "Exeat is the egress gate for MCP servers: a forward proxy that knows which MCP server each outbound connection belongs to,\n" +
			"learns where that server legitimately goes, and warns or refuses the moment that changes.",
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              cobra.NoArgs,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.PersistentFlags().StringVar(&a.data, "data", "", "data directory (default "+tilde(defaultData())+")")
	root.PersistentFlags().StringVar(&a.configFile, "config", "", "configuration file (YAML)")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return &usageError{try(err, cmd.CommandPath()+" --help")}
	})
	root.AddCommand(
		a.serveCommand(), a.demoCommand(), a.demoServerCommand(), a.runCommand(), a.envCommand(),
		a.serverCommand(), a.flowsCommand(), a.baselineCommand(), a.alertsCommand(),
		a.doctorCommand(), a.signInCommand(), a.tokenCommand(), a.versionCommand(), docsCommand(),
	)
	usageErrors(root)
	return root
}

// usageErrors makes a wrong count of arguments wrong usage, with exit status 2.
func usageErrors(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			err := check(cmd, args)
			var h *hint
			if err == nil || errors.As(err, &h) {
				return usage(err)
			}
			return usage(try(err, cmd.CommandPath()+" --help"))
		}
	}
	for _, sub := range cmd.Commands() {
		usageErrors(sub)
	}
}

// nameAt and modeAt check one argument before anything is asked of a daemon.
func nameAt(i int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		_, err := identity.ParseName(args[i])
		return err
	}
}

// refAt is nameAt for "name" or "owner/name".
func refAt(i int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		_, name := splitRef(args[i])
		_, err := identity.ParseName(name)
		return err
	}
}

func modeAt(i int) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		_, err := identity.ParseMode(args[i])
		return err
	}
}

// usage makes err, unless it is nil, wrong usage.
func usage(err error) error {
	if err == nil {
		return nil
	}
	return &usageError{err}
}

// usagef is wrong usage found by a command itself.
func usagef(format string, args ...any) error {
	return &usageError{fmt.Errorf(format, args...)}
}

// load reads the configuration for a command.
func (a *app) load(cmd *cobra.Command) (*config, error) {
	path := a.configFile
	if path == "" {
		path = os.Getenv("EXEAT_CONFIG")
	}
	if path == "" {
		path = defaultConfigFile()
	}
	cfg, err := loadConfig(path, os.Getenv, cmd.Flags())
	if err != nil {
		return nil, &usageError{err}
	}
	return cfg, nil
}

// defaultConfigFile is exeat/config.yaml in the user's configuration
// directory, if it is there.
func defaultConfigFile() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	path := filepath.Join(dir, "exeat", "config.yaml")
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return ""
	}
	return path
}

// tilde writes a path under the home directory shortly.
func tilde(path string) string {
	home, err := os.UserHomeDir()
	if err != nil {
		return path
	}
	if rel, err := filepath.Rel(home, path); err == nil && filepath.IsLocal(rel) {
		return filepath.Join("~", rel)
	}
	return path
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "exeat", version())
			return err
		},
	}
}

// version is the module's version, or the commit that it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}
