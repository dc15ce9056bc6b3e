package main

import (
	"maps"

	"github.com/exeat/exeat/proxy"
	"github.com/exeat/exeat/resolve"
)

// counters gathers what /metrics and /api/v1/status count beyond the web's own.
// Every name is fixed here: no host ever becomes a label.
func (d *daemon) counters() map[string]int64 {
	all := proxyCounters(d.proxy.Counters())
	maps.Copy(all, dnsCounters(d.resolver.Stats()))
	s := d.journal.Status()
	all["record_events"] = s.Recorded
	all["record_lost"] = s.Lost
	all["record_waits"] = s.Waits
	all["record_overloaded"] = s.Overloaded
	all["auth_failures"] = d.registry.Failures()
	return all
}

func proxyCounters(c proxy.Counters) map[string]int64 {
	all := map[string]int64{
		"proxy_accepted":       c.Accepted,
		"proxy_accept_errors":  c.AcceptErrors,
		"proxy_evicted":        c.Evicted,
		"proxy_strangers":      c.Strangers,
		"proxy_bad_requests":   c.BadRequests,
		"proxy_head_timeouts":  c.HeadTimeouts,
		"proxy_auth_missing":   c.AuthMissing,
		"proxy_auth_failed":    c.AuthFailed,
		"proxy_auth_throttled": c.AuthThrottled,
		"proxy_flows":          c.Flows,
		"proxy_tunnels":        c.Tunnels,
		"proxy_requests":       c.Requests,
		"proxy_overloaded":     c.Overloaded,
		"proxy_limit_tunnels":  c.LimitTunnels,
		"proxy_limit_rate":     c.LimitRate,
		"proxy_alarms_lost":    c.AlarmsLost,
		"proxy_hello_errors":   c.HelloErrors,
		"proxy_hello_timeouts": c.HelloTimeout,
		"proxy_idle":           c.Idle,
		"proxy_cut":            c.Cut,
		"proxy_panics":         c.Panics,
	}
	for reason, n := range c.Refused {
		all["proxy_refused_"+string(reason)] = n
	}
	return all
}

func dnsCounters(s resolve.Stats) map[string]int64 {
	return map[string]int64{
		"dns_lookups":  int64(s.Lookups),
		"dns_hits":     int64(s.Hits),
		"dns_merged":   int64(s.Merged),
		"dns_queries":  int64(s.Queries),
		"dns_ignored":  int64(s.Ignored),
		"dns_failures": int64(s.Failures),
	}
}
