package pkgspec_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/exeat/exeat/mcp/pkgspec"
)

func npm(name, version string, pinned bool) pkgspec.Spec {
	return pkgspec.Spec{Ecosystem: pkgspec.NPM, Name: name, Version: version, Pinned: pinned}
}

func pypi(name, version string, pinned bool) pkgspec.Spec {
	return pkgspec.Spec{Ecosystem: pkgspec.PyPI, Name: name, Version: version, Pinned: pinned}
}

const sum = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// The commands are written with single spaces between arguments; a tilde
// stands for a space inside one.
func TestParse(t *testing.T) {
	for _, tt := range []struct {
		command string
		want    pkgspec.Spec
	}{
		{"npx -y @modelcontextprotocol/server-github", npm("@modelcontextprotocol/server-github", "", false)},
		{"npx -y @modelcontextprotocol/server-github@2025.4.8 --verbose", npm("@modelcontextprotocol/server-github", "2025.4.8", true)},
		{"npx --yes tavily-mcp@latest", npm("tavily-mcp", "latest", false)},
		{"npx tavily-mcp@^0.2.1", npm("tavily-mcp", "^0.2.1", false)},
		{"npx tavily-mcp@0.2", npm("tavily-mcp", "0.2", false)},
		{"npx tavily-mcp@1.0.0-beta.1", npm("tavily-mcp", "1.0.0-beta.1", true)},
		{"npx -y --package=@scope/tools@1.2.3 -- server --port 1", npm("@scope/tools", "1.2.3", true)},
		{"npx -y --package @scope/tools@1.2.3 server", npm("@scope/tools", "1.2.3", true)},
		{"npx -p first -p second cmd", npm("first", "", false)},
		{"npx --registry http://localhost:1 -y pkg", npm("pkg", "", false)},
		{"npx -- pkg@1.0.0", npm("pkg", "1.0.0", true)},
		{"npx -y alias@npm:@real/name@2.0.0", npm("@real/name", "2.0.0", true)},
		{"npx mcp-remote https://example.com/sse", npm("mcp-remote", "", false)},
		{"/usr/local/bin/npx -y pkg", npm("pkg", "", false)},
		{`C:\Program~Files\nodejs\npx.cmd -y pkg@1.2.3`, npm("pkg", "1.2.3", true)},
		{"NPX.CMD -y pkg", npm("pkg", "", false)},
		{"npm exec -y -- pkg@1.2.3 arg", npm("pkg", "1.2.3", true)},
		{"npm x --package=pkg -- bin", npm("pkg", "", false)},
		{"npm --prefix /tmp exec pkg", npm("pkg", "", false)},
		{"npm --package=pkg exec bin", npm("pkg", "", false)},
		{"pnpm dlx pkg@3.0.0", npm("pkg", "3.0.0", true)},
		{"pnpm --package=a@1.0.0 dlx b", npm("a", "1.0.0", true)},
		{"pnpx pkg", npm("pkg", "", false)},
		{"yarn dlx -p typescript@5.0.0 tsc", npm("typescript", "5.0.0", true)},
		{"yarn dlx pkg", npm("pkg", "", false)},
		{"bunx pkg@1.0.0", npm("pkg", "1.0.0", true)},
		{"bunx --bun pkg", npm("pkg", "", false)},
		{"bun x pkg", npm("pkg", "", false)},
		{"env A=b C=d npx -y pkg", npm("pkg", "", false)},
		{"/usr/bin/env -i -u HOME PATH=/bin npx pkg", npm("pkg", "", false)},
		{"env -S npx~-y~pkg@1.0.0", npm("pkg", "1.0.0", true)},
		{"cmd /c npx -y pkg", npm("pkg", "", false)},
		{`C:\Windows\System32\cmd.exe /D /S /C npx.cmd pkg`, npm("pkg", "", false)},
		{"node /usr/lib/node_modules/npm/bin/npx-cli.js -y pkg", npm("pkg", "", false)},
		{"exeat run github --mode block -- npx -y pkg", npm("pkg", "", false)},
		{"op run --env-file=.env -- npx -y pkg", npm("pkg", "", false)},
		{"nice -n 10 npx pkg", npm("pkg", "", false)},

		{"uvx mcp-server-git", pypi("mcp-server-git", "", false)},
		{"uvx mcp-server-git@latest", pypi("mcp-server-git", "latest", false)},
		{"uvx mcp-server-git@2025.1.14", pypi("mcp-server-git", "2025.1.14", true)},
		{"uvx mcp_server.fetch==1.2.3", pypi("mcp-server-fetch", "1.2.3", true)},
		{"uvx --python 3.12 --with httpx Server[cli,extra]>=1.0,<2 --flag", pypi("server", ">=1.0,<2", false)},
		{"uvx --from mcp-atlassian==0.11.2 mcp-atlassian", pypi("mcp-atlassian", "0.11.2", true)},
		{"uvx --from=pkg~[a]~==~1.0 cmd", pypi("pkg", "1.0", true)},
		{"uvx -p3.12 pkg==1.*", pypi("pkg", "==1.*", false)},
		{"uv tool run pkg==1.0.0rc1", pypi("pkg", "1.0.0rc1", true)},
		{"uv --directory /srv tool run --with x pkg", pypi("pkg", "", false)},
		{"pipx run --spec pkg~==~2.0 cmd", pypi("pkg", "2.0", true)},
		{"pipx run pkg", pypi("pkg", "", false)},

		{"docker run -i --rm mcp/fetch", pkgspec.Spec{Ecosystem: pkgspec.Docker, Name: "mcp/fetch"}},
		{"docker run -i --rm -e TOKEN -v /a:/b ghcr.io/github/github-mcp-server:v1.2 stdio",
			pkgspec.Spec{Ecosystem: pkgspec.Docker, Name: "ghcr.io/github/github-mcp-server", Version: "v1.2"}},
		{"docker run -ieA=b --network=none localhost:5000/a/b@" + sum,
			pkgspec.Spec{Ecosystem: pkgspec.Docker, Name: "localhost:5000/a/b", Version: sum, Pinned: true}},
		{"docker run -it postgres:16@" + sum, pkgspec.Spec{Ecosystem: pkgspec.Docker, Name: "postgres", Version: sum, Pinned: true}},
		{"docker --context remote container run --name x --init img", pkgspec.Spec{Ecosystem: pkgspec.Docker, Name: "img"}},
		{"podman run --rm --replace quay.io/x/y:1", pkgspec.Spec{Ecosystem: pkgspec.Docker, Name: "quay.io/x/y", Version: "1"}},

		{"go run github.com/x/y/cmd/z@v1.2.3", pkgspec.Spec{Ecosystem: pkgspec.Go, Name: "github.com/x/y/cmd/z", Version: "v1.2.3", Pinned: true}},
		{"go run -mod=mod -tags a,b example.com/y@latest -flag", pkgspec.Spec{Ecosystem: pkgspec.Go, Name: "example.com/y", Version: "latest"}},

		{"deno run -A npm:@scope/pkg@1.2.3/bin", npm("@scope/pkg", "1.2.3", true)},
		{"deno run --allow-net npm:pkg", npm("pkg", "", false)},
		{"deno run -c deno.json jsr:@a/b@^1", pkgspec.Spec{Ecosystem: pkgspec.JSR, Name: "@a/b", Version: "^1"}},
		{"deno run https://deno.land/x/foo@1.2.3/mod.ts", pkgspec.Spec{Ecosystem: pkgspec.Deno, Name: "deno.land/x/foo", Version: "1.2.3", Pinned: true}},
		{"deno https://esm.sh/@a/b?x=1", pkgspec.Spec{Ecosystem: pkgspec.Deno, Name: "esm.sh/@a/b"}},

		{"dnx Contoso.Mcp@1.0.0 --yes", pkgspec.Spec{Ecosystem: pkgspec.NuGet, Name: "Contoso.Mcp", Version: "1.0.0", Pinned: true}},
		{"dotnet tool exec Contoso.Mcp --version 1.0.0", pkgspec.Spec{Ecosystem: pkgspec.NuGet, Name: "Contoso.Mcp", Version: "1.0.0", Pinned: true}},
	} {
		t.Run(tt.command, func(t *testing.T) {
			got, ok := pkgspec.Parse(argv(tt.command))
			if !ok || got != tt.want {
				t.Errorf("got %+v, %v; want %+v", got, ok, tt.want)
			}
		})
	}
}

func TestParseNoPackage(t *testing.T) {
	for _, command := range []string{
		"", "npx", "npx -y", "npx -c echo", "npx ./local", "npx ../x", "npx /abs/path", "npx github:user/repo",
		"npx git+https://example.com/x.git", "npx https://example.com/x.tgz", "npx user/repo", "npx @scope/", "npx @", "npx pkg@file:../x",
		"npx " + strings.Repeat("a", 215),
		"npm run server", "npm", "npm exec", "yarn start", "pnpm exec x", "bun run index.ts", "bun",
		"uvx", "uvx --from git+https://example.com/x cmd", "uvx ./dir", "uvx script.py", "uv run server.py", "uv tool install x", "uv",
		"python -m mcp_server", "python3 server.py", "pipx install x", "pipx run",
		"docker", "docker compose up", "docker exec -i c cmd", "docker run", "docker run -i --rm UPPER", "docker run img@sha256:abc",
		"go run .", "go run ./cmd/x", "go run main.go", "go run example.com/x", "go build x@v1.0.0",
		"deno run server.ts", "deno run jsr:noscope", "deno task x", "deno",
		"dnx", "dotnet run", "dotnet tool exec",
		"sh -c npx~-y~pkg", "bash -lc uvx~x", "cmd npx pkg", "cmd /c", "env", "env A=b", "node server.js", "java -jar x.jar",
		"exeat run github", "/usr/bin/server",
	} {
		if got, ok := pkgspec.Parse(argv(command)); ok {
			t.Errorf("%q gave %+v", command, got)
		}
	}
}

func TestParseIsBounded(t *testing.T) {
	if _, ok := pkgspec.Parse(argv(strings.Repeat("env ", 50) + "npx pkg")); ok {
		t.Error("fifty wrappers were taken off")
	}
	if _, ok := pkgspec.Parse(append(make([]string, 0, 2000), strings.Split(strings.Repeat("env A=b ", 800)+"npx pkg", " ")...)); ok {
		t.Error("over a thousand arguments were read")
	}
	if _, ok := pkgspec.Parse([]string{"npx", strings.Repeat("-", 5000), "pkg"}); ok {
		t.Error("a huge argument was read")
	}
}

// FuzzParse checks what every answer promises: a known ecosystem, a name that
// can be shown and looked up, and a version only of what is pinned.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		"npx -y @a/b@1.2.3", "docker run -it -e A=b x/y:1@" + sum, "uvx --from a[b]==1 c", "env -S npx~a", "cmd /c npx a",
		"deno run npm:@a/b@1/c", "go run a.b/c@v1.0.0", "dnx a@1", "node npx-cli.js a", "pipx run --spec a b",
	} {
		f.Add(s)
	}
	known := map[string]bool{pkgspec.NPM: true, pkgspec.PyPI: true, pkgspec.Docker: true, pkgspec.Go: true, pkgspec.Deno: true, pkgspec.JSR: true, pkgspec.NuGet: true}
	name := regexp.MustCompile(`^[A-Za-z0-9@_~-][A-Za-z0-9@:/._~-]*$`)
	f.Fuzz(func(t *testing.T, command string) {
		spec, ok := pkgspec.Parse(argv(command))
		if !ok {
			if spec != (pkgspec.Spec{}) {
				t.Fatalf("%q: %+v without ok", command, spec)
			}
			return
		}
		if !known[spec.Ecosystem] || !name.MatchString(spec.Name) || len(spec.Name) > 4096 {
			t.Fatalf("%q: %+v", command, spec)
		}
		if spec.Pinned && spec.Version == "" {
			t.Fatalf("%q: pinned to nothing", command)
		}
	})
}

func argv(command string) []string {
	if command == "" {
		return nil
	}
	args := strings.Split(command, " ")
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "~", " ")
	}
	return args
}
