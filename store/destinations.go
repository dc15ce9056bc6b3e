package store

import (
	"context"
	"fmt"
	"time"

	"github.com/exeat/exeat/identity"
)

// pictureDays is how many days Destination.Days has.
const pictureDays = 14

const destinationColumns = `d.id, d.server, coalesce(s.name, d.name), d.host, d.port, d.asn, d.org, d.country, d.grade,
	d.flows, d.refused, d.bytes_up, d.bytes_down, d.first_seen, d.last_seen`

// numbered is a destination with the number of its row.
type numbered struct {
	Destination
	row int64
}

func scanDestination(s scanner) (numbered, error) {
	var n numbered
	var first, last int64
	err := s.Scan(&n.row, &n.ServerID, &n.Server, &n.Host, &n.Port, &n.Place.ASN, &n.Place.Org, &n.Place.Country,
		&n.Grade, &n.Flows, &n.Refused, &n.BytesUp, &n.BytesDown, &first, &last)
	n.FirstSeen, n.LastSeen = fromMicros(first), fromMicros(last)
	return n, err
}

// Destinations returns a page of running totals, the latest used first. A
// destination is there from its first flow's opening on; flows and bytes are
// counted when a flow ends.
func (d *DB) Destinations(ctx context.Context, q DestinationQuery) (Page[Destination], error) {
	limit := limitOf(q.Limit)
	after, paged, err := parseCursor(destinationCursor, q.Cursor)
	if err != nil {
		return Page[Destination]{}, err
	}
	var c conditions
	if q.Server != (identity.ID{}) {
		c.add("d.server = %s", blob(q.Server))
	}
	if q.Host != "" {
		destinationHost(&c, q.Host)
	}
	if paged {
		c.add("(d.last_seen, d.id) < (%s, %s)", after.at, after.number())
	}
	query := fmt.Sprintf("SELECT %s FROM destinations d LEFT JOIN servers s ON s.id = d.server%s ORDER BY d.last_seen DESC, d.id DESC LIMIT %d",
		destinationColumns, c.where(), limit+1)
	found, err := readAll(ctx, d, query, c.args, scanDestination)
	if err != nil {
		return Page[Destination]{}, err
	}
	p := page(found, limit, destinationCursor, func(n *numbered) key { return numberKey(micros(n.LastSeen), n.row) })
	if err := d.addDays(ctx, p.Items); err != nil {
		return Page[Destination]{}, err
	}
	items := make([]Destination, len(p.Items))
	for i := range p.Items {
		items[i] = p.Items[i].Destination
	}
	return Page[Destination]{Items: items, Next: p.Next}, nil
}

// addDays fills in the pictures of a page with one query.
func (d *DB) addDays(ctx context.Context, items []numbered) error {
	if len(items) == 0 {
		return nil
	}
	const day = 24 * time.Hour
	first := d.cfg.Now().UTC().Truncate(day).Add(-(pictureDays - 1) * day)
	var c conditions
	since := c.bind(hourOf(first))
	byRow := make(map[int64][]Bucket, len(items))
	in := ""
	for i := range items {
		items[i].Days = emptyBuckets(first, pictureDays, day)
		byRow[items[i].row] = items[i].Days
		if i > 0 {
			in += ","
		}
		in += c.bind(items[i].row)
	}
	_, err := readAll(ctx, d, `SELECT dest, (hour - `+since+`) / 24 AS day, sum(flows), sum(refused), sum(bytes_up), sum(bytes_down)
		FROM traffic_destinations WHERE dest IN (`+in+`) AND hour >= `+since+` GROUP BY dest, day`, c.args,
		func(s scanner) (struct{}, error) {
			var row, n int64
			var b Bucket
			if err := s.Scan(&row, &n, &b.Flows, &b.Refused, &b.BytesUp, &b.BytesDown); err != nil {
				return struct{}{}, err
			}
			if days := byRow[row]; n >= 0 && n < int64(len(days)) {
				b.At = days[n].At
				days[n] = b
			}
			return struct{}{}, nil
		})
	return err
}

func emptyBuckets(first time.Time, n int, step time.Duration) []Bucket {
	buckets := make([]Bucket, n)
	for i := range buckets {
		buckets[i].At = first.Add(time.Duration(i) * step)
	}
	return buckets
}
