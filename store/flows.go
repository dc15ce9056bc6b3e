package store

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
)

// flowColumns are the columns of a flow in the order of encoded.insert
// and scanFlow.
const flowColumns = `opened, id, closed, server, name, owner, mode, method, host, port, chain, ip, asn, org, country,
	sni, alpn, ja4, ech, grade, phase, tool, bytes_up, bytes_down, verdict, reason, ending`

// encoded has the parts of a flow that aren't stored as they are.
type encoded struct{ chain, alpn, ip string }

func encodeFlow(f *flow.Flow) (e encoded, err error) {
	if e.chain, err = list(f.Chain); err != nil {
		return e, err
	}
	e.ip = addrText(f.IP)
	e.alpn, err = list(f.ALPN)
	return e, err
}

// insert returns the arguments of upsertFlow but the last, which is the
// destination.
func (e *encoded) insert(f *flow.Flow) []any {
	args := make([]any, 0, 28)
	return append(args,
		micros(f.Opened), blob(f.ID), micros(f.Closed), blob(f.ServerID), string(f.Server), f.Owner,
		string(f.Mode), string(f.Method), f.Host, int64(f.Port), e.chain, e.ip,
		int64(f.Place.ASN), f.Place.Org, f.Place.Country, f.SNI, e.alpn, f.JA4, f.ECH,
		string(f.Grade), string(f.Phase), f.Tool, f.BytesUp, f.BytesDown,
		string(f.Verdict), string(f.Reason), string(f.End))
}

// update returns the arguments of updateFlow.
func (e *encoded) update(f *flow.Flow) []any {
	return []any{
		micros(f.Closed), e.ip, int64(f.Place.ASN), f.Place.Org, f.Place.Country, e.chain, f.SNI, e.alpn, f.JA4,
		f.ECH, string(f.Phase), f.Tool, f.BytesUp, f.BytesDown, string(f.End),
		micros(f.Opened), blob(f.ID), string(f.Verdict), string(f.Reason), string(f.Grade),
		string(f.Server), f.Owner, string(f.Mode),
	}
}

func scanFlow(s scanner) (flow.Flow, error) {
	var f flow.Flow
	var opened, closed int64
	var chain, alpn, ip string
	err := s.Scan(&opened, &f.ID, &closed, &f.ServerID, &f.Server, &f.Owner, &f.Mode, &f.Method, &f.Host, &f.Port,
		&chain, &ip, &f.Place.ASN, &f.Place.Org, &f.Place.Country, &f.SNI, &alpn, &f.JA4, &f.ECH,
		&f.Grade, &f.Phase, &f.Tool, &f.BytesUp, &f.BytesDown, &f.Verdict, &f.Reason, &f.End)
	if err != nil {
		return f, err
	}
	f.Opened, f.Closed = fromMicros(opened), fromMicros(closed)
	if f.Chain, err = fromList[string](chain); err != nil {
		return f, err
	}
	if f.ALPN, err = fromList[string](alpn); err != nil {
		return f, err
	}
	f.IP, err = fromAddrText(ip)
	return f, err
}

// Flow returns one flow, or ErrNotFound.
func (d *DB) Flow(ctx context.Context, id uuid.UUID) (flow.Flow, error) {
	flows, err := readAll(ctx, d, "SELECT "+flowColumns+" FROM flows INDEXED BY flows_id WHERE id = ?", []any{blob(id)}, scanFlow)
	if err != nil {
		return flow.Flow{}, err
	}
	if len(flows) == 0 {
		return flow.Flow{}, ErrNotFound
	}
	return flows[0], nil
}

// Flows returns a page of flows, newest first by opening time. It costs about
// the same whatever the number of flows: every way to ask is an index.
func (d *DB) Flows(ctx context.Context, q FlowQuery) (Page[flow.Flow], error) {
	limit := limitOf(q.Limit)
	after, paged, err := parseCursor(flowCursor, q.Cursor)
	if err != nil {
		return Page[flow.Flow]{}, err
	}
	if len(q.IDs) > maxLimit {
		return Page[flow.Flow]{}, fmt.Errorf("%w: at most %d flow ids at once", ErrBadQuery, maxLimit)
	}
	var c conditions
	arms, rest, err := d.flowArms(ctx, &c, q)
	if err != nil || len(arms) == 0 {
		return Page[flow.Flow]{}, err
	}
	flowConditions(&c, rest)
	// One upper bound, so that every index can seek to it.
	if !q.Until.IsZero() && (!paged || micros(q.Until) <= after.at) {
		after, paged = key{at: micros(q.Until)}, true
	}
	if paged {
		c.add("(opened, id) < (%s, %s)", after.at, blob(after.id))
	}
	flows, err := readAll(ctx, d, flowSelect(&c, arms, limit+1), c.args, scanFlow)
	if err != nil {
		return Page[flow.Flow]{}, err
	}
	return page(flows, limit, flowCursor, func(f *flow.Flow) key { return key{micros(f.Opened), f.ID} }), nil
}

// flowConditions adds what the flows of every arm must meet besides.
func flowConditions(c *conditions, q FlowQuery) {
	if q.Server != (identity.ID{}) {
		c.add("server = %s", blob(q.Server))
	}
	if q.Port != 0 {
		c.add("port = %s", int64(q.Port))
	}
	if q.Verdict != "" {
		c.add("verdict = %s", string(q.Verdict))
	}
	if q.Grade != "" {
		c.add("grade = %s", string(q.Grade))
	}
	if q.Reason != "" {
		c.add("reason = %s", string(q.Reason))
	}
	if !q.Since.IsZero() {
		c.add("opened >= %s", micros(q.Since))
	}
	if q.Open {
		c.add("closed = 0")
	}
}

// arm is one walk along an index, newest first: the index and the condition
// that picks its place in it. A listing merges its arms.
type arm struct{ index, term string }

// maxArms bounds how many destinations a host pattern is walked by.
const maxArms = 64

// flowArms chooses the index for q: the most selective of what it asks for. It
// returns the arms, of which there are none if nothing can match, and what of q
// they leave to be tested.
func (d *DB) flowArms(ctx context.Context, c *conditions, q FlowQuery) ([]arm, FlowQuery, error) {
	switch {
	case q.IDs != nil:
		return idArms(c, q), q, nil
	case q.Host != "":
		return d.hostArms(ctx, c, q)
	}
	return plainArms(c, q), q, nil
}

func idArms(c *conditions, q FlowQuery) []arm {
	if len(q.IDs) == 0 {
		return nil
	}
	if q.Host != "" {
		hostCondition(c, q.Host)
	}
	marks := make([]string, len(q.IDs))
	for i, id := range q.IDs {
		marks[i] = c.bind(blob(id))
	}
	return []arm{{"INDEXED BY flows_id", "id IN (" + strings.Join(marks, ",") + ")"}}
}

// plainArms chooses for a query without a host.
func plainArms(c *conditions, q FlowQuery) []arm {
	switch {
	case q.Open:
		return []arm{{"INDEXED BY flows_open", "closed = 0"}}
	case q.Reason != "" && q.Reason != flow.ReasonApproved && q.Reason != flow.ReasonLearning:
		return []arm{{"INDEXED BY flows_reason", "reason NOT IN ('approved', 'learning')"}}
	case q.Grade != "" && q.Grade != flow.GradeVerified:
		return []arm{{"INDEXED BY flows_grade", "grade NOT IN ('', 'verified')"}}
	case q.Server != (identity.ID{}):
		return verdictArms(c, "INDEXED BY flows_server", "server = "+c.bind(blob(q.Server)), q.Verdict)
	case q.Verdict != "":
		return []arm{{"INDEXED BY flows_verdict", "verdict = " + c.bind(string(q.Verdict))}}
	}
	return []arm{{"NOT INDEXED", "TRUE"}}
}

// verdictArms are the arms of an index that goes on with the verdict.
func verdictArms(c *conditions, index, term string, v flow.Verdict) []arm {
	verdicts := []flow.Verdict{flow.Allowed, flow.Refused}
	if v != "" {
		verdicts = []flow.Verdict{v}
	}
	arms := make([]arm, 0, len(verdicts))
	for _, v := range verdicts {
		arms = append(arms, arm{index, term + " AND verdict = " + c.bind(string(v))})
	}
	return arms
}

// hostArms walks each destination that the host covers, and of the flows
// counted as OtherHosts those whose own host it covers. If there are very many
// it tests the host of each flow instead; so many are soon met.
func (d *DB) hostArms(ctx context.Context, c *conditions, q FlowQuery) ([]arm, FlowQuery, error) {
	ids, err := d.destinationRows(ctx, q.Server, q.Host, q.Port)
	if err != nil {
		return nil, q, err
	}
	var others []int64
	if q.Host != OtherHosts {
		if others, err = d.destinationRows(ctx, q.Server, OtherHosts, 0); err != nil {
			return nil, q, err
		}
	}
	if len(ids)+len(others) > maxArms {
		hostCondition(c, q.Host)
		return plainArms(c, q), q, nil
	}
	var arms []arm
	for _, id := range ids {
		arms = append(arms, verdictArms(c, "INDEXED BY flows_dest", "dest = "+c.bind(id), q.Verdict)...)
	}
	for _, id := range others {
		arms = append(arms, verdictArms(c, "INDEXED BY flows_dest", otherTerm(c, id, q), q.Verdict)...)
	}
	q.Server, q.Port, q.Verdict = identity.ID{}, 0, "" // these the arms ensure
	return arms, q, nil
}

// destinationRows returns the rows of a host's destinations, at most one more
// than maxArms. No server and no port mean any.
func (d *DB) destinationRows(ctx context.Context, server identity.ID, host string, port uint16) ([]int64, error) {
	var c conditions
	destinationHost(&c, host)
	if server != (identity.ID{}) {
		c.add("server = %s", blob(server))
	}
	if port != 0 {
		c.add("port = %s", int64(port))
	}
	return readAll(ctx, d, fmt.Sprintf("SELECT id FROM destinations%s LIMIT %d", c.where(), maxArms+1), c.args,
		func(s scanner) (id int64, err error) { return id, s.Scan(&id) })
}

// otherTerm picks, of the flows counted in a row of OtherHosts, q's.
func otherTerm(c *conditions, row int64, q FlowQuery) string {
	term := "dest = " + c.bind(row) + " AND " + hostTerm(c, q.Host)
	if q.Port != 0 {
		term += " AND port = " + c.bind(int64(q.Port))
	}
	return term
}

// hostCondition restricts flows to those to host or to its sub-domains.
func hostCondition(c *conditions, host string) { c.terms = append(c.terms, hostTerm(c, host)) }

func hostTerm(c *conditions, host string) string {
	if host == OtherHosts {
		return "dest IN (SELECT id FROM destinations WHERE host = " + c.bind(host) + ")"
	}
	if suffix, ok := strings.CutPrefix(host, "*"); ok {
		return "substr(host, " + c.bind(-len(suffix)) + ") = " + c.bind(suffix)
	}
	return "host = " + c.bind(host)
}

// destinationHost does the same for destinations, by index: backwards, the
// sub-domains of x are what lies between ".x" and the byte after the dot.
func destinationHost(c *conditions, host string) {
	if suffix, ok := strings.CutPrefix(host, "*."); ok {
		rev := reverse(suffix)
		c.add("host_rev > %s AND host_rev < %s", rev+".", rev+"/")
		return
	}
	c.add("host = %s", host)
}

// flowSelect merges the arms, newest first, and reads the flows of the page.
// The merge needs no sorting since every index ends in (opened, id).
func flowSelect(c *conditions, arms []arm, limit int) string {
	walks := make([]string, 0, len(arms))
	for _, a := range arms {
		walks = append(walks, "SELECT opened, id FROM flows "+a.index+c.where(a.term))
	}
	columns := "f." + strings.Join(slices.Collect(strings.SplitSeq(strings.Join(strings.Fields(flowColumns), ""), ",")), ", f.")
	return "SELECT " + columns + " FROM (" + strings.Join(walks, " UNION ALL ") +
		fmt.Sprintf(" ORDER BY opened DESC, id DESC LIMIT %d) k CROSS JOIN flows f NOT INDEXED ON f.opened = k.opened AND f.id = k.id", limit) +
		" ORDER BY k.opened DESC, k.id DESC"
}
