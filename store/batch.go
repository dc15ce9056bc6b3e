package store

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/record"
)

// SaveBatch implements record.Store. Flows are counted into the totals and
// into the hour in which they opened. Entries of a server that doesn't exist
// (any more) and alerts that don't exist are left out.
func (d *DB) SaveBatch(ctx context.Context, b record.Batch) error {
	return d.write(ctx, func(t *tx) error {
		if err := saveFlows(t, b.Flows); err != nil {
			return err
		}
		for i := range b.Entries {
			if err := learnEntry(t, &b.Entries[i]); err != nil {
				return fmt.Errorf("storing a baseline entry: %w", err)
			}
		}
		for i := range b.Alerts {
			if err := updateAlert(t, &b.Alerts[i]); err != nil {
				return fmt.Errorf("storing alert %s: %w", b.Alerts[i].ID, err)
			}
		}
		return nil
	})
}

func saveFlows(t *tx, flows []flow.Flow) error {
	k := newTally(t)
	for _, v := range finalVersions(flows) {
		if err := saveFlow(t, k, v); err != nil {
			return fmt.Errorf("storing flow %s: %w", v.ID, err)
		}
	}
	if err := k.flush(); err != nil {
		return fmt.Errorf("storing the totals: %w", err)
	}
	return nil
}

// updateFlow brings a stored flow up to date if nothing changed that an index
// holds, which is how nearly all of them end; it costs half of upsertFlow.
const updateFlow = `UPDATE flows SET closed = ?, ip = ?, asn = ?, org = ?, country = ?, chain = ?, sni = ?, alpn = ?, ja4 = ?,
		ech = ?, phase = ?, tool = ?, bytes_up = ?, bytes_down = ?, ending = ?
	WHERE opened = ? AND id = ? AND closed = 0 AND verdict = ? AND reason = ? AND grade = ?
		AND name = ? AND owner = ? AND mode = ?`

// upsertFlow replaces everything but what identifies a flow, and nothing at all
// once it was closed: then it changes no row, which is how a closed flow is
// counted exactly once.
const upsertFlow = `INSERT INTO flows (` + flowColumns + `, dest)
	VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)
	ON CONFLICT (id) DO UPDATE SET
		closed = excluded.closed, name = excluded.name, owner = excluded.owner, mode = excluded.mode,
		chain = excluded.chain, ip = excluded.ip, asn = excluded.asn, org = excluded.org, country = excluded.country,
		sni = excluded.sni, alpn = excluded.alpn, ja4 = excluded.ja4, ech = excluded.ech,
		grade = excluded.grade, phase = excluded.phase, tool = excluded.tool,
		bytes_up = excluded.bytes_up, bytes_down = excluded.bytes_down,
		verdict = excluded.verdict, reason = excluded.reason, ending = excluded.ending
	WHERE closed = 0`

// version is what is said of a flow, in the end, by a batch.
type version struct {
	*flow.Flow
	// isNew means that the flow is most likely not stored yet: the first that
	// the batch says of it is that nothing was carried.
	isNew bool
}

func versionOf(f *flow.Flow) version { return version{f, f.BytesUp+f.BytesDown == 0} }

// finalVersions returns each flow once, in the order in which they first come,
// as storing one version after the other would leave it: the first version that
// is closed, else the last. A short flow comes opened and closed in one batch,
// so that this saves half of the work.
func finalVersions(flows []flow.Flow) []version {
	final := make([]version, 0, len(flows))
	index := make(map[uuid.UUID]int, len(flows))
	for i := range flows {
		f := &flows[i]
		at, again := index[f.ID]
		switch {
		case !again:
			index[f.ID] = len(final)
			final = append(final, versionOf(f))
		case final[at].Closed.IsZero():
			final[at].Flow = f
		}
	}
	return final
}

func saveFlow(t *tx, k *tally, v version) error {
	f := v.Flow
	dest, err := k.destination(f)
	if err != nil {
		return err
	}
	n, err := storeFlow(t, dest, v)
	if err != nil || n == 0 {
		return err
	}
	t.rows++
	k.server(f.ServerID).include(micros(f.Opened), micros(f.Closed))
	if f.Closed.IsZero() && f.BytesUp+f.BytesDown == 0 {
		return nil // its destination is brought up to date as soon as it carries something
	}
	k.seen(dest, f)
	if !f.Closed.IsZero() {
		k.count(dest, f)
	}
	return nil
}

// storeFlow returns how many rows changed: none if the flow was closed before.
func storeFlow(t *tx, dest int64, v version) (int64, error) {
	e, err := encodeFlow(v.Flow)
	if err != nil {
		return 0, err
	}
	if !v.isNew {
		if n, err := t.exec(updateFlow, e.update(v.Flow)...); n > 0 || err != nil {
			return n, err
		}
	}
	return t.exec(upsertFlow, append(e.insert(v.Flow), dest)...)
}

// tally adds up what a transaction's flows change in the running totals, so
// that each total is written once.
type tally struct {
	tx          *tx
	dests       map[int64]*destTally
	destHours   map[destHour]*sums
	servers     map[identity.ID]*serverTally
	serverHours map[serverHour]*sums
}

type destHour struct{ dest, hour int64 }

type serverHour struct {
	server identity.ID
	hour   int64
}

type sums struct{ flows, refused, up, down int64 }

func (s *sums) add(f *flow.Flow) {
	s.flows++
	if f.Verdict == flow.Refused {
		s.refused++
	}
	s.up += f.BytesUp
	s.down += f.BytesDown
}

// span is the first and last time of something, 0 before there was any.
type span struct{ first, last int64 }

func (s *span) include(from, to int64) {
	if s.first == 0 || from < s.first {
		s.first = from
	}
	s.last = max(s.last, from, to)
}

type destTally struct {
	sums
	span
	name    identity.Name
	grade   flow.Grade
	gradeAt int64
	place   flow.Place
	placeAt int64
}

type serverTally struct {
	sums
	span
	newDests int64
}

func newTally(t *tx) *tally {
	return &tally{
		tx:          t,
		dests:       map[int64]*destTally{},
		destHours:   map[destHour]*sums{},
		servers:     map[identity.ID]*serverTally{},
		serverHours: map[serverHour]*sums{},
	}
}

// slot returns m's value for key, which it makes if need be.
func slot[K comparable, V any](m map[K]*V, key K) *V {
	v, ok := m[key]
	if !ok {
		v = new(V)
		m[key] = v
	}
	return v
}

func (k *tally) server(id identity.ID) *serverTally { return slot(k.servers, id) }

// seen notes what even an open flow says of its destination.
func (k *tally) seen(dest int64, f *flow.Flow) {
	opened, closed := micros(f.Opened), micros(f.Closed)
	if dest == 0 {
		return
	}
	d := slot(k.dests, dest)
	d.name = f.Server
	d.include(opened, closed)
	if f.Grade != "" && opened >= d.gradeAt {
		d.grade, d.gradeAt = f.Grade, opened
	}
	if f.IP.IsValid() && opened >= d.placeAt {
		d.place, d.placeAt = f.Place, opened
	}
}

// count counts a flow that ended.
func (k *tally) count(dest int64, f *flow.Flow) {
	k.server(f.ServerID).add(f)
	hour := hourOf(f.Opened)
	slot(k.serverHours, serverHour{f.ServerID, hour}).add(f)
	if dest != 0 {
		slot(k.dests, dest).add(f)
		slot(k.destHours, destHour{dest, hour}).add(f)
	}
}

func (k *tally) flush() error {
	for id, d := range k.dests {
		if err := k.flushDestination(id, d); err != nil {
			return err
		}
	}
	for h, s := range k.destHours {
		if err := k.flushDestHour(h, s); err != nil {
			return err
		}
	}
	for h, s := range k.serverHours {
		if err := k.flushServerHour(h, s); err != nil {
			return err
		}
	}
	for id, s := range k.servers {
		if err := k.flushServer(id, s); err != nil {
			return err
		}
	}
	return nil
}

func (k *tally) flushDestination(id int64, d *destTally) error {
	_, err := k.tx.exec(`UPDATE destinations SET name = ?2,
			first_seen = min(first_seen, ?3), last_seen = max(last_seen, ?4),
			grade = iif(?6 != 0 AND ?6 >= grade_at, ?5, grade), grade_at = max(grade_at, ?6),
			asn = iif(?10 != 0 AND ?10 >= place_at, ?7, asn),
			org = iif(?10 != 0 AND ?10 >= place_at, ?8, org),
			country = iif(?10 != 0 AND ?10 >= place_at, ?9, country), place_at = max(place_at, ?10),
			flows = flows + ?11, refused = refused + ?12, bytes_up = bytes_up + ?13, bytes_down = bytes_down + ?14
		WHERE id = ?1`,
		id, string(d.name), d.first, d.last, string(d.grade), d.gradeAt,
		int64(d.place.ASN), d.place.Org, d.place.Country, d.placeAt, d.flows, d.refused, d.up, d.down)
	return err
}

func (k *tally) flushServerHour(h serverHour, s *sums) error {
	_, err := k.tx.exec(`INSERT INTO traffic_servers (hour, server, flows, refused, bytes_up, bytes_down) VALUES (?,?,?,?,?,?)
		ON CONFLICT DO UPDATE SET flows = flows + excluded.flows, refused = refused + excluded.refused,
			bytes_up = bytes_up + excluded.bytes_up, bytes_down = bytes_down + excluded.bytes_down`,
		h.hour, blob(h.server), s.flows, s.refused, s.up, s.down)
	return err
}

func (k *tally) flushDestHour(h destHour, s *sums) error {
	_, err := k.tx.exec(`INSERT INTO traffic_destinations (dest, hour, flows, refused, bytes_up, bytes_down) VALUES (?,?,?,?,?,?)
		ON CONFLICT DO UPDATE SET flows = flows + excluded.flows, refused = refused + excluded.refused,
			bytes_up = bytes_up + excluded.bytes_up, bytes_down = bytes_down + excluded.bytes_down`,
		h.dest, h.hour, s.flows, s.refused, s.up, s.down)
	return err
}

func (k *tally) flushServer(id identity.ID, s *serverTally) error {
	_, err := k.tx.exec(`INSERT INTO totals (server, first_seen, last_seen, flows, refused, bytes_up, bytes_down, destinations)
		VALUES (?,?,?,?,?,?,?,?)
		ON CONFLICT DO UPDATE SET
			first_seen = iif(first_seen = 0, excluded.first_seen, min(first_seen, excluded.first_seen)),
			last_seen = max(last_seen, excluded.last_seen),
			flows = flows + excluded.flows, refused = refused + excluded.refused,
			bytes_up = bytes_up + excluded.bytes_up, bytes_down = bytes_down + excluded.bytes_down,
			destinations = destinations + excluded.destinations`,
		blob(id), s.first, s.last, s.flows, s.refused, s.up, s.down, s.newDests)
	return err
}

// reverse returns s backwards, byte by byte; a canonical host is ASCII.
func reverse(s string) string {
	b := []byte(s)
	for i, j := 0, len(b)-1; i < j; i, j = i+1, j-1 {
		b[i], b[j] = b[j], b[i]
	}
	return string(b)
}

// lostStep bounds how many flows one transaction marks as lost.
const lostStep = 1000

// MarkLost implements record.Store.
func (d *DB) MarkLost(ctx context.Context, at time.Time) (int64, error) {
	var total int64
	for {
		var n int64
		err := d.write(ctx, func(t *tx) (err error) {
			n, err = markLost(t, at)
			return err
		})
		if err != nil {
			return total, fmt.Errorf("marking lost flows: %w", err)
		}
		total += n
		if n < lostStep {
			return total, nil
		}
	}
}

func markLost(t *tx, at time.Time) (int64, error) {
	open, err := openFlows(t)
	if err != nil {
		return 0, err
	}
	k := newTally(t)
	for i := range open {
		f := &open[i]
		f.Closed, f.End = at, flow.EndLost
		if at.Before(f.Opened) {
			f.Closed = f.Opened // the clock was set back
		}
		if err := saveFlow(t, k, versionOf(f)); err != nil {
			return 0, err
		}
	}
	return int64(len(open)), k.flush()
}

func openFlows(t *tx) ([]flow.Flow, error) {
	rows, err := t.query("SELECT "+flowColumns+" FROM flows INDEXED BY flows_open WHERE closed = 0 LIMIT ?", lostStep)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var open []flow.Flow
	for rows.Next() {
		f, err := scanFlow(rows)
		if err != nil {
			return nil, err
		}
		open = append(open, f)
	}
	return open, rows.Err()
}

// SaveGap implements record.Store.
func (d *DB) SaveGap(ctx context.Context, g record.Gap) error {
	return d.write(ctx, func(t *tx) error {
		_, err := t.exec("INSERT INTO gaps (start, until, flows, cause) VALUES (?,?,?,?)",
			micros(g.From), micros(g.Until), g.Flows, g.Cause)
		return err
	})
}

// Gaps returns the gaps that ended at or after since, oldest first.
func (d *DB) Gaps(ctx context.Context, since time.Time) ([]record.Gap, error) {
	return readAll(ctx, d, "SELECT start, until, flows, cause FROM gaps WHERE until >= ? ORDER BY start, seq",
		[]any{micros(since)}, func(s scanner) (record.Gap, error) {
			var g record.Gap
			var from, until int64
			err := s.Scan(&from, &until, &g.Flows, &g.Cause)
			g.From, g.Until = fromMicros(from), fromMicros(until)
			return g, err
		})
}
