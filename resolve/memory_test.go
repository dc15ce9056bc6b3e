package resolve

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/exeat/exeat/identity"
)

func newID(t testing.TB) identity.ID {
	t.Helper()
	id, err := uuid.NewV7()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestMemory(t *testing.T) {
	c := newClock()
	m := NewMemory(MemoryConfig{Keep: time.Hour, Now: c.Now})
	mine, other := newID(t), newID(t)
	shared, single := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")

	m.Remember(mine, Answer{Name: "a.test", Addrs: []netip.Addr{shared, single}})
	c.advance(time.Minute)
	m.Remember(mine, Answer{Name: "b.test", Addrs: []netip.Addr{shared}})
	m.Remember(other, Answer{Name: "c.test", Addrs: []netip.Addr{shared}})
	c.advance(time.Minute)
	expect := func(server identity.ID, addr netip.Addr, want ...string) {
		t.Helper()
		if got := m.Names(server, addr); !slices.Equal(got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
	}
	expect(mine, shared, "b.test", "a.test")
	expect(mine, single, "a.test")
	expect(other, shared, "c.test")
	expect(other, single)
	expect(newID(t), shared)

	m.Remember(mine, Answer{Name: "a.test", Addrs: []netip.Addr{shared}})
	expect(mine, shared, "a.test", "b.test")
	c.advance(59 * time.Minute) // b.test was an hour ago
	expect(mine, shared, "a.test")
	expect(mine, single)
	m.Forget(mine)
	expect(mine, shared)
}

func TestMemoryIsBounded(t *testing.T) {
	const most = 100
	m := NewMemory(MemoryConfig{Max: most})
	victim, flooder := newID(t), newID(t)
	addr := netip.MustParseAddr("192.0.2.1")
	m.Remember(victim, Answer{Name: "api.test", Addrs: []netip.Addr{addr}})
	for i := range 10 * most {
		far := netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
		m.Remember(flooder, Answer{Name: fmt.Sprintf("n%d.test", i), Addrs: []netip.Addr{far, addr}})
	}
	if got := m.Names(victim, addr); !slices.Equal(got, []string{"api.test"}) {
		t.Errorf("the victim's memory is now %v", got)
	}
	if got := m.Names(flooder, addr); len(got) != maxNames || got[0] != "n999.test" {
		t.Errorf("%d names of one address, the first is %v", len(got), got[:1])
	}
	r := m.servers[flooder]
	if len(r.places) != most || r.recent.Len() != most {
		t.Errorf("%d addresses in the map, %d in the list, want %d", len(r.places), r.recent.Len(), most)
	}
}

func TestMemoryLetsGoOfTheOld(t *testing.T) {
	c := newClock()
	m := NewMemory(MemoryConfig{Keep: time.Hour, Now: c.Now})
	id := newID(t)
	m.Remember(id, Answer{Name: "old.test", Addrs: addrs("192.0.2.1", "192.0.2.2")})
	c.advance(time.Hour)
	m.Remember(id, Answer{Name: "new.test", Addrs: addrs("192.0.2.3")})
	if n := len(m.servers[id].places); n != 1 {
		t.Errorf("%d addresses are held", n)
	}
}
