package schemas

// Only is the catalogue of the domains that keep reports true for: the others are
// not there, and no error speaks of them.
func (c *Catalogue) Only(keep func(domain string) bool) *Catalogue {
	next := &Catalogue{types: make(map[string]*Type), revision: c.revision}
	for _, d := range c.domains {
		if !keep(d.Name) {
			continue
		}
		next.domains = append(next.domains, d)
		for i := range d.Types {
			next.types[d.Types[i].Name] = &d.Types[i]
		}
	}
	for _, b := range c.broken {
		if keep(b.Domain) {
			next.broken = append(next.broken, b)
		}
	}
	return next
}

// DomainOf returns the domain to which events of a type belong by its prefix, also
// when there is no such type.
func (c *Catalogue) DomainOf(eventType string) (string, bool) {
	if d := c.owner(eventType); d != nil {
		return d.Name, true
	}
	return "", false
}
