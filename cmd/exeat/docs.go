package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

// docsCommand writes docs/cli.md; a test holds that file to it.
func docsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "docs", Short: "Print the reference of every command as Markdown", Hidden: true, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return writeReference(cmd.OutOrStdout(), cmd.Root())
		},
	}
}

// writeReference writes one section a command, in the order of the help.
func writeReference(w io.Writer, root *cobra.Command) error {
	var b strings.Builder
	b.WriteString("# Command line\n\nMade by `exeat docs`; don't edit. Exit status: 0 done, 1 failed, 2 wrong usage,\n" +
		"3 the server left its baseline (`run` passes on the command's own).\n\n" +
		"| column | says |\n|---|---|\n" +
		"| COVERAGE | `covered`: launched by `exeat run`, and what was seen came through; `silent`: launched, no traffic yet; `blind`: not launched by Exeat |\n" +
		"| GRADE | `verified`: name asked for, SNI and our DNS answer agree; else `no_sni`, `sni_differs`, `ip_literal`, `not_tls`, `hidden` (ECH); `-`: refused before it came so far |\n" +
		"| END | who ended it: `client`, `server`, `idle`, `error`, `revoked`, `shutdown`; `refused`; `failed` (DNS, dial, TLS); `lost` (Exeat died) |\n")
	writeCommand(&b, root)
	_, err := io.WriteString(w, b.String())
	return err
}

func writeCommand(b *strings.Builder, cmd *cobra.Command) {
	if cmd.Hidden || cmd.Name() == "help" {
		return
	}
	cmd.InitDefaultHelpFlag()
	fmt.Fprintf(b, "\n## %s\n\n%s\n\n```\n%s\n```\n", cmd.CommandPath(), text2md(cmd), cmd.UseLine())
	if cmd.Example != "" {
		fmt.Fprintf(b, "\nExamples:\n\n```\n%s\n```\n", cmd.Example)
	}
	if flags := cmd.NonInheritedFlags().FlagUsages(); flags != "" {
		fmt.Fprintf(b, "\nFlags:\n\n```\n%s```\n", flags)
	}
	for _, sub := range cmd.Commands() {
		writeCommand(b, sub)
	}
}

func text2md(cmd *cobra.Command) string {
	if cmd.Long != "" {
		return cmd.Long
	}
	return cmd.Short + "."
}
