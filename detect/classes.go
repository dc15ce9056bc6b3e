package detect

// The classes of risky destinations.
const (
	ClassRequestCatcher   = "request_catcher"
	ClassTunnel           = "tunnel"
	ClassPaste            = "paste"
	ClassFileDrop         = "file_drop"
	ClassChatWebhook      = "chat_webhook"
	ClassDynamicDNS       = "dynamic_dns"
	ClassDoHResolver      = "doh_resolver"
	ClassAnonymousGateway = "anonymous_gateway"
)

// ClassInfo is what people are told about a class of risky destinations.
type ClassInfo struct {
	Class    string
	Name     string   // with its article, as in "a request catcher"
	Why      string   // why it matters, in sentences
	Severity Severity // of a connection that was let through
}

// Classes returns every class, in the order of the data file.
func Classes() []ClassInfo {
	return []ClassInfo{
		{ClassRequestCatcher, "a request catcher",
			"Whoever opens such a page gets an address, and sees everything that anybody sends to it. That makes it the simplest place to have " +
				"stolen keys and files delivered to; the Shai-Hulud worm of 2025 used one. Security testers use it for the same reason.",
			High},
		{ClassTunnel, "a public tunnel",
			"A tunnel service gives a machine behind a router a public name for an hour. What answers may be anybody's laptop, " +
				"and tomorrow the same name may be somebody else's.",
			High},
		{ClassPaste, "a paste site",
			"Anybody can leave text there, often without an account, and fetch it from elsewhere. It serves to take data out, " +
				"and to leave commands where a program comes to read them.",
			High},
		{ClassFileDrop, "a file drop",
			"Anybody can upload a file there without saying who they are and pass the link on. It serves to take files out, " +
				"and to hand programs in.",
			High},
		{ClassChatWebhook, "a chat or push webhook",
			"A message sent there lands in a chat or on a telephone of whoever made the hook. It needs one request and no server of one's own, " +
				"which is why many stealers report home that way. Servers that are made to send messages use it honestly.",
			Medium},
		{ClassDynamicDNS, "a dynamic DNS name",
			"A free name that can be pointed at any address within a minute. Home servers use them, and so does malware that has to move often.",
			Medium},
		{ClassDoHResolver, "a DNS-over-HTTPS resolver",
			"A program that asks such a resolver looks names up past Exeat's own, where nobody sees which. The questions themselves can carry data out.",
			Medium},
		{ClassAnonymousGateway, "a gateway to an anonymous network",
			"Behind the gateway lies a network whose hosts have no known owner and can't be taken down (Tor, IPFS, canisters of the Internet Computer). " +
				"Attackers keep commands and stolen data there; the TeamPCP campaign of 2026 did.",
			High},
	}
}

// classInfo returns what is known of a class; an unknown one is described in
// general words.
func classInfo(class string) ClassInfo {
	for _, c := range Classes() {
		if c.Class == class {
			return c
		}
	}
	return ClassInfo{
		Class: class, Name: "a risky destination",
		Why:      "Hosts of this class are often used to take data out or to bring commands in.",
		Severity: Medium,
	}
}
