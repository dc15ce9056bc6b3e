package store

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/detect"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/record"
)

const alertColumns = `id, kind, severity, server, name, owner, family, host, port, first, last, count, status,
	title, explanation, next, asn, org, country, flows, verdict, evidence`

func scanAlert(s scanner) (detect.Alert, error) {
	var a detect.Alert
	var first, last int64
	var flows, evidence string
	err := s.Scan(&a.ID, &a.Kind, &a.Severity, &a.ServerID, &a.Server, &a.Owner, &a.Family, &a.Host, &a.Port,
		&first, &last, &a.Count, &a.Status, &a.Title, &a.Explanation, &a.Next,
		&a.Place.ASN, &a.Place.Org, &a.Place.Country, &flows, &a.Verdict, &evidence)
	if err != nil {
		return a, err
	}
	a.First, a.Last = fromMicros(first), fromMicros(last)
	if a.Flows, err = fromList[uuid.UUID](flows); err != nil {
		return a, err
	}
	if err = json.Unmarshal([]byte(evidence), &a.Evidence); err != nil {
		return a, fmt.Errorf("the stored evidence of alert %s can't be read: %w", a.ID, err)
	}
	return a, nil
}

// InsertAlert implements record.Store. An alert that is stored already stays as
// it is.
func (d *DB) InsertAlert(ctx context.Context, a detect.Alert) error {
	flows, evidence, err := encodeAlert(&a)
	if err != nil {
		return err
	}
	return d.write(ctx, func(t *tx) error {
		_, err := t.exec("INSERT INTO alerts ("+alertColumns+") VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT (id) DO NOTHING",
			blob(a.ID), string(a.Kind), string(a.Severity), blob(a.ServerID), string(a.Server), a.Owner, a.Family,
			a.Host, int64(a.Port), micros(a.First), micros(a.Last), a.Count, string(a.Status),
			a.Title, a.Explanation, a.Next, int64(a.Place.ASN), a.Place.Org, a.Place.Country, flows, string(a.Verdict), evidence)
		return err
	})
}

// encodeAlert returns the parts of an alert that are stored as JSON.
func encodeAlert(a *detect.Alert) (flows, evidence string, err error) {
	if flows, err = list(a.Flows); err != nil {
		return "", "", err
	}
	data, err := json.Marshal(a.Evidence)
	return flows, string(data), err
}

// severityScale orders the severities for SQL, by their place in it.
const severityScale = "'" + string(detect.Info+" "+detect.Low+" "+detect.Medium+" "+detect.High+" "+detect.Critical) + "'"

// updateAlert brings an alert up to date. What comes late, with a lower count
// than the stored one, changes nothing. The severity is only ever raised.
func updateAlert(t *tx, a *detect.Alert) error {
	flows, evidence, err := encodeAlert(a)
	if err != nil {
		return err
	}
	_, err = t.exec(`UPDATE alerts SET count = ?2, last = max(last, ?3), host = ?4, port = ?5,
			asn = ?6, org = ?7, country = ?8, flows = ?9, verdict = ?10, title = ?11, explanation = ?12, next = ?13,
			evidence = ?14, name = ?16, owner = ?17,
			severity = iif(instr(`+severityScale+`, ?15) > instr(`+severityScale+`, severity), ?15, severity)
		WHERE id = ?1 AND count <= ?2`,
		blob(a.ID), a.Count, micros(a.Last), a.Host, int64(a.Port),
		int64(a.Place.ASN), a.Place.Org, a.Place.Country, flows, string(a.Verdict), a.Title, a.Explanation, a.Next,
		evidence, string(a.Severity), string(a.Server), a.Owner)
	return err
}

// statusAction is the word of an alert's new status in the audit trail.
func statusAction(s detect.Status) string {
	switch s {
	case detect.Acknowledged:
		return "alert.ack"
	case detect.Resolved:
		return "alert.resolve"
	}
	return "alert.reopen"
}

// SetAlertStatus implements record.Store: in one transaction it brings the
// alert up to date, as a batch would, and sets its status. record.ErrNoAlert if
// there is no such alert or it was resolved already.
func (d *DB) SetAlertStatus(ctx context.Context, a detect.Alert, by string, at time.Time) error {
	return d.write(ctx, func(t *tx) error {
		if err := updateAlert(t, &a); err != nil {
			return err
		}
		n, err := t.exec("UPDATE alerts SET status = ? WHERE id = ? AND status <> 'resolved'", string(a.Status), blob(a.ID))
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("alert %s: %w", a.ID, record.ErrNoAlert)
		}
		return audit(t, identity.Change{
			At: at, Actor: by, Action: statusAction(a.Status), Server: a.ServerID, Name: a.Server,
			Detail: fmt.Sprintf("%s: %s", a.Kind, a.Title),
		})
	})
}

// UnresolvedAlerts implements record.Store.
func (d *DB) UnresolvedAlerts(ctx context.Context) ([]detect.Alert, error) {
	return readAll(ctx, d, "SELECT "+alertColumns+" FROM alerts WHERE status IN ('open', 'acknowledged') ORDER BY first, id", nil, scanAlert)
}

// Alert returns one alert, or ErrNotFound.
func (d *DB) Alert(ctx context.Context, id uuid.UUID) (detect.Alert, error) {
	alerts, err := readAll(ctx, d, "SELECT "+alertColumns+" FROM alerts WHERE id = ?", []any{blob(id)}, scanAlert)
	if err != nil {
		return detect.Alert{}, err
	}
	if len(alerts) == 0 {
		return detect.Alert{}, ErrNotFound
	}
	return alerts[0], nil
}

// Alerts returns a page of alerts, the latest event first.
func (d *DB) Alerts(ctx context.Context, q AlertQuery) (Page[detect.Alert], error) {
	limit := limitOf(q.Limit)
	after, paged, err := parseCursor(alertCursor, q.Cursor)
	if err != nil {
		return Page[detect.Alert]{}, err
	}
	var c conditions
	if q.Server != (identity.ID{}) {
		c.add("server = %s", blob(q.Server))
	}
	if q.Status != "" {
		c.add("status = %s", string(q.Status))
	}
	if q.Kind != "" {
		c.add("kind = %s", string(q.Kind))
	}
	if !q.Since.IsZero() {
		c.add("last >= %s", micros(q.Since))
	}
	if paged {
		c.add("(last, id) < (%s, %s)", after.at, blob(after.id))
	}
	query := fmt.Sprintf("SELECT %s FROM alerts%s ORDER BY last DESC, id DESC LIMIT %d", alertColumns, c.where(), limit+1)
	alerts, err := readAll(ctx, d, query, c.args, scanAlert)
	if err != nil {
		return Page[detect.Alert]{}, err
	}
	return page(alerts, limit, alertCursor, func(a *detect.Alert) key { return key{micros(a.Last), a.ID} }), nil
}

// AlertCounts returns how many alerts there are in each status.
func (d *DB) AlertCounts(ctx context.Context) (map[detect.Status]int64, error) {
	counts := map[detect.Status]int64{}
	_, err := readAll(ctx, d, "SELECT status, count(*) FROM alerts INDEXED BY alerts_status GROUP BY status", nil,
		func(s scanner) (struct{}, error) {
			var status detect.Status
			var n int64
			err := s.Scan(&status, &n)
			counts[status] = n
			return struct{}{}, err
		})
	if err != nil {
		return nil, err
	}
	return counts, nil
}
