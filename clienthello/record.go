package clienthello

// The record layer (RFC 8446, section 5.1) and the handshake header (section
// 4): what has to be undone before the ClientHello itself lies there.
const (
	recordHeader  = 5 // type, legacy version, length
	messageHeader = 4 // type, length
	maxFragment   = 1 << 14

	typeFirst       = 20 // change_cipher_spec; 21 is alert
	typeHandshake   = 22
	typeLast        = 24 // heartbeat (RFC 6520); 23 is application_data
	typeClientHello = 1
)

// scan is how far the records at the start of a connection have been read.
type scan struct {
	head    [messageHeader]byte // the start of the message, gathered over records
	have    int                 // bytes of the message that are there
	size    int                 // bytes of the whole message; 0 until head is complete
	records int                 // records begun
	end     int                 // where the last record begun ends
	least   int                 // where the hello ends at the earliest; 0 until size is known
}

// scanRecords walks over the records in b until the message that they carry is
// complete. It copies and allocates nothing.
func scanRecords(b []byte) (scan, error) {
	var s scan
	for s.size == 0 || s.have < s.size {
		n, err := fragmentLen(b[s.end:], s.records == 0)
		if err != nil {
			return s, err
		}
		start := s.end + recordHeader
		s.records++
		s.end = start + n
		if err := s.fragment(b[start:min(s.end, len(b))], n); err != nil {
			return s, err
		}
		if s.end > len(b) {
			return s, ErrIncomplete
		}
	}
	return s, nil
}

// fragmentLen reads a record header and returns how long the record's fragment
// is. Each field is judged as soon as it is there.
func fragmentLen(b []byte, first bool) (int, error) {
	foreign := len(b) > 0 && b[0] != typeHandshake || len(b) > 1 && b[1] != 3
	switch {
	case foreign && first:
		return 0, otherRecord(b)
	case foreign:
		return 0, malformed("another record within the hello")
	case len(b) < recordHeader:
		return 0, ErrIncomplete
	}
	n := int(b[3])<<8 | int(b[4])
	if n == 0 || n > maxFragment {
		// An empty handshake record is forbidden (section 5.1), and a flood of
		// them would be free.
		return 0, malformed("the length of a record is not from 1 to 16384")
	}
	return n, nil
}

// otherRecord says what a connection is that does not begin with a handshake
// record. Servers that pass over an alert or a change_cipher_spec and read the
// hello behind it exist, so that another record of TLS first is not another
// protocol.
func otherRecord(b []byte) error {
	switch {
	case b[0] == typeHandshake || b[0] < typeFirst || b[0] > typeLast || len(b) > 1 && b[1] != 3:
		return ErrNotTLS
	case len(b) == 1:
		return ErrIncomplete
	}
	return malformed("another record before the hello")
}

// fragment takes in frag, what is there of the n bytes of the record that ends
// at s.end.
func (s *scan) fragment(frag []byte, n int) error {
	before := s.have
	s.have += len(frag)
	if before < messageHeader {
		copy(s.head[before:], frag)
		if s.have > 0 && s.head[0] != typeClientHello {
			return malformed("the handshake does not begin with a ClientHello")
		}
		if s.have < messageHeader {
			return nil
		}
		s.size = messageHeader + int(s.head[1])<<16 + int(s.head[2])<<8 + int(s.head[3])
	}
	left := s.size - before - n // once this record is complete
	if left < 0 {
		// Nothing may follow before the server answered, and servers differ in
		// what they make of it.
		return malformed("something follows the hello in its record")
	}
	s.least = s.end + left + recordHeader*((left+maxFragment-1)/maxFragment)
	if s.least > MaxSize {
		return ErrTooLarge
	}
	return nil
}

// body returns the message without its header. b is what was scanned to the
// end. It copies only if there is more than one record.
func (s *scan) body(b []byte) []byte {
	if s.records == 1 {
		return b[recordHeader+messageHeader : s.end]
	}
	whole := make([]byte, 0, s.size)
	for rest := b[:s.end]; len(rest) > 0; {
		n := int(rest[3])<<8 | int(rest[4])
		whole = append(whole, rest[recordHeader:recordHeader+n]...)
		rest = rest[recordHeader+n:]
	}
	return whole[messageHeader:]
}
