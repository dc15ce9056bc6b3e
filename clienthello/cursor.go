package clienthello

// cursor reads fields off the front of bytes. A read past the end sets bad and
// empties the cursor: loops end, further reads give nothing, and one look at
// bad afterwards is enough.
type cursor struct {
	b   []byte
	bad bool
}

func (c *cursor) empty() bool { return len(c.b) == 0 }

// bytes takes the next n bytes.
func (c *cursor) bytes(n int) []byte {
	if n > len(c.b) {
		c.b, c.bad = nil, true
		return nil
	}
	taken := c.b[:n:n]
	c.b = c.b[n:]
	return taken
}

func (c *cursor) uint8() int {
	if b := c.bytes(1); b != nil {
		return int(b[0])
	}
	return 0
}

func (c *cursor) uint16() uint16 {
	if b := c.bytes(2); b != nil {
		return uint16(b[0])<<8 | uint16(b[1])
	}
	return 0
}

// vector8 and vector16 take a vector with a length of one or two bytes in
// front (RFC 8446, section 3.4).
func (c *cursor) vector8() []byte  { return c.bytes(c.uint8()) }
func (c *cursor) vector16() []byte { return c.bytes(int(c.uint16())) }

// done reports whether everything was read, and nothing beyond it.
func (c *cursor) done() bool { return !c.bad && len(c.b) == 0 }
