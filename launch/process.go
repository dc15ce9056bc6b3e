package launch

import "errors"

// Process is one process for good: the ID alone is used again once it ended.
// The zero value is no process.
type Process struct {
	PID int
	// Start is when it started, in the kernel's own ticks since boot; only
	// good to be compared. Zero where the system doesn't tell.
	Start uint64
}

// ErrNoTree means that this system doesn't tell us who started a process.
var ErrNoTree = errors.New("launch: the process tree is only known on Linux")

// maxDepth bounds the walk from a process to its ancestors.
const maxDepth = 1024
