package store

import (
	"fmt"
	"strconv"
	"strings"
)

// minSQLite is the first version without the WAL-reset race, in which a
// checkpoint and a commit at the same time could lose the commit (3.7.0 to
// 3.51.2).
const minSQLite = "3.51.3"

// checkVersion returns an ErrOldSQLite if have is below minSQLite or is not a
// version.
func checkVersion(have string) error {
	if older(have, minSQLite) {
		return fmt.Errorf("%w: it is %s and must be at least %s, since older ones can lose commits; build Exeat with its own SQLite", ErrOldSQLite, have, minSQLite)
	}
	return nil
}

// older reports whether version a comes before b, number by number; a missing
// number counts as 0. What is not a version is older than everything.
func older(a, b string) bool {
	x, y := strings.Split(a, "."), strings.Split(b, ".")
	for i := range max(len(x), len(y)) {
		m, n := number(x, i), number(y, i)
		if m != n {
			return m < n
		}
	}
	return false
}

func number(parts []string, i int) int {
	if i >= len(parts) {
		return 0
	}
	n, err := strconv.ParseUint(parts[i], 10, 31)
	if err != nil {
		return -1
	}
	return int(n)
}
