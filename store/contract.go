package store

import (
	"github.com/exeat/exeat/baseline"
	"github.com/exeat/exeat/identity"
	"github.com/exeat/exeat/record"
)

// DB serves each of its consumers through the interface that it declares.
var (
	_ identity.Store = (*DB)(nil)
	_ baseline.Store = (*DB)(nil)
	_ record.Store   = (*DB)(nil)
)
