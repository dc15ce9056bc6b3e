package proxy

import (
	"errors"
	"net/http"
	"strings"

	"github.com/exeat/exeat/flow"
)

// Errors of target: sentences for the client, without its input.
var (
	errOrigin   = errors.New("the request is for this port itself, which is a proxy and no web server")
	errScheme   = errors.New("only http:// and https:// can be asked for")
	errUserinfo = errors.New("the URL carries a user name")
	errConnect  = errors.New("a CONNECT must be the first request of its connection")
	errMethod   = errors.New("the method TRACE is not passed on")
	errAuths    = errors.New("the request has more than one Proxy-Authorization field")
)

// target reads where a request in absolute form goes (RFC 9112, section 3.2.2).
// The authority is taken from the request line as it was sent, and read by
// the one reader of destinations; the Host field has no say.
func target(r *http.Request, maxFields int) (flow.Method, flow.Destination, error) {
	if err := checkForm(r, maxFields); err != nil {
		return "", flow.Destination{}, err
	}
	scheme, rest, ok := strings.Cut(r.RequestURI, "://")
	if !ok {
		return "", flow.Destination{}, errOrigin
	}
	method, port := flow.MethodHTTP, ":80"
	switch strings.ToLower(scheme) {
	case "http":
	case "https":
		method, port = flow.MethodHTTPS, ":443"
	default:
		return "", flow.Destination{}, errScheme
	}
	authority := rest
	if i := strings.IndexAny(rest, "/?#\\"); i >= 0 {
		authority = rest[:i]
	}
	if strings.Contains(authority, "@") {
		return "", flow.Destination{}, errUserinfo
	}
	if strings.LastIndexByte(authority, ':') <= strings.LastIndexByte(authority, ']') {
		authority += port
	}
	d, err := flow.ParseDestination(authority)
	return method, d, err
}

// checkForm refuses what isn't a request in absolute form at all.
func checkForm(r *http.Request, maxFields int) error {
	fields := 0
	for _, values := range r.Header {
		fields += len(values)
	}
	switch {
	case fields > maxFields:
		return errHeadFields
	case r.Method == http.MethodConnect:
		return errConnect
	case r.Method == http.MethodTrace:
		return errMethod
	case strings.HasPrefix(r.RequestURI, "/"), r.RequestURI == "*":
		return errOrigin
	case len(r.Header["Proxy-Authorization"]) > 1:
		return errAuths
	}
	return nil
}

func statusOf(err error) int {
	switch {
	case errors.Is(err, errMethod):
		return http.StatusMethodNotAllowed
	case errors.Is(err, errHeadFields):
		return http.StatusRequestHeaderFieldsTooLarge
	}
	return http.StatusBadRequest
}
