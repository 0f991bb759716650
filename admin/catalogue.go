package admin

import (
	"context"
	"time"

	"github.com/jetpost/jetpost/schemas"
)

// catalogueTimeout bounds the wait for a newer catalogue. After it the one that is
// known here has to do.
const catalogueTimeout = 2 * time.Second

// A catalogue answers by what is registered now: where it knows nothing of what it
// is asked for, another process may have registered it a moment ago.
type catalogue struct{ live *schemas.Live }

// Resolve is that of schemas.Catalogue.
func (c catalogue) Resolve(eventType string) (schemas.Type, error) {
	t, err := c.live.Current().Resolve(eventType)
	if err != nil {
		t, err = c.newest().Resolve(eventType)
	}
	return t, err
}

// Domain is that of schemas.Catalogue.
func (c catalogue) Domain(name string) (schemas.Domain, bool) {
	d, known := c.live.Current().Domain(name)
	if !known {
		d, known = c.newest().Domain(name)
	}
	return d, known
}

// Domains is that of schemas.Catalogue.
func (c catalogue) Domains() []schemas.Domain { return c.newest().Domains() }

func (c catalogue) newest() *schemas.Catalogue {
	ctx, cancel := context.WithTimeout(context.Background(), catalogueTimeout)
	defer cancel()
	newest, err := c.live.Sync(ctx)
	if err != nil {
		return c.live.Current()
	}
	return newest
}
