package detect

import (
	"fmt"
	"slices"
)

// Kinds returns every kind that this version raises, in the order in which
// people are shown them.
func Kinds() []Kind {
	return []Kind{
		NewDestination, RiskyDestination, SNIMismatch, NoSNI, NotTLS, HiddenName,
		IPLiteral, PrivateAddress, MetadataAccess, SelfAccess, AuthFailures,
	}
}

// ParseKind returns s as a Kind.
func ParseKind(s string) (Kind, error) {
	kinds := Kinds()
	if !slices.Contains(kinds, Kind(s)) {
		return "", fmt.Errorf("%q is not a kind of alert: use one of %v", s, kinds)
	}
	return Kind(s), nil
}

// ParseSeverity returns s as a Severity.
func ParseSeverity(s string) (Severity, error) {
	if Severity(s).Rank() < 0 {
		return "", fmt.Errorf("%q is not a severity: use info, low, medium, high or critical", s)
	}
	return Severity(s), nil
}

// Rank orders severities: 0 for info to 4 for critical, and -1 for what is no
// severity.
func (s Severity) Rank() int { return slices.Index(severities(), s) }

// higher returns the severity one step above s, lower the one below.
func (s Severity) higher() Severity { return severities()[min(s.Rank()+1, 4)] }
func (s Severity) lower() Severity  { return severities()[max(s.Rank()-1, 0)] }

func severities() []Severity { return []Severity{Info, Low, Medium, High, Critical} }
