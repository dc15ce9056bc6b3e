package store

import (
	"context"
	"fmt"

	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/flow"
	"github.com/exeat/exeat/identity"
)

// network is how a flow.Place stands in an entry's list.
type network struct {
	ASN     uint32 `json:"asn"`
	Org     string `json:"org"`
	Country string `json:"country"`
}

const entryColumns = `id, server, host, port, state, grades, phases, networks, usual_up, first_seen, last_seen, flows, decided_by, decided_at, note`

func entryValues(e *baseline.Entry) ([]any, error) {
	grades, err := list(e.Grades)
	if err != nil {
		return nil, err
	}
	phases, err := list(e.Phases)
	if err != nil {
		return nil, err
	}
	nets := make([]network, len(e.Networks))
	for i, p := range e.Networks {
		nets[i] = network(p)
	}
	networks, err := list(nets)
	if err != nil {
		return nil, err
	}
	return []any{blob(e.ID), blob(e.Server), string(e.Host), int64(e.Port), string(e.State), grades, phases, networks,
		e.UsualUp, micros(e.FirstSeen), micros(e.LastSeen), e.Flows, e.DecidedBy, micros(e.DecidedAt), e.Note}, nil
}

func scanEntry(s scanner) (baseline.Entry, error) {
	var e baseline.Entry
	var grades, phases, networks string
	var first, last, decided int64
	err := s.Scan(&e.ID, &e.Server, &e.Host, &e.Port, &e.State, &grades, &phases, &networks, &e.UsualUp,
		&first, &last, &e.Flows, &e.DecidedBy, &decided, &e.Note)
	if err != nil {
		return e, err
	}
	e.FirstSeen, e.LastSeen, e.DecidedAt = fromMicros(first), fromMicros(last), fromMicros(decided)
	if e.Grades, err = fromList[flow.Grade](grades); err != nil {
		return e, err
	}
	if e.Phases, err = fromList[flow.Phase](phases); err != nil {
		return e, err
	}
	nets, err := fromList[network](networks)
	for _, n := range nets {
		e.Networks = append(e.Networks, flow.Place(n))
	}
	return e, err
}

// Baselines implements baseline.Store.
func (d *DB) Baselines(ctx context.Context) ([]baseline.Entry, map[identity.ID]int64, error) {
	entries, err := readAll(ctx, d, "SELECT "+entryColumns+" FROM baseline_entries ORDER BY server, host, port", nil, scanEntry)
	if err != nil {
		return nil, nil, err
	}
	versions := map[identity.ID]int64{}
	_, err = readAll(ctx, d, "SELECT server, version FROM baseline_versions", nil, func(s scanner) (struct{}, error) {
		var id identity.ID
		var v int64
		err := s.Scan(&id, &v)
		versions[id] = v
		return struct{}{}, err
	})
	if err != nil {
		return nil, nil, err
	}
	return entries, versions, nil
}

// decideEntry replaces an entry whole, be it the one of that ID or another of
// the same host and port.
const decideEntry = `INSERT INTO baseline_entries (` + entryColumns + `) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)
	ON CONFLICT DO UPDATE SET id = excluded.id, server = excluded.server, host = excluded.host, port = excluded.port,
		state = excluded.state, grades = excluded.grades, phases = excluded.phases, networks = excluded.networks,
		usual_up = excluded.usual_up, first_seen = excluded.first_seen, last_seen = excluded.last_seen, flows = excluded.flows,
		decided_by = excluded.decided_by, decided_at = excluded.decided_at, note = excluded.note`

// Decide implements baseline.Store. It returns identity.ErrUnknownServer if
// there is no such server.
func (d *DB) Decide(ctx context.Context, server identity.ID, version int64, entries []baseline.Entry, c identity.Change) error {
	return d.write(ctx, func(t *tx) error {
		n, err := t.exec(`INSERT INTO baseline_versions (server, version) SELECT id, ? FROM servers WHERE id = ?
			ON CONFLICT (server) DO UPDATE SET version = excluded.version`, version, blob(server))
		if err != nil {
			return err
		}
		if n == 0 {
			return identity.ErrUnknownServer
		}
		for i := range entries {
			e := entries[i]
			e.Server = server
			args, err := entryValues(&e)
			if err != nil {
				return err
			}
			if _, err := t.exec(decideEntry, args...); err != nil {
				return fmt.Errorf("storing the entry %s: %w", e.Host, err)
			}
		}
		return audit(t, c)
	})
}

// learn inserts a candidate if there is no entry for its host and port, and
// else brings the statistics up to date. What comes late, with fewer flows than
// the stored entry, changes nothing.
const learn = `INSERT INTO baseline_entries (` + entryColumns + `)
	SELECT ?,?,?,?,?,?,?,?,?,?,?,?,?,?,? WHERE EXISTS (SELECT 1 FROM servers WHERE id = ?2)
	ON CONFLICT DO UPDATE SET
		grades = iif(state = 'candidate', excluded.grades, grades), phases = excluded.phases, networks = excluded.networks,
		usual_up = excluded.usual_up, flows = excluded.flows, last_seen = max(last_seen, excluded.last_seen),
		first_seen = iif(first_seen = 0, excluded.first_seen, min(first_seen, excluded.first_seen))
	WHERE flows <= excluded.flows`

// learnEntry stores what traffic says of an entry. Only a person decides: an
// entry that is new here is a candidate, whatever e says.
func learnEntry(t *tx, e *baseline.Entry) error {
	candidate := *e
	candidate.State, candidate.DecidedBy, candidate.DecidedAt, candidate.Note = baseline.Candidate, "", fromMicros(0), ""
	args, err := entryValues(&candidate)
	if err != nil {
		return err
	}
	_, err = t.exec(learn, args...)
	return err
}
