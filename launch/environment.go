package launch

import (
	"runtime"
	"strings"

	"github.com/exeat/exeat/identity"
)

// Variable is one environment variable.
type Variable struct{ Key, Value string }

// Environment is what an environment must gain and lose so that the programs
// started in it come through the proxy. The zero value changes nothing.
type Environment struct {
	// Set is in the order in which it should be shown.
	Set []Variable
	// Unset lists inherited variables that would lead round the proxy, or give
	// a server what is ours.
	Unset []string
}

// EnvironmentConfig is what NewEnvironment needs.
type EnvironmentConfig struct {
	// Proxy is the proxy URL with its credential, as exeat server add prints
	// it: "http://NAME:TOKEN@127.0.0.1:7180". It must not be empty.
	Proxy string
	// Server is the name the environment belongs to. It must not be empty.
	Server identity.Name
	// Preload is the path of the Node preload that exists already, as
	// WritePreload returns it. Empty: none, and older Nodes go direct.
	Preload string
	// Base is the environment that is inherited, "KEY=VALUE" each.
	Base []string
}

// ServerVariable names the variable that marks everything inside a launched
// server with the server's name.
const ServerVariable = "EXEAT_SERVER"

// loopback is the whole NO_PROXY. Without it, a client library that talks to
// the proxy itself is proxied once more by Node. An inherited NO_PROXY is not
// kept: each name in it would be a hole.
const loopback = "localhost,127.0.0.1,::1"

// NewEnvironment returns the environment of a server.
//
// Both spellings of each proxy variable are set, because wget and others read
// only the small one. npm's own settings are set too: they come before
// HTTPS_PROXY for npm, yarn and old axios, and a user's .npmrc would otherwise
// win. NODE_USE_ENV_PROXY is harmless where Node doesn't know it; the option
// --use-env-proxy is never used, because Node 20 refuses to start with it.
// Nothing is set for Java, which can't send the credential that is in the URL.
func NewEnvironment(c EnvironmentConfig) Environment {
	e := Environment{Unset: defeating(c.Base)}
	for _, key := range []string{"HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"} {
		e.Set = append(e.Set, Variable{key, c.Proxy})
	}
	e.Set = append(e.Set,
		Variable{"NO_PROXY", loopback},
		Variable{"no_proxy", loopback},
		Variable{"npm_config_proxy", c.Proxy},
		Variable{"npm_config_https_proxy", c.Proxy},
		Variable{"npm_config_noproxy", loopback},
		Variable{"NODE_USE_ENV_PROXY", "1"},
	)
	if c.Preload != "" {
		e.Set = append(e.Set, Variable{"NODE_OPTIONS", nodeOptions(c.Preload, value(c.Base, "NODE_OPTIONS"))})
	}
	e.Set = append(e.Set, Variable{ServerVariable, string(c.Server)})
	return e
}

// Apply returns base with e's changes, "KEY=VALUE" each. It leaves base alone.
func (e Environment) Apply(base []string) []string {
	changed := make(map[string]bool, len(e.Set)+len(e.Unset))
	for _, v := range e.Set {
		changed[canonicalKey(v.Key)] = true
	}
	for _, key := range e.Unset {
		changed[canonicalKey(key)] = true
	}
	var out []string
	for _, kv := range base {
		if key, _, ok := cut(kv); ok && !changed[canonicalKey(key)] {
			out = append(out, kv)
		}
	}
	seen := make(map[string]bool, len(e.Set))
	for _, v := range e.Set {
		if key := canonicalKey(v.Key); !seen[key] {
			seen[key] = true
			out = append(out, v.Key+"="+v.Value)
		}
	}
	return out
}

// Launched returns the name of the server that base is inside of, or "".
func Launched(base []string) identity.Name { return identity.Name(value(base, ServerVariable)) }

// defeating lists the variables in base that some client prefers to the ones
// we set, and those that are Exeat's own: its settings may hold the token of
// the API or the password of the store.
func defeating(base []string) []string {
	var out []string
	for _, kv := range base {
		key, _, ok := cut(kv)
		if !ok {
			continue
		}
		upper := strings.ToUpper(key)
		switch {
		case key == ServerVariable:
		case strings.HasPrefix(upper, "EXEAT_"), defeats(upper):
			out = append(out, key)
		case strings.HasPrefix(upper, "NPM_CONFIG_") && defeatsNPM(key, strings.TrimPrefix(upper, "NPM_CONFIG_")):
			out = append(out, key)
		}
	}
	return out
}

// defeats says whether a variable leads some client round the proxy:
// global-agent for Node, gRPC, WebSocket libraries, SOCKS, pip, uv, Yarn.
// REQUEST_METHOD makes Go and Python think that they are CGI programs and
// ignore HTTP_PROXY (httpoxy).
func defeats(upper string) bool {
	switch upper {
	case "GLOBAL_AGENT_HTTP_PROXY", "GLOBAL_AGENT_HTTPS_PROXY", "GLOBAL_AGENT_NO_PROXY",
		"GLOBAL_AGENT_ENVIRONMENT_VARIABLE_NAMESPACE",
		"GRPC_PROXY", "NO_GRPC_PROXY", "WS_PROXY", "WSS_PROXY", "SOCKS_PROXY", "SOCKS5_PROXY",
		"PIP_PROXY", "UV_HTTP_PROXY", "UV_HTTPS_PROXY", "UV_NO_PROXY",
		"YARN_HTTP_PROXY", "YARN_HTTPS_PROXY", "REQUEST_METHOD":
		return true
	}
	return false
}

// defeatsNPM says whether an npm setting given in the environment does, other
// than under the three names that are set. npm reads the names in any case and
// with either dash or underscore.
func defeatsNPM(key, setting string) bool {
	switch strings.ReplaceAll(setting, "-", "_") {
	case "HTTP_PROXY", "NO_PROXY":
		return true
	case "PROXY", "HTTPS_PROXY", "NOPROXY":
		return key != "npm_config_proxy" && key != "npm_config_https_proxy" && key != "npm_config_noproxy"
	}
	return false
}

// nodeOptions puts our preload before what is there: what others preload then
// finds everything in place.
func nodeOptions(preload, existing string) string {
	require := "--require " + quoteNodeOption(preload)
	switch {
	case existing == "":
		return require
	case strings.Contains(existing, require):
		return existing
	}
	return require + " " + existing
}

// quoteNodeOption quotes a word of NODE_OPTIONS. Node splits it at spaces, and
// a backslash is special only between double quotes.
func quoteNodeOption(s string) string {
	if !strings.ContainsAny(s, " \"") {
		return s
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// value returns the last value of key, as a C library would not, but as a
// shell that starts with base does.
func value(base []string, key string) string {
	var out string
	for _, kv := range base {
		if k, v, ok := cut(kv); ok && canonicalKey(k) == canonicalKey(key) {
			out = v
		}
	}
	return out
}

// cut splits "KEY=VALUE". On Windows, keys of the shell's own begin with "=".
func cut(kv string) (key, val string, ok bool) {
	if kv == "" {
		return "", "", false
	}
	i := strings.IndexByte(kv[1:], '=')
	if i < 0 {
		return "", "", false
	}
	return kv[:i+1], kv[i+2:], true
}

// canonicalKey makes two keys equal that the system takes for the same.
func canonicalKey(key string) string {
	if runtime.GOOS == "windows" {
		return strings.ToUpper(key)
	}
	return key
}
