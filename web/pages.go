package web

import (
	"bytes"
	"context"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/record"
)

// page is what every template gets.
type page struct {
	Title string
	Nav   string // which entry of the navigation is this page's
	Flash string // what was just done, in a sentence
	Here  string // this page's path and query, to come back to
	Alone bool   // without navigation: nobody is signed in
	Frame frame
	Body  any
}

// frame is what surrounds every page.
type frame struct {
	OpenAlerts int64
	Record     record.Status
	Gaps       []record.Gap
	Geo        GeoInfo
	Version    string
}

// gapNotice is for how long a page speaks of a gap in the record.
const gapNotice = 24 * time.Hour

// loadTemplates parses every page with the layout and the shared parts.
func (s *Server) loadTemplates() (map[string]*template.Template, error) {
	entries, err := embedded.ReadDir("templates")
	if err != nil {
		return nil, fmt.Errorf("web: templates: %w", err)
	}
	shared, err := template.New("").Funcs(s.funcs()).Option("missingkey=error").
		ParseFS(embedded, "templates/layout.html", "templates/parts.html", "templates/picture.html")
	if err != nil {
		return nil, fmt.Errorf("web: templates: %w", err)
	}
	out := map[string]*template.Template{}
	for _, e := range entries {
		name := strings.TrimSuffix(e.Name(), path.Ext(e.Name()))
		t, err := shared.Clone()
		if err == nil {
			t, err = t.ParseFS(embedded, "templates/"+e.Name())
		}
		if err != nil {
			return nil, fmt.Errorf("web: template %s: %w", name, err)
		}
		out[name] = t
	}
	return out, nil
}

// render answers with a page. It is made whole before a byte is sent, so that
// an error can still be told, and goes through visible as a whole, so that no
// template has to think of it.
func (s *Server) render(w http.ResponseWriter, r *http.Request, status int, name string, p page) {
	var buf bytes.Buffer
	if err := s.tmpl[name].ExecuteTemplate(&buf, "layout", p); err != nil {
		s.log.Error("page can't be rendered", "page", name, "err", err)
		http.Error(w, "This page can't be shown. The log of exeat serve has the cause.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(bytes.Map(visible, buf.Bytes())) // the client is gone when this fails
	}
}

// show answers with a page inside the frame.
func (s *Server) show(w http.ResponseWriter, r *http.Request, name string, p page) {
	f, err := s.frame(r.Context())
	if err != nil {
		s.failPage(w, r, err)
		return
	}
	p.Frame, p.Here, p.Flash = f, here(r), flashText(r.URL.Query().Get("done"))
	s.render(w, r, http.StatusOK, name, p)
}

func (s *Server) frame(ctx context.Context) (frame, error) {
	f := frame{Record: s.cfg.Journal.Status(), Geo: s.cfg.Geo, Version: s.cfg.Version}
	counts, err := s.cfg.Store.AlertCounts(ctx)
	if err != nil {
		return frame{}, err
	}
	f.OpenAlerts = counts[detect.Open]
	f.Gaps, err = s.cfg.Store.Gaps(ctx, s.now().Add(-gapNotice))
	return f, err
}

// here is the address of this page without the word of what was just done.
func here(r *http.Request) string {
	q := r.URL.Query()
	q.Del("done")
	u := url.URL{Path: r.URL.Path, RawQuery: q.Encode()}
	return u.RequestURI()
}

// failPage tells a person that something could not be done.
func (s *Server) failPage(w http.ResponseWriter, r *http.Request, err error) {
	p := explain(err)
	s.logFailure(r, p, err)
	s.errorPage(w, r, p)
}

// errorPage needs neither store nor session: it may be why there is none.
func (s *Server) errorPage(w http.ResponseWriter, r *http.Request, p problem) {
	p.Title = http.StatusText(p.Status)
	body := struct {
		problem
		Back string
	}{p, "/"}
	if visitorOf(r).actor != "" && r.Method == http.MethodPost {
		body.Back = localPath(r.PostFormValue("back"))
	}
	s.render(w, r, p.Status, "error", page{Title: p.Title, Alone: visitorOf(r).actor == "", Body: body,
		Frame: frame{Geo: s.cfg.Geo, Version: s.cfg.Version}})
}

// back sends a browser to where its form said it came from, with a word for
// what was done.
func (s *Server) back(w http.ResponseWriter, r *http.Request, done string, err error) {
	if err != nil {
		s.failPage(w, r, err)
		return
	}
	to, err := url.Parse(localPath(r.PostFormValue("back")))
	if err != nil {
		to = &url.URL{Path: "/"}
	}
	q := to.Query()
	q.Set("done", done)
	to.RawQuery = q.Encode()
	http.Redirect(w, r, to.RequestURI(), http.StatusSeeOther)
}

// flashText turns a word of back into its sentence. Only known words are
// shown, so that no link can put a sentence on our pages.
func flashText(done string) string {
	what, number, _ := strings.Cut(done, ":")
	n, _ := strconv.ParseInt(number, 10, 32)
	switch what {
	case "approved":
		return plural(n, "destination", "destinations") + " approved. It holds from the next connection on."
	case "rejected":
		return plural(n, "destination", "destinations") + " rejected. It is refused from the next connection on, in every mode."
	case "mode":
		return "The mode was changed. It holds from the next connection on."
	case "revoked":
		return "The server was revoked, and its open tunnels are cut."
	case "credential":
		return "The credential was withdrawn, and tunnels opened with it are cut."
	case "renamed":
		return "The server was renamed. The old name goes on to mean it, in proxy URLs and for exeat run."
	case "removed":
		return "The server was removed. Its flows and alerts stay under the name it had."
	case "listener":
		return "The server has a listener of its own."
	case "ack":
		return "The alert was acknowledged. It goes on counting."
	case "resolve":
		return "The alert was resolved. The same cause will raise a new one."
	case "alert-approve":
		return "The destination was approved, and the alert resolved."
	case "alert-reject":
		return "The destination was rejected, and the alert resolved."
	case "ended":
		return "The session was ended."
	}
	return ""
}

// bounce is a page that asks for itself again. See turnAway.
func (s *Server) bounce(w http.ResponseWriter, r *http.Request) {
	s.render(w, r, http.StatusOK, "bounce", page{Title: "One moment", Alone: true, Here: here(r),
		Frame: frame{Version: s.cfg.Version}})
}
