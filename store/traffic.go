package store

import (
	"context"
	"fmt"
	"time"

	"github.com/exeat/exeat/identity"
)

// maxBuckets bounds the answer of Traffic for one server.
const maxBuckets = 10_000

// Traffic returns the traffic of every server as equal buckets without holes,
// oldest first, from the one that since falls into up to until. step is a whole
// number of hours; buckets begin at multiples of it in UTC, so that steps of 24
// hours are days. A flow is in the bucket of its opening, once it has ended.
// Servers that don't exist any more are in the answer if they had traffic.
func (d *DB) Traffic(ctx context.Context, since, until time.Time, step time.Duration) (map[identity.ID][]Bucket, error) {
	if step <= 0 || step%time.Hour != 0 {
		return nil, fmt.Errorf("%w: the step of a traffic picture is a whole number of hours", ErrBadQuery)
	}
	first := since.UTC().Truncate(step)
	length := until.Sub(first)
	if length <= 0 {
		return map[identity.ID][]Bucket{}, nil
	}
	if length/step >= maxBuckets {
		return nil, fmt.Errorf("%w: at most %d buckets at once", ErrBadQuery, maxBuckets)
	}
	n := int((length-1)/step) + 1
	traffic := map[identity.ID][]Bucket{}
	_, err := readAll(ctx, d, "SELECT id FROM servers", nil, func(s scanner) (struct{}, error) {
		var id identity.ID
		err := s.Scan(&id)
		traffic[id] = emptyBuckets(first, n, step)
		return struct{}{}, err
	})
	if err != nil {
		return nil, err
	}
	_, err = readAll(ctx, d, `SELECT server, (hour - ?1) / ?2 AS bucket, sum(flows), sum(refused), sum(bytes_up), sum(bytes_down)
		FROM traffic_servers WHERE hour >= ?1 AND hour < ?3 GROUP BY server, bucket`,
		[]any{hourOf(first), int64(step / time.Hour), hourOf(first.Add(time.Duration(n) * step))},
		func(s scanner) (struct{}, error) {
			var id identity.ID
			var i int64
			var b Bucket
			if err := s.Scan(&id, &i, &b.Flows, &b.Refused, &b.BytesUp, &b.BytesDown); err != nil {
				return struct{}{}, err
			}
			if _, ok := traffic[id]; !ok {
				traffic[id] = emptyBuckets(first, n, step)
			}
			b.At = traffic[id][i].At
			traffic[id][i] = b
			return struct{}{}, nil
		})
	if err != nil {
		return nil, err
	}
	return traffic, nil
}

// Totals returns the running totals of every server that ever had a flow or has
// an open alert.
func (d *DB) Totals(ctx context.Context) (map[identity.ID]Totals, error) {
	totals := map[identity.ID]Totals{}
	_, err := readAll(ctx, d, "SELECT server, first_seen, last_seen, flows, refused, bytes_up, bytes_down, destinations FROM totals", nil,
		func(s scanner) (struct{}, error) {
			var id identity.ID
			var t Totals
			var first, last int64
			err := s.Scan(&id, &first, &last, &t.Flows, &t.Refused, &t.BytesUp, &t.BytesDown, &t.Destinations)
			t.FirstSeen, t.LastSeen = fromMicros(first), fromMicros(last)
			totals[id] = t
			return struct{}{}, err
		})
	if err != nil {
		return nil, err
	}
	_, err = readAll(ctx, d, "SELECT server, count(*) FROM alerts INDEXED BY alerts_open WHERE status = 'open' GROUP BY server", nil,
		func(s scanner) (struct{}, error) {
			var id identity.ID
			var n int64
			err := s.Scan(&id, &n)
			t := totals[id]
			t.OpenAlerts = n
			totals[id] = t
			return struct{}{}, err
		})
	if err != nil {
		return nil, err
	}
	return totals, nil
}
