package store

import (
	"database/sql"
	"errors"

	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
)

// MaxDestinations is how many destinations of one server have a row of their
// own. A server chooses freely what hosts it asks for, and being refused costs
// it nothing, so without a bound it could fill the disk. What it asks for
// beyond them is counted into one more row, of host OtherHosts and port 0, so
// that the totals stay exact; each flow keeps the host it asked for. There is
// room again once destinations that weren't used for long are deleted.
const MaxDestinations = 20_000

// OtherHosts stands for all destinations beyond MaxDestinations. No host is
// called that.
const OtherHosts = "*"

// place is what a destination's row is found by.
type place struct {
	server identity.ID
	host   string
	port   uint16
}

// destination returns the row that f's destination is counted in, which it
// makes if need be; 0 for a flow that never had a host.
func (k *tally) destination(f *flow.Flow) (int64, error) {
	if f.Host == "" {
		return 0, nil
	}
	p := place{f.ServerID, f.Host, f.Port}
	id, err := k.tx.destination(p)
	if !errors.Is(err, sql.ErrNoRows) {
		return id, err
	}
	n, err := k.tx.destinations(p.server)
	if err != nil {
		return 0, err
	}
	if n < MaxDestinations {
		return k.addDestination(p, f)
	}
	p.host, p.port = OtherHosts, 0
	if id, err = k.tx.destination(p); errors.Is(err, sql.ErrNoRows) {
		return k.addDestination(p, f)
	}
	return id, err
}

// addDestination makes the row of p for its first flow.
func (k *tally) addDestination(p place, f *flow.Flow) (int64, error) {
	opened := micros(f.Opened)
	var id int64
	err := k.tx.get(`INSERT INTO destinations (server, name, host, host_rev, port, first_seen, last_seen,
			grade, grade_at, asn, org, country, place_at, flows, refused, bytes_up, bytes_down)
			VALUES (?,?,?,?,?,?,?,'',0,0,'','',0,0,0,0,0) RETURNING id`,
		[]any{blob(p.server), string(f.Server), p.host, reverse(p.host), p.port, opened, opened}, &id)
	if err != nil {
		return 0, err
	}
	s := k.server(p.server)
	s.newDests++
	s.include(opened, opened)
	k.tx.counts[p.server]++
	k.tx.remember(p, id)
	return id, nil
}

// destination returns the row of p, or sql.ErrNoRows.
func (t *tx) destination(p place) (int64, error) {
	if id, ok := t.dests[p]; ok {
		return id, nil
	}
	var id int64
	err := t.get("SELECT id FROM destinations WHERE server = ? AND host = ? AND port = ?",
		[]any{blob(p.server), p.host, p.port}, &id)
	if err != nil {
		return 0, err
	}
	t.remember(p, id)
	return id, nil
}

// destinations returns how many rows server has. Those that the current write
// added are counted here at once, and in the totals when it ends.
func (t *tx) destinations(server identity.ID) (int64, error) {
	if n, ok := t.counts[server]; ok {
		return n, nil
	}
	var n int64
	err := t.get("SELECT destinations FROM totals WHERE server = ?", []any{blob(server)}, &n)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return 0, err
	}
	t.counts[server] = n
	return n, nil
}

func (t *tx) remember(p place, id int64) {
	if len(t.dests) >= maxRemembered {
		clear(t.dests)
	}
	t.dests[p] = id
}

// forget drops what is known of destinations, since rows of them are gone.
func (t *tx) forget() {
	clear(t.dests)
	clear(t.counts)
}

// pruneDestinations deletes a step's worth of the destinations last used
// before limit, with their traffic. One that a flow still refers to, which
// then is open, stays. It returns how many it deleted.
func pruneDestinations(t *tx, limit int64) (int64, error) {
	deleted, err := deleteDestinations(t, limit)
	if err != nil {
		return 0, err
	}
	var n int64
	for server, ids := range deleted {
		for _, id := range ids {
			if _, err := t.exec("DELETE FROM traffic_destinations WHERE dest = ?", id); err != nil {
				return 0, err
			}
		}
		gone := int64(len(ids))
		if _, err := t.exec("UPDATE totals SET destinations = destinations - ? WHERE server = ?", gone, blob(server)); err != nil {
			return 0, err
		}
		n += gone
	}
	if n > 0 {
		t.forget()
	}
	return n, nil
}

// deleteDestinations returns the rows that it deleted, by server.
func deleteDestinations(t *tx, limit int64) (map[identity.ID][]int64, error) {
	rows, err := t.query(`DELETE FROM destinations WHERE id IN
		(SELECT id FROM destinations d WHERE last_seen < ? AND NOT EXISTS (SELECT 1 FROM flows WHERE dest = d.id)
			ORDER BY last_seen LIMIT ?) RETURNING server, id`, limit, pruneStep)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	deleted := map[identity.ID][]int64{}
	for rows.Next() {
		var server identity.ID
		var id int64
		if err := rows.Scan(&server, &id); err != nil {
			return nil, err
		}
		deleted[server] = append(deleted[server], id)
	}
	return deleted, rows.Err()
}
