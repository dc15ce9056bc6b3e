package policy_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/clienthello"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/policy"
)

var (
	public   = netip.MustParseAddr("93.184.216.34")
	private  = netip.MustParseAddr("10.1.2.3")
	metadata = netip.MustParseAddr("169.254.169.254")
	loopback = netip.MustParseAddr("127.0.0.1")
)

func dest(t testing.TB, s string) flow.Destination {
	t.Helper()
	d, err := flow.ParseDestination(s)
	if err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return d
}

func approved(grades ...flow.Grade) baseline.Match {
	return baseline.Match{State: baseline.Approved, Grades: baseline.Of(grades...).With(flow.GradeVerified)}
}

// The answers in short: the first letter is the verdict, "!" means an alarm.
func short(d policy.Decision) string {
	s := "allow "
	if d.Verdict == flow.Refused {
		s = "refuse "
	}
	s += string(d.Reason)
	if d.Alarm {
		s += " !"
	}
	return s
}

// question is one kind of evidence with the answer in each mode.
type question struct {
	name                string
	e                   policy.Evidence
	to                  string
	learn, alert, block string
}

const host, literal = "api.example.com:443", "93.184.216.34:443"

var (
	candidate = baseline.Match{State: baseline.Candidate, Grades: baseline.Of(flow.GradeVerified)}
	rejected  = baseline.Match{State: baseline.Rejected}
)

// nameRows has the first question: who, and which name.
func nameRows() []question {
	return []question{
		{"new", policy.Evidence{}, host,
			"allow learning", "allow new_destination !", "refuse new_destination !"},
		{"candidate", policy.Evidence{Match: candidate}, host,
			"allow learning", "allow new_destination !", "refuse new_destination !"},
		{"approved", policy.Evidence{Match: approved()}, host,
			"allow approved", "allow approved", "allow approved"},
		{"rejected", policy.Evidence{Match: rejected}, host,
			"refuse rejected", "refuse rejected", "refuse rejected"},
		{"risky", policy.Evidence{Risk: "request_catcher"}, host,
			"allow risky_destination !", "allow risky_destination !", "refuse risky_destination !"},
		{"risky and approved", policy.Evidence{Risk: "request_catcher", Match: approved()}, host,
			"allow approved", "allow approved", "allow approved"},
		{"risky and rejected", policy.Evidence{Risk: "request_catcher", Match: rejected}, host,
			"refuse rejected", "refuse rejected", "refuse rejected"},
		{"IP literal", policy.Evidence{}, literal,
			"allow ip_literal !", "allow ip_literal !", "refuse ip_literal !"},
		{"IPv6 literal", policy.Evidence{}, "[2606:4700::1]:443",
			"allow ip_literal !", "allow ip_literal !", "refuse ip_literal !"},
		{"IP literal, approved", policy.Evidence{Match: approved(flow.GradeIPLiteral)}, literal,
			"allow approved", "allow approved", "allow approved"},
		{"risky IP literal", policy.Evidence{Risk: "doh"}, "1.1.1.1:443",
			"allow risky_destination !", "allow risky_destination !", "refuse risky_destination !"},
		{"revoked", policy.Evidence{Revoked: true, Match: approved()}, host,
			"refuse revoked", "refuse revoked", "refuse revoked"},
		{"revoked, to metadata", policy.Evidence{Revoked: true}, "169.254.169.254:80",
			"refuse revoked", "refuse revoked", "refuse revoked"},
	}
}

// forbiddenRows has what is forbidden before anything is resolved.
func forbiddenRows() []question {
	return []question{
		{"private literal", policy.Evidence{Match: approved()}, "10.1.2.3:443",
			"refuse private_address !", "refuse private_address !", "refuse private_address !"},
		{"mapped private literal", policy.Evidence{}, "[::ffff:10.1.2.3]:443",
			"refuse private_address !", "refuse private_address !", "refuse private_address !"},
		{"mapped public literal", policy.Evidence{}, "[::ffff:93.184.216.34]:443",
			"refuse private_address !", "refuse private_address !", "refuse private_address !"},
		{"metadata literal", policy.Evidence{Match: approved()}, "169.254.169.254:80",
			"refuse metadata_access !", "refuse metadata_access !", "refuse metadata_access !"},
		{"metadata by name", policy.Evidence{Match: approved()}, "metadata.google.internal:80",
			"refuse metadata_access !", "refuse metadata_access !", "refuse metadata_access !"},
		{"metadata by its other name", policy.Evidence{Match: rejected}, "Metadata.Goog.:80",
			"refuse metadata_access !", "refuse metadata_access !", "refuse metadata_access !"},
		{"localhost by name", policy.Evidence{}, "localhost:5432",
			"refuse private_address !", "refuse private_address !", "refuse private_address !"},
		{"below localhost", policy.Evidence{}, "db.localhost:5432",
			"refuse private_address !", "refuse private_address !", "refuse private_address !"},
		{"ourselves by name", policy.Evidence{Match: approved()}, "localhost:7181",
			"refuse self_access !", "refuse self_access !", "refuse self_access !"},
		{"ourselves by literal", policy.Evidence{}, "127.0.0.1:7180",
			"refuse self_access !", "refuse self_access !", "refuse self_access !"},
	}
}

// addressRows has the second question: also the address. What was raised stays raised.
func addressRows() []question {
	return []question{
		{"new, public", policy.Evidence{Addr: public}, host,
			"allow learning", "allow new_destination", "refuse new_destination !"},
		{"approved, public", policy.Evidence{Addr: public, Match: approved()}, host,
			"allow approved", "allow approved", "allow approved"},
		{"risky, public", policy.Evidence{Addr: public, Risk: "tunnel"}, host,
			"allow risky_destination", "allow risky_destination", "refuse risky_destination !"},
		{"IP literal, public", policy.Evidence{Addr: public}, literal,
			"allow ip_literal", "allow ip_literal", "refuse ip_literal !"},
		{"approved, private", policy.Evidence{Addr: private, Match: approved()}, host,
			"refuse private_address !", "refuse private_address !", "refuse private_address !"},
		{"approved, metadata", policy.Evidence{Addr: metadata, Match: approved()}, host,
			"refuse metadata_access !", "refuse metadata_access !", "refuse metadata_access !"},
		{"approved, loopback", policy.Evidence{Addr: loopback, Match: approved()}, host,
			"refuse private_address !", "refuse private_address !", "refuse private_address !"},
		{"approved, ourselves", policy.Evidence{Addr: loopback, Match: approved()}, "api.example.com:7180",
			"refuse self_access !", "refuse self_access !", "refuse self_access !"},
	}
}

// helloRows has the third question: also the hello.
func helloRows() []question {
	return []question{
		{"new, verified", policy.Evidence{Addr: public, Grade: flow.GradeVerified}, host,
			"allow learning", "allow new_destination", "refuse new_destination !"},
		{"approved, verified", policy.Evidence{Addr: public, Grade: flow.GradeVerified, Match: approved()}, host,
			"allow approved", "allow approved", "allow approved"},
		{"approved, no SNI", policy.Evidence{Addr: public, Grade: flow.GradeNoSNI, Match: approved()}, host,
			"allow approved", "allow no_sni !", "refuse no_sni !"},
		{"approved with no SNI", policy.Evidence{Addr: public, Grade: flow.GradeNoSNI, Match: approved(flow.GradeNoSNI)}, host,
			"allow approved", "allow approved", "allow approved"},
		{"approved with another grade", policy.Evidence{Addr: public, Grade: flow.GradeNoSNI, Match: approved(flow.GradeNotTLS)}, host,
			"allow approved", "allow no_sni !", "refuse no_sni !"},
		{"approved, not TLS", policy.Evidence{Addr: public, Grade: flow.GradeNotTLS, Match: approved()}, host,
			"allow approved", "allow not_tls !", "refuse not_tls !"},
		{"approved with not TLS", policy.Evidence{Addr: public, Grade: flow.GradeNotTLS, Match: approved(flow.GradeNotTLS)}, host,
			"allow approved", "allow approved", "allow approved"},
		{"approved, hidden", policy.Evidence{Addr: public, Grade: flow.GradeHidden, Match: approved()}, host,
			"allow hidden_name !", "allow hidden_name !", "refuse hidden_name !"},
		{"approved with hidden", policy.Evidence{Addr: public, Grade: flow.GradeHidden, Match: approved(flow.GradeHidden)}, host,
			"allow approved", "allow approved", "allow approved"},
		{"new, hidden", policy.Evidence{Addr: public, Grade: flow.GradeHidden}, host,
			"allow hidden_name !", "allow hidden_name !", "refuse new_destination !"},
		{"approved, SNI differs", policy.Evidence{Addr: public, Grade: flow.GradeSNIDiffers, Match: approved()}, host,
			"allow sni_mismatch !", "allow sni_mismatch !", "refuse sni_mismatch !"},
		{"approved with every grade, SNI differs", policy.Evidence{Addr: public, Grade: flow.GradeSNIDiffers, Match: approved(flow.GradeSNIDiffers)}, host,
			"allow sni_mismatch !", "allow sni_mismatch !", "refuse sni_mismatch !"},
		{"new, no SNI", policy.Evidence{Addr: public, Grade: flow.GradeNoSNI}, host,
			"allow learning", "allow no_sni !", "refuse new_destination !"},
		{"candidate with no SNI", policy.Evidence{Addr: public, Grade: flow.GradeNoSNI, Match: baseline.Match{State: baseline.Candidate, Grades: baseline.Of(flow.GradeNoSNI)}}, host,
			"allow learning", "allow no_sni !", "refuse new_destination !"},
		{"new, SNI differs", policy.Evidence{Addr: public, Grade: flow.GradeSNIDiffers}, host,
			"allow sni_mismatch !", "allow sni_mismatch !", "refuse new_destination !"},
		{"risky, verified", policy.Evidence{Addr: public, Grade: flow.GradeVerified, Risk: "paste"}, host,
			"allow risky_destination", "allow risky_destination", "refuse risky_destination !"},
		{"IP literal with TLS", policy.Evidence{Addr: public, Grade: flow.GradeIPLiteral}, literal,
			"allow ip_literal", "allow ip_literal", "refuse ip_literal !"},
		{"IP literal with TLS, approved", policy.Evidence{Addr: public, Grade: flow.GradeIPLiteral, Match: approved()}, literal,
			"allow approved", "allow approved", "allow approved"},
		{"IP literal without TLS", policy.Evidence{Addr: public, Grade: flow.GradeNotTLS}, literal,
			"allow ip_literal", "allow not_tls !", "refuse ip_literal !"},
		{"IP literal without TLS, approved", policy.Evidence{Addr: public, Grade: flow.GradeNotTLS, Match: approved(flow.GradeIPLiteral)}, literal,
			"allow approved", "allow not_tls !", "refuse not_tls !"},
		{"rejected meanwhile", policy.Evidence{Addr: public, Grade: flow.GradeVerified, Match: rejected}, host,
			"refuse rejected", "refuse rejected", "refuse rejected"},
		{"revoked meanwhile", policy.Evidence{Revoked: true, Addr: public, Grade: flow.GradeSNIDiffers, Match: approved()}, host,
			"refuse revoked", "refuse revoked", "refuse revoked"},
	}
}

func TestDecide(t *testing.T) {
	rows := slices.Concat(nameRows(), forbiddenRows(), addressRows(), helloRows())
	g := &policy.Guard{OwnPorts: []uint16{7180, 7181}}
	for _, r := range rows {
		for mode, want := range map[identity.Mode]string{
			identity.ModeLearn: r.learn, identity.ModeAlert: r.alert, identity.ModeBlock: r.block,
			"": r.block, "ask": r.block, "LEARN": r.block,
		} {
			e := r.e
			e.Mode, e.Dest = mode, dest(t, r.to)
			if got := short(policy.Decide(g, e)); got != want {
				t.Errorf("%s, mode %q: %s, want %s", r.name, mode, got, want)
			}
		}
	}
}

// TestDecideOnce walks every connection through its three questions and counts
// the alarms: no reason is raised twice, and the last reason is never one that
// was not given before without an alarm.
func TestDecideOnce(t *testing.T) {
	g := &policy.Guard{}
	grades := []flow.Grade{
		flow.GradeVerified, flow.GradeNoSNI, flow.GradeSNIDiffers, flow.GradeCaptured, flow.GradeIPLiteral, flow.GradeNotTLS, flow.GradeHidden,
	}
	for _, mode := range []identity.Mode{identity.ModeLearn, identity.ModeAlert, identity.ModeBlock} {
		for _, state := range []baseline.State{baseline.None, baseline.Candidate, baseline.Approved, baseline.Rejected} {
			for _, to := range []string{"api.example.com:443", "93.184.216.34:443"} {
				for _, risk := range []string{"", "paste"} {
					for _, grade := range grades {
						name := fmt.Sprintf("%s %s %s %s %s", mode, state, to, risk, grade)
						walk(t, g, name, policy.Evidence{Mode: mode, Dest: dest(t, to), Match: baseline.Match{State: state}, Risk: risk}, grade)
					}
				}
			}
		}
	}
}

func walk(t *testing.T, g *policy.Guard, name string, e policy.Evidence, grade flow.Grade) {
	t.Helper()
	raised := make(map[flow.Reason]int)
	var last policy.Decision
	for stage := range 3 {
		switch stage {
		case 1:
			e.Addr = public
		case 2:
			e.Grade = grade
		}
		d := policy.Decide(g, e)
		if d.Verdict != flow.Allowed && d.Verdict != flow.Refused || d.Reason == "" {
			t.Fatalf("%s: no answer: %+v", name, d)
		}
		if d.Alarm {
			raised[d.Reason]++
		}
		if stage > 0 && !d.Alarm && d.Verdict == flow.Allowed && d.Reason != last.Reason {
			t.Errorf("%s: the reason went from %s to %s without an alarm", name, last.Reason, d.Reason)
		}
		last = d
		if d.Verdict == flow.Refused {
			break
		}
	}
	for reason, n := range raised {
		if n > 1 {
			t.Errorf("%s: %s was raised %d times", name, reason, n)
		}
	}
	calm := last.Reason == flow.ReasonApproved || last.Reason == flow.ReasonLearning || last.Reason == flow.ReasonRejected
	if !calm && raised[last.Reason] == 0 {
		t.Errorf("%s: ended as %s, which was never raised", name, short(last))
	}
}

func TestDecideOpenedNames(t *testing.T) {
	open := func(prefixes ...string) *policy.Guard {
		g := &policy.Guard{OwnPorts: []uint16{7180}}
		for _, p := range prefixes {
			g.AllowPrivate = append(g.AllowPrivate, netip.MustParsePrefix(p))
		}
		return g
	}
	rows := []struct {
		g    *policy.Guard
		to   string
		want string
	}{
		{open(), "localhost:5432", "refuse private_address !"},
		{open("10.0.0.0/8"), "localhost:5432", "refuse private_address !"},
		{open("127.0.0.0/8"), "localhost:5432", "allow learning"},
		{open("::1/128"), "localhost:5432", "allow learning"},
		{open("127.0.0.0/8"), "localhost:7180", "refuse self_access !"},
		{open("127.0.0.0/8"), "127.0.0.1:7180", "refuse self_access !"},
		{open("169.254.0.0/16"), "metadata.google.internal:80", "refuse metadata_access !"},
		{open("169.254.169.254/32"), "metadata.google.internal:80", "allow learning"},
		{open(), "notlocalhost:80", "allow learning"},
		{open(), "localhost.example.com:80", "allow learning"},
	}
	for _, r := range rows {
		e := policy.Evidence{Mode: identity.ModeLearn, Dest: dest(t, r.to)}
		if got := short(policy.Decide(r.g, e)); got != r.want {
			t.Errorf("%s with %v open: %s, want %s", r.to, r.g.AllowPrivate, got, r.want)
		}
	}
}

func TestGradeOf(t *testing.T) {
	rows := []struct {
		name string
		to   string
		h    clienthello.Hello
		tls  bool
		want flow.Grade
	}{
		{"the name", host, clienthello.Hello{ServerName: "api.example.com"}, true, flow.GradeVerified},
		{"the name with a dot", host, clienthello.Hello{ServerName: "api.example.com."}, true, flow.GradeVerified},
		{"the name in capitals", host, clienthello.Hello{ServerName: "API.Example.COM"}, true, flow.GradeVerified},
		{"the name with ECH", host, clienthello.Hello{ServerName: "api.example.com", ECH: true}, true, flow.GradeVerified},
		{"another name", host, clienthello.Hello{ServerName: "evil.example.net"}, true, flow.GradeSNIDiffers},
		{"a name above", host, clienthello.Hello{ServerName: "example.com"}, true, flow.GradeSNIDiffers},
		{"no name at all", host, clienthello.Hello{ServerName: "a b"}, true, flow.GradeSNIDiffers},
		{"an address as a name", host, clienthello.Hello{ServerName: "93.184.216.34"}, true, flow.GradeSNIDiffers},
		{"none", host, clienthello.Hello{}, true, flow.GradeNoSNI},
		{"none with ECH", host, clienthello.Hello{ECH: true}, true, flow.GradeHidden},
		{"an outer name", host, clienthello.Hello{ServerName: "front.example.net", ECH: true}, true, flow.GradeHidden},
		{"not TLS", host, clienthello.Hello{}, false, flow.GradeNotTLS},
		{"not TLS, whatever the hello", host, clienthello.Hello{ServerName: "api.example.com"}, false, flow.GradeNotTLS},
		{"IP literal", literal, clienthello.Hello{}, true, flow.GradeIPLiteral},
		{"IP literal with a name", literal, clienthello.Hello{ServerName: "api.example.com"}, true, flow.GradeIPLiteral},
		{"IP literal not TLS", literal, clienthello.Hello{}, false, flow.GradeNotTLS},
		{"IPv6 literal", "[2606:4700::1]:443", clienthello.Hello{}, true, flow.GradeIPLiteral},
	}
	for _, r := range rows {
		if got := policy.GradeOf(dest(t, r.to), r.h, r.tls); got != r.want {
			t.Errorf("%s: %s, want %s", r.name, got, r.want)
		}
	}
}
