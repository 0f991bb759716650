package stream

// OperationalDomain is the domain of the events that jetpost publishes about itself:
// see package operational. Other producers must not use it.
const OperationalDomain = "jetpost"

// OperationalSource is the source of these events: the same for all processes of an
// installation, and another one for each installation in a NATS account.
func (l Layout) OperationalSource() string {
	if l.prefix == "" {
		return "/jetpost"
	}
	return "/jetpost/" + l.prefix
}
