package subscription

import (
	"strings"

	"github.com/jetpost/jetpost/stream"
)

// What deciding on one event may take of one subscription, in steps. A step is about a
// nanosecond, and about a byte that is looked at; steps are counted and not measured, so
// that an event and a filter always come to the same. Whatever filters are saved, an
// event costs no subscription more: what needs more is a dead letter.
//
// An event of 1 KiB and ten filters take some hundred steps. What it takes to look
// values up in the data is always granted: see pay.
const (
	baseSteps    = 512 << 10
	stepsPerByte = 8 // of the data
)

func budgetOf(e *stream.Event) int { return baseSteps + stepsPerByte*len(e.Data) }

// What may be decided while the deliveries to others wait: as much as storing one of
// them takes, about. What takes longer is decided afterwards, from the beginning.
const (
	quickSteps        = 32 << 10
	quickStepsPerByte = 6 // looking values up in the data takes at most 5
)

func quickOf(e *stream.Event) int { return quickSteps + quickStepsPerByte*len(e.Data) }

// Steps of looking a value up in the data. The first lookups read the data from its
// beginning, later ones know where everything is: see document.
const (
	lookupSteps  = 16
	dataLookups  = 8 // are charged by the size of the data
	bytesPerStep = 2
)

// A meter counts the steps of one evaluation.
type meter struct {
	left    int
	over    bool // more was needed than was granted: the evaluation has no result
	lookups int  // values of the data that were looked up
	// round tells the cells that this evaluation has asked for from those that others
	// have. Each evaluation pays for all that it needs, so that what it comes to does
	// not depend on other subscriptions.
	round int
}

// begin grants the steps of an evaluation.
func (m *meter) begin(steps int) { *m = meter{left: steps, round: m.round + 1} }

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
