// Package redact strikes secrets out of texts that come from outside: the answers of
// receivers, which may echo a request, and errors that quote them.
//
//	text ──► decoded in every way, and again ──► searched ──► what was found is struck out
//	         (views, see decode.go)              (search.go)   where it stands in the text
//
// A secret is found as it is, and JSON-escaped, Go-quoted, percent-encoded, HTML-escaped
// or in base64 (both alphabets, with and without padding, at any place in what was
// encoded), and in any two of these, one inside of the other. The work is bounded: a
// text that would take more is withheld.
package redact

import (
	"hash/maphash"
	"strings"
	"sync"
)

const (
	// Placeholder stands where a secret was.
	Placeholder = "[secret]"
	// Withheld stands for a text that is encoded in too many ways to be searched.
	Withheld = "[withheld: encoded in too many ways to look for secrets in it]"

	// maxNesting is how many encodings may be around a secret: two of a receiver's
	// choice, and the quotes of an error. The third is looked into as far as maxWork lets.
	maxNesting, sureNesting = 3, 2
	// maxExpansion is how many bytes two encodings may make of one: the escaped
	// characters of an HTML entity, each as \u0000.
	maxExpansion = 40
	// maxWork bounds the bytes that are decoded, as a multiple of those of the text.
	maxWork = 100
)

// A Redactor strikes out the secrets of a Set. The zero value and nil strike out nothing.
type Redactor struct {
	once    sync.Once
	collect func(*Set)
	index   *index // nil: there are no secrets
}

// New returns a Redactor of what collect puts into the Set. That is called when there is
// a text for the first time.
func New(collect func(*Set)) *Redactor { return &Redactor{collect: collect} }

// Strike returns the first keep bytes of text without the secrets. Of a secret that
// stands across the end nothing is left either.
func (r *Redactor) Strike(text string, keep int) string {
	if r == nil || r.collect == nil || text == "" || keep <= 0 {
		return text[:min(len(text), max(keep, 0))]
	}
	r.once.Do(func() {
		var set Set
		r.collect(&set)
		r.index = set.index()
	})
	keep = min(keep, len(text))
	if r.index == nil || len(text) < r.index.shortest { // no encoding is shorter than what it stands for
		return text[:keep]
	}
	s := search{index: r.index, source: []byte(text[:min(len(text), keep+maxExpansion*maxNeedle)])}
	if !s.run() {
		return Withheld
	}
	return s.write(keep)
}

// A search is one look for secrets in one text.
type search struct {
	index  *index
	source []byte
	// edges has, at each place of the source, how many finds begin there less how many
	// end. Nil: nothing is found.
	edges []int32
}

// run looks into the source and all that it decodes to. It reports false when that
// is too much.
func (s *search) run() bool {
	seed := maphash.MakeSeed()
	var seen map[uint64]bool
	work := maxWork * len(s.source)
	level := []*view{{text: s.source}}
	for depth := 0; len(level) > 0; depth++ {
		var next []*view
		for _, v := range level {
			s.look(v)
			if depth == maxNesting || work < 0 {
				continue
			}
			from := v.decodable(s.index.shortest)
			for _, decode := range decoders {
				decoded := decode(from, s.index.shortest)
				if decoded == nil {
					continue
				}
				if work -= len(decoded.text); work < 0 {
					if depth < sureNesting {
						return false
					}
					break // what is at hand is looked at
				}
				// Encodings that do not touch each other give the same in either order.
				if sum := maphash.Bytes(seed, decoded.text); !seen[sum] {
					if seen == nil {
						seen = make(map[uint64]bool)
					}
					seen[sum] = true
					next = append(next, decoded)
				}
			}
		}
		level = next
	}
	return true
}

// look searches a view.
func (s *search) look(v *view) {
	s.index.find(v.text, v.binary, func(from, to int) {
		if s.edges == nil {
			s.edges = make([]int32, len(s.source)+1)
		}
		part := v.source(from, to)
		s.edges[part.begin]++
		s.edges[part.end]--
	})
}

// write is the text up to keep, with a placeholder for all that was found in a row.
func (s *search) write(keep int) string {
	if s.edges == nil {
		return string(s.source[:keep])
	}
	var out strings.Builder
	var depth int32
	shown := 0 // up to where it is written
	for at := range keep {
		before := depth
		depth += s.edges[at]
		switch {
		case before == 0 && depth > 0:
			out.Write(s.source[shown:at])
			out.WriteString(Placeholder)
		case before > 0 && depth == 0:
			shown = at
		}
	}
	if depth == 0 {
		out.Write(s.source[shown:keep])
	}
	return out.String()
}
