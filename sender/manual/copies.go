package manual

import "sync"

// copies are this sender's copies of the keys, which one watch keeps up to date: each
// retry needs them. Until they are complete the bucket is read.
type copies struct {
	mu       sync.Mutex
	complete bool
	known    map[string]copied // by subscription
}

type copied struct {
	all      []success
	revision uint64
}

// get returns the copy of a subscription. ok is false where the bucket has to be read.
func (c *copies) get(id string) (all []success, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.known[id].all, c.complete
}

// set stores the value of a revision.
func (c *copies) set(id string, all []success, revision uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = make(map[string]copied)
	}
	if revision > c.known[id].revision {
		c.known[id] = copied{all, revision}
	}
}

func (c *copies) forget(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, id)
}

// reset drops all copies.
func (c *copies) reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.complete, c.known = false, nil
}

func (c *copies) completed() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.complete = true
}
