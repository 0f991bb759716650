package delivery

import "fmt"

// An Outcome is how an attempt was judged.
type Outcome int

// The outcomes (design, section 7). The zero value is none of them, so that a
// forgotten verdict is noticed.
const (
	Delivered Outcome = iota + 1 // the receiver accepted it
	Retry                        // it failed, and will be tried again
	Gone                         // the receiver wants no more: the subscription is disabled
	Rejected                     // a status that the profile takes for final
	Exhausted                    // it failed, and that was the last attempt
)

var outcomeNames = [...]string{Delivered: "delivered", Retry: "retry", Gone: "gone", Rejected: "rejected", Exhausted: "exhausted"}

// Outcomes are all of them, in the order of their meaning.
func Outcomes() []Outcome { return []Outcome{Delivered, Retry, Gone, Rejected, Exhausted} }

// String is the lower-case name, as in records and metric labels.
func (o Outcome) String() string {
	if o < Delivered || int(o) >= len(outcomeNames) {
		return fmt.Sprintf("outcome(%d)", int(o))
	}
	return outcomeNames[o]
}

// MarshalText writes the name.
func (o Outcome) MarshalText() ([]byte, error) {
	if o < Delivered || int(o) >= len(outcomeNames) {
		return nil, fmt.Errorf("outcome %d has no name", int(o))
	}
	return []byte(outcomeNames[o]), nil
}

// UnmarshalText reads the name.
func (o *Outcome) UnmarshalText(text []byte) error {
	for n, name := range outcomeNames {
		if name != "" && name == string(text) {
			*o = Outcome(n)
			return nil
		}
	}
	return fmt.Errorf("%q is not an outcome", text)
}
