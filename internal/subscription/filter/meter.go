package filter

import (
	"strings"

	"github.com/jetpost/jetpost/event"
)

// What deciding on one event may take of one subscription, in steps. A step is about a
// nanosecond, and about a byte that is looked at; steps are counted and not measured, so
// that an event and a filter always come to the same. Whatever filters are saved, an
// event costs no subscription more: what needs more is a dead letter.
//
// An event of 1 KiB and ten filters take some hundred steps. Finding values in the data
// is not counted but for lookupSteps: all subscriptions share it, and however many there
// are it is done by reading the data a few times. See document.
const (
	baseSteps    = 256 << 10
	stepsPerByte = 4 // of the data
	lookupSteps  = 32
)

func budgetOf(e *event.Event) int { return baseSteps + stepsPerByte*len(e.Data) }

// What may be decided while the deliveries to others wait: a small part of what storing
// one of them takes. What takes longer is decided afterwards, from the beginning.
const (
	quickSteps        = 16 << 10
	quickBytesPerStep = 8 // of the data: to find a short text in all of it
)

func quickOf(e *event.Event) int { return quickSteps + len(e.Data)/quickBytesPerStep }

// directLookups is how many values are found by reading the data from its beginning.
const directLookups = 8

// A meter counts the steps of one evaluation.
type meter struct {
	left int
	over bool // more was needed than was granted: the evaluation has no result
}

// begin grants the steps of an evaluation.
func (m *meter) begin(steps int) { *m = meter{left: steps} }

// spend reports whether there are steps left.
func (m *meter) spend(steps int) bool {
	m.left -= steps
	if m.left < 0 {
		m.over = true
	}
	return !m.over
}

// comparedSteps is what comparing a text of n bytes takes: many bytes at a time.
func comparedSteps(n int) int { return 2 + n/16 }

// accepts compares a value and counts the steps.
func (m *meter) accepts(c *comparison, value string) bool {
	middle, ok := c.ends(value)
	steps := comparedSteps(len(c.literal) + len(c.tail))
	if ok && c.rest != nil {
		// What has to be there is sooner looked for than matched.
		if steps += comparedSteps(len(middle)); steps <= m.left && !strings.Contains(middle, c.inner) {
			ok = false
		} else if steps <= m.left {
			var used int
			ok, used = c.rest.Match(middle, m.left-steps)
			steps += used
		}
	}
	return m.spend(steps) && ok
}
