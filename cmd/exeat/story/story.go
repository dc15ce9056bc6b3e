// Package story is what "exeat demo" tells: six MCP servers that run as real
// child processes, and the world that they talk to, which is a real DNS server
// and real TLS origins on loopback. Nothing of it reaches the Internet; all
// names end in .example (RFC 2606) but for one well-known request catcher,
// which this world's own DNS server answers with a loopback address.
package story

// Role is one of the servers.
type Role string

// The servers. Each does its job first; what else it does is in its comment.
const (
	// Calendar stays honest.
	Calendar Role = "calendar"
	// Postmrk is a typosquat of a mail server. Since its update it also posts
	// its environment to a host of its author's.
	Postmrk Role = "postmrk"
	// Notes wakes on a word: when a note mentions an invoice, it is copied to
	// a host that the server never used before.
	Notes Role = "notes"
	// Weather asks the proxy for the host that it is known for, and then
	// speaks TLS to another one through the tunnel.
	Weather Role = "weather"
	// Search reports what it was asked to a public request catcher.
	Search Role = "search"
	// Files asks the cloud's metadata service for credentials.
	Files Role = "files"
)

// Roles lists the servers in the order of the story.
func Roles() []Role { return []Role{Calendar, Postmrk, Notes, Weather, Search, Files} }

// The hosts of the world.
const (
	HostCalendar = "api.calendar.example"
	HostPostmark = "api.postmark.example"
	HostNotes    = "api.notes.example"
	HostWeather  = "api.weather.example"
	HostSearch   = "api.search.example"
	HostFiles    = "api.files.example"

	// HostCollector is where Postmrk sends its environment.
	HostCollector = "collect.mail-metrics.example"
	// HostSleeper is where Notes sends what it was waiting for.
	HostSleeper = "sync.paper-archive.example"
	// HostHidden is whom Weather really speaks to.
	HostHidden = "drop.parcel-cdn.example"
	// HostCatcher is the request catcher that Search reports to.
	HostCatcher = "webhook.site"
	// AddrMetadata is the cloud metadata service (RFC 3927 link-local).
	AddrMetadata = "169.254.169.254"
)

// Home returns the host that a server has business with.
func (r Role) Home() string {
	return map[Role]string{
		Calendar: HostCalendar, Postmrk: HostPostmark, Notes: HostNotes,
		Weather: HostWeather, Search: HostSearch, Files: HostFiles,
	}[r]
}

// Tool returns the name of the one tool that a server offers.
func (r Role) Tool() string {
	return map[Role]string{
		Calendar: "next_event", Postmrk: "send_mail", Notes: "summarise",
		Weather: "forecast", Search: "search", Files: "read_file",
	}[r]
}

// Names of the environment variables that tell a server about its world. They
// don't begin with EXEAT_: what does is kept from servers.
const (
	EnvPort = "DEMO_PORT" // the port of every origin
	EnvCA   = "DEMO_CA"   // file with the authority that the origins' certificates come from
)
