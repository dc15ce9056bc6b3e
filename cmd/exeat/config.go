package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/spf13/pflag"
)

// config is the whole configuration, as the file has it. Every leaf is also a
// flag and an environment variable: see options.
type config struct {
	Data  string `yaml:"data"`
	Proxy struct {
		Listen    string `yaml:"listen"`
		PublicURL string `yaml:"public_url"`
		TLS       struct {
			Cert     string `yaml:"cert"`
			Key      string `yaml:"key"`
			ClientCA string `yaml:"client_ca"`
		} `yaml:"tls"`
	} `yaml:"proxy"`
	Web struct {
		Listen    string `yaml:"listen"`
		PublicURL string `yaml:"public_url"`
		OIDC      struct {
			Issuer   string `yaml:"issuer"`
			ClientID string `yaml:"client_id"`
		} `yaml:"oidc"`
	} `yaml:"web"`
	DNS struct {
		Upstream []string `yaml:"upstream"`
		Timeout  duration `yaml:"timeout"`
	} `yaml:"dns"`
	Network struct {
		AllowPrivate []string `yaml:"allow_private"`
	} `yaml:"network"`
	Store struct {
		URL         string   `yaml:"url"`
		RetainFlows duration `yaml:"retain_flows"`
	} `yaml:"store"`
	Learn struct {
		Window duration `yaml:"window"`
	} `yaml:"learn"`
	Ask struct {
		Hold duration `yaml:"hold"`
	} `yaml:"ask"`
	Limits struct {
		TunnelsPerServer  int      `yaml:"tunnels_per_server"`
		ConnectsPerSecond int      `yaml:"connects_per_second"`
		HeaderTimeout     duration `yaml:"header_timeout"`
		HelloTimeout      duration `yaml:"hello_timeout"`
		IdleTimeout       duration `yaml:"idle_timeout"`
	} `yaml:"limits"`
	Geo struct {
		ASN     string `yaml:"asn"`
		Country string `yaml:"country"`
	} `yaml:"geo"`
	Notify []map[string]any `yaml:"notify"`
}

// option is one leaf of the configuration under its dotted key. The flag is
// the key with '-' for '.' and '_', the environment variable is EXEAT_ and the
// key in capitals.
type option struct {
	key   string
	value pflag.Value
	help  string
}

func (o option) flag() string {
	return strings.NewReplacer(".", "-", "_", "-").Replace(o.key)
}

func (o option) env() string {
	return "EXEAT_" + strings.ToUpper(strings.ReplaceAll(o.key, ".", "_"))
}

// override sets the option from the environment, and then from its flag.
func (o option) override(getenv func(string) string, flags *pflag.FlagSet) error {
	if v := getenv(o.env()); v != "" {
		if err := o.value.Set(v); err != nil {
			return fmt.Errorf("%s: %w", o.env(), err)
		}
	}
	if f := flags.Lookup(o.flag()); f != nil && f.Changed {
		if err := o.value.Set(f.Value.String()); err != nil {
			return fmt.Errorf("--%s: %w", o.flag(), err)
		}
	}
	return nil
}

// options lists every leaf of c but data, which is a global flag of its own.
func (c *config) options() []option {
	return []option{
		{"proxy.listen", (*text)(&c.Proxy.Listen), "where the proxy listens"},
		{"proxy.public_url", (*text)(&c.Proxy.PublicURL), "the address that clients use for the proxy, if not the one it listens on"},
		{"proxy.tls.cert", (*text)(&c.Proxy.TLS.Cert), "certificate file: the proxy then speaks TLS to its clients"},
		{"proxy.tls.key", (*text)(&c.Proxy.TLS.Key), "key file of that certificate"},
		{"proxy.tls.client_ca", (*text)(&c.Proxy.TLS.ClientCA), "CA file: clients must then show a certificate signed by it"},
		{"web.listen", (*text)(&c.Web.Listen), "where the dashboard listens"},
		{"web.public_url", (*text)(&c.Web.PublicURL), "the address that people use for the dashboard, if not the one it listens on"},
		{"dns.upstream", (*list)(&c.DNS.Upstream), "DNS servers to ask: host:port or tls://host; empty: the system's"},
		{"dns.timeout", &c.DNS.Timeout, "how long one name may take to resolve"},
		{"network.allow_private", (*list)(&c.Network.AllowPrivate), "CIDRs that may be reached although they are private"},
		{"store.url", (*text)(&c.Store.URL), "sqlite: and a file, relative to the data directory"},
		{"store.retain_flows", &c.Store.RetainFlows, "how long flows are kept"},
		{"learn.window", &c.Learn.Window, "how long a new server's learning window is shown as open"},
		{"limits.tunnels_per_server", (*number)(&c.Limits.TunnelsPerServer), "open tunnels that one server may have"},
		{"limits.connects_per_second", (*number)(&c.Limits.ConnectsPerSecond), "new connections that one server may make a second"},
		{"limits.header_timeout", &c.Limits.HeaderTimeout, "how long a client may take to send a request head"},
		{"limits.hello_timeout", &c.Limits.HelloTimeout, "how long a client may take to send its ClientHello"},
		{"limits.idle_timeout", &c.Limits.IdleTimeout, "how long a tunnel may be silent"},
		{"geo.asn", (*text)(&c.Geo.ASN), "MMDB file for networks; empty: the bundled data"},
		{"geo.country", (*text)(&c.Geo.Country), "MMDB file for countries; empty: the bundled data"},
	}
}

// defaults returns the configuration of an empty file.
func defaults() *config {
	c := &config{Data: defaultData()}
	c.Proxy.Listen = "127.0.0.1:7180"
	c.Web.Listen = "127.0.0.1:7181"
	c.DNS.Timeout = duration(5 * time.Second)
	c.Store.URL = "sqlite:exeat.db"
	c.Store.RetainFlows = duration(30 * 24 * time.Hour)
	c.Learn.Window = duration(7 * 24 * time.Hour)
	c.Ask.Hold = duration(30 * time.Second)
	c.Limits.TunnelsPerServer = 1024
	c.Limits.ConnectsPerSecond = 50
	c.Limits.HeaderTimeout = duration(10 * time.Second)
	c.Limits.HelloTimeout = duration(10 * time.Second)
	c.Limits.IdleTimeout = duration(time.Hour)
	return c
}

// defaultData is where the XDG base directory specification wants it, or the
// platform's own place.
func defaultData() string {
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "exeat")
	}
	if dir := os.Getenv("LOCALAPPDATA"); runtime.GOOS == "windows" && dir != "" {
		return filepath.Join(dir, "exeat")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "exeat-data"
	}
	return filepath.Join(home, ".local", "share", "exeat")
}

// loadConfig reads the file (none when path is empty), then the environment,
// then the flags that were given, later ones winning, and checks the whole.
func loadConfig(path string, getenv func(string) string, flags *pflag.FlagSet) (*config, error) {
	c := defaults()
	if err := c.readFile(path); err != nil {
		return nil, err
	}
	options := append(c.options(), option{key: "data", value: (*text)(&c.Data)})
	for _, o := range options {
		if err := o.override(getenv, flags); err != nil {
			return nil, err
		}
	}
	data, err := expandHome(c.Data)
	if err != nil {
		return nil, err
	}
	c.Data = data
	return c, c.check()
}

func (c *config) readFile(path string) error {
	if path == "" {
		return nil
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	if len(bytes.TrimSpace(content)) == 0 {
		return nil
	}
	if err := yaml.UnmarshalWithOptions(content, c, yaml.DisallowUnknownField()); err != nil {
		return fmt.Errorf("%s: %s", path, yaml.FormatError(err, false, true))
	}
	return nil
}

// check refuses what can't work, and what this version doesn't do: a setting
// that looks in force and isn't is worse than none.
func (c *config) check() error {
	for _, check := range []func() error{c.checkAddresses, c.checkTLS, c.checkLater} {
		if err := check(); err != nil {
			return err
		}
	}
	_, err := c.allowPrivate()
	return err
}

func (c *config) checkAddresses() error {
	for key, addr := range map[string]string{"proxy.listen": c.Proxy.Listen, "web.listen": c.Web.Listen} {
		if _, port, err := net.SplitHostPort(addr); err != nil || port == "" {
			return fmt.Errorf("%s: %q is not host:port", key, addr)
		}
	}
	for key, address := range map[string]string{"proxy.public_url": c.Proxy.PublicURL, "web.public_url": c.Web.PublicURL} {
		if address != "" && !isOrigin(address) {
			return fmt.Errorf("%s: %q is not http(s)://HOST[:PORT]", key, address)
		}
	}
	return nil
}

func isOrigin(address string) bool {
	u, err := url.Parse(address)
	return err == nil && u.Host != "" && u.User == nil && (u.Scheme == "http" || u.Scheme == "https")
}

func (c *config) checkTLS() error {
	t := c.Proxy.TLS
	if (t.Cert == "") != (t.Key == "") {
		return errors.New("proxy.tls: cert and key belong together")
	}
	if t.ClientCA != "" && t.Cert == "" {
		return errors.New("proxy.tls: client_ca needs cert and key")
	}
	return nil
}

// checkLater refuses the keys of later versions.
func (c *config) checkLater() error {
	if !strings.HasPrefix(c.Store.URL, "sqlite:") {
		return fmt.Errorf("store.url: %q is not a store of this version: use sqlite:FILE", c.Store.URL)
	}
	if c.Web.OIDC.Issuer != "" || c.Web.OIDC.ClientID != "" {
		return errors.New("web.oidc: signing in through an identity provider is not in this version: leave it empty")
	}
	if len(c.Notify) > 0 {
		return errors.New("notify: delivery of alerts is not in this version: leave it empty")
	}
	return nil
}

// allowPrivate returns network.allow_private parsed. A single address counts
// as a prefix of its own.
func (c *config) allowPrivate() ([]netip.Prefix, error) {
	var prefixes []netip.Prefix
	for _, s := range c.Network.AllowPrivate {
		if addr, err := netip.ParseAddr(s); err == nil {
			prefixes = append(prefixes, netip.PrefixFrom(addr, addr.BitLen()))
			continue
		}
		p, err := netip.ParsePrefix(s)
		if err != nil {
			return nil, fmt.Errorf("network.allow_private: %q is not an address or a CIDR", s)
		}
		prefixes = append(prefixes, p.Masked())
	}
	return prefixes, nil
}

// storePath is the file of the SQLite store.
func (c *config) storePath() string {
	file := strings.TrimPrefix(c.Store.URL, "sqlite:")
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(c.Data, file)
}

// dataFlag is what a hint must add for the commands that it names to find this
// data directory.
func (c *config) dataFlag() string {
	if c.Data == defaultData() {
		return ""
	}
	return " --data " + tilde(c.Data)
}

// socketPath is where the command line finds the daemon.
func (c *config) socketPath() string { return filepath.Join(c.Data, "exeat.sock") }

func expandHome(path string) (string, error) {
	rest, ok := strings.CutPrefix(path, "~/")
	if !ok {
		return filepath.Abs(path)
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("data: %w", err)
	}
	return filepath.Join(home, rest), nil
}

// duration is a time.Duration that also knows days: "7d".
type duration time.Duration

func (d *duration) Set(s string) error {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil || n < 0 || n > 100*365 {
			return fmt.Errorf("%q is not a duration such as 90s, 12h or 7d", s)
		}
		*d = duration(n * 24 * float64(time.Hour))
		return nil
	}
	v, err := time.ParseDuration(s)
	if err != nil || v < 0 {
		return fmt.Errorf("%q is not a duration such as 90s, 12h or 7d", s)
	}
	*d = duration(v)
	return nil
}

// UnmarshalText reads a duration of the configuration file.
func (d *duration) UnmarshalText(b []byte) error { return d.Set(string(b)) }

func (d *duration) String() string {
	v := time.Duration(*d)
	if v >= 24*time.Hour && v%(24*time.Hour) == 0 {
		return strconv.Itoa(int(v/(24*time.Hour))) + "d"
	}
	return v.String()
}

func (d *duration) Type() string { return "duration" }

// text, list and number are leaves of the configuration as flag values.
type (
	text   string
	list   []string
	number int
)

func (t *text) Set(s string) error { *t = text(s); return nil }
func (t *text) String() string     { return string(*t) }
func (t *text) Type() string       { return "string" }

func (l *list) Set(s string) error {
	*l = nil
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			*l = append(*l, part)
		}
	}
	return nil
}
func (l *list) String() string { return strings.Join(*l, ",") }
func (l *list) Type() string   { return "list" }

func (n *number) Set(s string) error {
	v, err := strconv.Atoi(s)
	if err != nil || v < 1 {
		return fmt.Errorf("%q is not a number above 0", s)
	}
	*n = number(v)
	return nil
}
func (n *number) String() string { return strconv.Itoa(int(*n)) }
func (n *number) Type() string   { return "number" }
