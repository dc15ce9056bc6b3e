package web

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5/middleware"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/store"
)

// scrapeTimeout bounds what a scrape may ask of the store.
const scrapeTimeout = 5 * time.Second

// maxServerLabels bounds the series by server; what is beyond it is summed up
// as "other". Never is a host name a label: a client chooses those.
const maxServerLabels = 500

// metrics answers /metrics from a registry of its own.
type metrics struct {
	http.Handler
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
}

func newMetrics(s *Server) *metrics {
	reg := prometheus.NewRegistry()
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "exeat_http_requests_total", Help: "Requests to dashboard and API, by route and class of status."},
			[]string{"route", "status"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "exeat_http_request_seconds", Help: "Time to answer, by route; event streams are left out.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, 1, 5}}, []string{"route"}),
	}
	reg.MustRegister(m.requests, m.seconds, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}), newState(s))
	for _, c := range s.cfg.Collectors {
		reg.MustRegister(c)
	}
	m.Handler = promhttp.HandlerFor(reg, promhttp.HandlerOpts{ErrorHandling: promhttp.ContinueOnError})
	return m
}

// counted counts and times requests by route pattern, never by path.
func (s *Server) counted(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ww := middleware.NewWrapResponseWriter(w, r.ProtoMajor)
		start := time.Now()
		next.ServeHTTP(ww, r)
		name := route(r)
		s.metrics.requests.WithLabelValues(name, strconv.Itoa(ww.Status()/100)+"xx").Inc()
		if name != "/api/v1/events" {
			s.metrics.seconds.WithLabelValues(name).Observe(time.Since(start).Seconds())
		}
	})
}

// state reads what the store and the journal know at the time of a scrape.
type state struct {
	s *Server

	servers, degraded, queue, alerts, build                       *prometheus.Desc
	flows, refused, up, down, open                                *prometheus.Desc
	lost, recorded, waits, overloaded, unsaved, counter, baseline *prometheus.Desc
}

func newState(s *Server) *state {
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("exeat_"+name, help, labels, nil)
	}
	return &state{
		s:          s,
		build:      d("build_info", "Always 1; the version is the label.", "version"),
		servers:    d("servers", "Servers, by mode and status.", "mode", "status"),
		alerts:     d("alerts", "Alerts, by status.", "status"),
		flows:      d("flows_total", "Flows that ended, by server.", "server"),
		refused:    d("flows_refused_total", "Flows that were refused, by server.", "server"),
		up:         d("bytes_up_total", "Bytes that servers sent.", "server"),
		down:       d("bytes_down_total", "Bytes that servers received.", "server"),
		open:       d("open_alerts", "Alerts with status open, by server.", "server"),
		baseline:   d("baseline_entries", "Entries of all baselines, by state.", "state"),
		degraded:   d("store_degraded", "1 while the store can't be written."),
		queue:      d("record_queue", "Flows that wait to be written."),
		lost:       d("record_lost_total", "Flows that ended unrecorded."),
		recorded:   d("record_written_total", "Flow events written."),
		waits:      d("record_waits_total", "Connections that had to wait for room in the queue."),
		overloaded: d("record_overloaded_total", "Connections refused because the queue stayed full."),
		unsaved:    d("record_unsaved_alerts", "Alerts that wait for the store to come back."),
		counter:    d("events_total", "Other counts, by what was counted.", "what"),
	}
}

// Describe sends nothing: the series depend on which servers there are, which
// makes this an unchecked collector.
func (c *state) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *state) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), scrapeTimeout)
	defer cancel()
	servers := c.s.cfg.Servers.Servers()
	c.identities(out, servers)
	c.journal(out)
	if counts, err := c.s.cfg.Store.AlertCounts(ctx); err != nil {
		out <- prometheus.NewInvalidMetric(c.alerts, err)
	} else {
		for _, st := range []detect.Status{detect.Open, detect.Acknowledged, detect.Resolved} {
			out <- gauge(c.alerts, float64(counts[st]), string(st))
		}
	}
	totals, err := c.s.cfg.Store.Totals(ctx)
	if err != nil {
		out <- prometheus.NewInvalidMetric(c.flows, err)
		return
	}
	for label, t := range byLabel(servers, totals) {
		out <- count(c.flows, t.Flows, label)
		out <- count(c.refused, t.Refused, label)
		out <- count(c.up, t.BytesUp, label)
		out <- count(c.down, t.BytesDown, label)
		out <- gauge(c.open, float64(t.OpenAlerts), label)
	}
}

func (c *state) identities(out chan<- prometheus.Metric, servers []identity.Server) {
	out <- gauge(c.build, 1, c.s.cfg.Version)
	type kind struct{ mode, status string }
	kinds := map[kind]float64{}
	var all BaselineSummary
	for _, srv := range servers {
		kinds[kind{string(srv.Mode), string(srv.Status)}]++
		b := c.s.summary(srv)
		all.Approved += b.Approved
		all.Candidates += b.Candidates
		all.Rejected += b.Rejected
	}
	for k, n := range kinds {
		out <- gauge(c.servers, n, k.mode, k.status)
	}
	out <- gauge(c.baseline, float64(all.Approved), "approved")
	out <- gauge(c.baseline, float64(all.Candidates), "candidate")
	out <- gauge(c.baseline, float64(all.Rejected), "rejected")
	for what, n := range c.s.counters() {
		out <- count(c.counter, n, what)
	}
}

func (c *state) journal(out chan<- prometheus.Metric) {
	st := c.s.cfg.Journal.Status()
	degraded := 0.0
	if st.Degraded {
		degraded = 1
	}
	out <- gauge(c.degraded, degraded)
	out <- gauge(c.queue, float64(st.Queue))
	out <- count(c.lost, st.Lost)
	out <- count(c.recorded, st.Recorded)
	out <- count(c.waits, st.Waits)
	out <- count(c.overloaded, st.Overloaded)
	out <- gauge(c.unsaved, float64(st.UnsavedAlerts))
}

// byLabel sums totals up by the label that a server has.
func byLabel(servers []identity.Server, totals map[identity.ID]store.Totals) map[string]store.Totals {
	out := map[string]store.Totals{}
	for i, srv := range servers {
		label := srv.Ref()
		if i >= maxServerLabels {
			label = "other"
		}
		sum, t := out[label], totals[srv.ID]
		sum.Flows += t.Flows
		sum.Refused += t.Refused
		sum.BytesUp += t.BytesUp
		sum.BytesDown += t.BytesDown
		sum.OpenAlerts += t.OpenAlerts
		out[label] = sum
	}
	return out
}

func gauge(d *prometheus.Desc, v float64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func count(d *prometheus.Desc, v int64, labels ...string) prometheus.Metric {
	return prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}
