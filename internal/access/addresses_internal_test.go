package access

import (
	"fmt"
	"testing"
	"time"
)

// When all places are taken, quiet addresses are removed, but not all are visited
// for every wrong token.
func TestTidyIsBounded(t *testing.T) {
	t.Parallel()
	a, now := newAddresses(1), time.Now()
	for i := range maxAddresses {
		a.count(fmt.Sprintf("10.1.%d.%d", i/256, i%256), now)
	}
	a.count("192.0.2.1", now) // a read that finds nothing
	later := now.Add(tidyEvery / 2)
	a.count("192.0.2.2", later)
	if len(a.known) != maxAddresses || !a.tidied.Equal(now) {
		t.Errorf("%d are known, looked at after %v", len(a.known), a.tidied.Sub(now))
	}
	later = now.Add(time.Hour)
	a.count("192.0.2.3", later)
	if len(a.known) != 1 || !a.tidied.Equal(later) {
		t.Errorf("an hour later %d are known", len(a.known))
	}
}
