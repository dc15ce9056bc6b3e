package web_test

import (
	"log/slog"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/exeat/exeat/web"
)

// TestAttribution: the licence of the geographic data may ask for a link back.
func TestAttribution(t *testing.T) {
	h := newHouse(t)
	for _, tt := range []struct {
		name, url, footer string
	}{
		{"a link", "https://geo.example/", ` · <a href="https://geo.example/" target="_blank" rel="noreferrer">Data &lt;by&gt; Geo</a></p>`},
		{"no address", "", ` · Data &lt;by&gt; Geo</p>`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := web.New(web.Config{
				Servers: h.reg, Baselines: h.book, Store: h.db, Sessions: h.db, Journal: h.journal, Events: h.journal.Hub(),
				ProxyURL: parse(t, "http://127.0.0.1:7180"), PublicURL: parse(t, h.url), Logger: slog.New(slog.DiscardHandler),
				Geo: web.GeoInfo{Source: "bundled", Attribution: "Data <by> Geo", AttributionURL: tt.url},
			})
			must(t, err)
			defer s.Close()
			get := func(path string) *httptest.ResponseRecorder {
				req := httptest.NewRequest("GET", "http://exeat"+path, nil)
				rec := httptest.NewRecorder()
				s.SocketHandler().ServeHTTP(rec, req.WithContext(web.WithPeer(req.Context(), web.Peer{UID: 1000})))
				return rec
			}
			for _, path := range []string{"/", "/no/such/page"} {
				if body := get(path).Body.String(); !strings.Contains(body, tt.footer) {
					_, footer, _ := strings.Cut(body, "<footer>")
					t.Errorf("%s: the footer is %s", path, footer)
				}
			}
			var st web.StatusJSON
			decodeInto(t, get("/api/v1/status").Body.Bytes(), &st)
			if st.Geo.Attribution != "Data <by> Geo" || st.Geo.AttributionURL != tt.url {
				t.Errorf("the API says %+v", st.Geo)
			}
		})
	}
}
