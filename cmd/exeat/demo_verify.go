package main

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"time"

	"github.com/exeat/exeat/cmd/exeat/story"
	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/flow"
)

// verify compares what Exeat saw, and what the world saw, with the story. It
// returns a sentence for each part that is not as it should be.
func (d *demo) verify(ctx context.Context) ([]string, error) {
	flows, err := d.settledFlows(ctx)
	if err != nil {
		return nil, err
	}
	alerts, err := d.alerts(ctx)
	if err != nil {
		return nil, err
	}
	var failures []string
	failures = append(failures, checkAlerts(alerts)...)
	failures = append(failures, d.checkWorld()...)
	return append(failures, checkFlows(flows)...), nil
}

// settledFlows waits until every flow of the story has ended and is stored.
func (d *demo) settledFlows(ctx context.Context) ([]flow.Flow, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var flows []flow.Flow
		open := 0
		err := each(ctx, d.client, "/flows", url.Values{"limit": {"500"}}, 0, func(f flow.Flow) error {
			flows = append(flows, f)
			if f.End == "" {
				open++
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
		// Six first calls, seven later ones, and four that went elsewhere too.
		if open == 0 && len(flows) >= 17 {
			return flows, nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, fmt.Errorf("of 17 flows %d were recorded, %d of them still open", len(flows), open)
		}
	}
}

// checkAlerts holds the alerts to be exactly those of the story.
func checkAlerts(alerts []detect.Alert) []string {
	var failures []string
	want := expected()
	seen := make(map[story.Role]bool)
	for i := range alerts {
		a := &alerts[i]
		role := story.Role(a.Server)
		if want[role] != a.Kind {
			failures = append(failures, fmt.Sprintf("an alert %s about %s that nobody expected", a.Kind, a.Server))
			continue
		}
		seen[role] = true
		if a.Title == "" || a.Explanation == "" || a.Next == "" {
			failures = append(failures, fmt.Sprintf("the alert %s about %s does not explain itself", a.Kind, a.Server))
		}
	}
	for role, kind := range want {
		if !seen[role] {
			failures = append(failures, fmt.Sprintf("no alert %s about %s", kind, role))
		}
	}
	return failures
}

// checkWorld asks the far side: what was refused must not have been noticed
// there at all, not even as a DNS query.
func (d *demo) checkWorld() []string {
	var failures []string
	for _, c := range []struct {
		holds bool
		what  string
	}{
		{d.world.Reached(story.HostCollector), "in alert mode the post to " + story.HostCollector + " goes through"},
		{!d.world.Asked(story.HostSleeper), "the refused name " + story.HostSleeper + " is never asked of DNS"},
		{!d.world.Greeted(story.HostHidden), "not one byte of the contradicting hello reaches the origin"},
		{d.world.Reached(story.HostCatcher), "in learn mode the request catcher is reached"},
	} {
		if !c.holds {
			failures = append(failures, "it does not hold that "+c.what)
		}
	}
	for _, role := range story.Roles() {
		if !d.world.Reached(role.Home()) {
			failures = append(failures, fmt.Sprintf("%s never reached %s", role, role.Home()))
		}
	}
	return failures
}

// checkFlows holds each flow to what its server did. flows come newest first.
func checkFlows(flows []flow.Flow) []string {
	var failures []string
	met := make(map[story.Role]bool)
	for i := range slices.Backward(flows) { // oldest first
		f := &flows[i]
		role := story.Role(f.Server)
		want := wantFlow(role, f, !met[role])
		met[role] = true
		got := outcome{f.Verdict, f.Reason, f.Grade}
		if got != want {
			failures = append(failures, fmt.Sprintf("%s to %s was %v and should have been %v", f.Server, f.Host, got, want))
		}
	}
	return failures
}

// outcome is what was made of a flow.
type outcome struct {
	Verdict flow.Verdict
	Reason  flow.Reason
	Grade   flow.Grade
}

// wantFlow is what should have been made of f. The first flow of a server was
// made before anything was approved.
func wantFlow(role story.Role, f *flow.Flow, first bool) outcome {
	host := f.Host
	switch {
	case role == story.Weather && f.SNI == story.HostHidden:
		return outcome{flow.Refused, flow.ReasonSNIMismatch, flow.GradeSNIDiffers}
	case role == story.Notes && host == story.HostSleeper:
		return outcome{flow.Refused, flow.ReasonNewDestination, ""}
	case role == story.Postmrk && host == story.HostCollector:
		return outcome{flow.Allowed, flow.ReasonNewDestination, flow.GradeVerified}
	case role == story.Search && host == story.HostCatcher:
		return outcome{flow.Allowed, flow.ReasonRiskyDestination, flow.GradeVerified}
	case role == story.Files && host == story.AddrMetadata:
		return outcome{flow.Refused, flow.ReasonMetadataAccess, ""}
	case first:
		return outcome{flow.Allowed, flow.ReasonLearning, flow.GradeVerified}
	}
	return outcome{flow.Allowed, flow.ReasonApproved, flow.GradeVerified}
}
