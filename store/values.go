package store

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"time"

	"github.com/google/uuid"
)

// micros is how a time is stored: microseconds since 1970, 0 for the zero time.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

// fromMicros is the inverse of micros, in UTC.
func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}

// hourOf is the hour of t, counted from 1970.
func hourOf(t time.Time) int64 { return hourOfMicros(micros(t)) }

func hourOfMicros(us int64) int64 {
	const hour = int64(time.Hour / time.Microsecond)
	h := us / hour
	if us%hour < 0 {
		h--
	}
	return h
}

// list is how a list is stored: as JSON, "" when it is empty.
func list[T any](v []T) (string, error) {
	if len(v) == 0 {
		return "", nil
	}
	data, err := json.Marshal(v)
	return string(data), err
}

func fromList[T any](s string) ([]T, error) {
	if s == "" {
		return nil, nil
	}
	var v []T
	if err := json.Unmarshal([]byte(s), &v); err != nil {
		return nil, fmt.Errorf("a stored list can't be read: %w", err)
	}
	return v, nil
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func fromAddrText(s string) (netip.Addr, error) {
	if s == "" {
		return netip.Addr{}, nil
	}
	return netip.ParseAddr(s)
}

// blob is how a UUID is stored. (Its own driver.Valuer would make it text.)
func blob(id uuid.UUID) []byte { return id[:] }
