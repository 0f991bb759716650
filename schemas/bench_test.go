package schemas_test

import (
	"testing"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/schemas"
)

// BenchmarkCheck measures what validation adds to a publish.
func BenchmarkCheck(b *testing.B) {
	c := load(b)
	for _, of := range []struct{ name, eventType, example string }{
		{"artifact", "artifact.deployed", ""},
		{"push_1KiB", "git.push", "minimal"},
		{"push_3KiB", "git.push", ""},
	} {
		data := example(b, c, of.eventType, of.example)
		e := &event.Event{ID: "1", Source: "/bench", Type: of.eventType, DataContentType: "application/json", Data: data}
		b.Run(of.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				if _, err := c.Check(e); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		if _, err := schemas.Load(); err != nil {
			b.Fatal(err)
		}
	}
}
