package producer

import (
	"strings"

	"github.com/tidwall/gjson"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/schemas"
)

// classified returns e, or a copy that says of what class the repository is which it is
// about: criteria ask for it, and publishers seldom know it. It costs nothing while
// no repository is registered.
func (p *Producer) classified(e *event.Event) *event.Event {
	if p.cfg.Repositories == nil {
		return e
	}
	if p.cfg.Repositories.Len() == 0 || !ofRepository(e.Type) || !event.IsJSON(e.DataContentType) {
		return e
	}
	if _, said := e.Attribute(schemas.RepositoryClass); said {
		return e
	}
	class, known := p.cfg.Repositories.ClassOf(gjson.GetBytes(e.Data, "repo_key").String())
	if !known {
		return e
	}
	c := *e
	c.Extensions = make([]event.Attribute, 0, len(e.Extensions)+1)
	c.Extensions = append(append(c.Extensions, e.Extensions...), event.Attribute{Name: schemas.RepositoryClass, Value: class})
	return &c
}

// ofRepository reports whether events of a type are about something in a repository.
func ofRepository(eventType string) bool {
	domain, _, _ := strings.Cut(eventType, ".")
	return domain == "artifact" || domain == "artifact_property" || domain == "docker"
}
