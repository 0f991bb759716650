package wildcard

import (
	"slices"
	"unicode/utf8"
)

const maxWords = 65 // for LIKE patterns, which have up to 4096 characters

// A machine is an automaton whose states are bits: bit i is set when the tokens before
// the one at i match what was read. One character moves all of them:
//
//	pattern  a * b           read "ax": states 1 and 2
//	states   0 1 2 3         1 stays, as a run takes any character, and 2 is where
//	                         it may have ended; b would set 3, which is the end
//
// The characters that no token tells apart are one symbol, so a machine is small.
type machine struct {
	words int
	// low are the first characters of the symbols, ascii the symbols of the first 128
	// characters. The symbol of a byte that is not UTF-8 is the last one.
	low   []rune
	ascii [utf8.RuneSelf]uint16
	// advance has a word row for each symbol: tokens that stand for it.
	advance []uint64
	// stay are the runs that take a character other than /, staySlash those that take /.
	stay, staySlash []uint64
	runs            []uint64 // where the next token may begin at once
	segments        []uint64 // where it may at the beginning and behind a /
	accept          []uint64
	// sticky is a state that, once reached, accepts whatever follows; -1: none.
	sticky int
}

func newMachine(tokens []Token) *machine {
	words := len(tokens)/64 + 1
	masks := make([]uint64, 5*words)
	mask := func(i int) []uint64 { return masks[i*words : (i+1)*words : (i+1)*words] }
	m := &machine{
		words: words, sticky: -1,
		stay: mask(0), staySlash: mask(1), runs: mask(2), segments: mask(3), accept: mask(4),
	}
	set := func(states []uint64, i int) { states[i/64] |= 1 << (i % 64) }
	set(m.accept, len(tokens))
	for i, t := range tokens {
		switch t.Kind {
		case Run:
			set(m.runs, i)
			set(m.stay, i)
			if !t.WithinSegment {
				set(m.staySlash, i)
				if i == len(tokens)-1 {
					m.sticky = i
				}
			}
		case Segments:
			set(m.segments, i)
			set(m.stay, i)
			set(m.staySlash, i)
		case Literal, Any, Class:
		}
		if t.Optional {
			set(m.accept, i)
		}
	}
	m.low = symbols(tokens)
	m.advance = make([]uint64, (len(m.low)+1)*m.words)
	for s := range len(m.low) + 1 {
		r, invalid := rune(utf8.RuneError), s == len(m.low)
		if !invalid {
			r = m.low[s]
		}
		for i := range tokens {
			if tokens[i].contains(r, invalid) {
				m.advance[s*m.words+i/64] |= 1 << (i % 64)
			}
		}
	}
	for c := range m.ascii {
		m.ascii[c] = uint16(m.symbol(rune(c))) //nolint:gosec // there are about two for each token
	}
	return m
}

// symbols cuts the characters into ranges that no token cuts in two.
func symbols(tokens []Token) []rune {
	low := []rune{0, '/', '/' + 1}
	for _, t := range tokens {
		if t.Kind == Literal {
			low = append(low, t.Rune, t.Rune+1)
		}
		for _, r := range t.Ranges {
			low = append(low, r.Low, r.High+1)
		}
	}
	slices.Sort(low)
	return slices.Compact(low)
}

func (m *machine) symbol(r rune) int {
	at, found := slices.BinarySearch(m.low, r)
	if !found {
		at--
	}
	return at
}

// next decodes the character at a place of text.
func (m *machine) next(text string, at int) (symbol, size int) {
	if c := text[at]; c < utf8.RuneSelf {
		return int(m.ascii[c]), 1
	}
	r, size := utf8.DecodeRuneInString(text[at:])
	if isInvalid(r, size) {
		return len(m.low), size
	}
	return m.symbol(r), size
}

func (m *machine) match(text string, limit int) (matched bool, steps int) {
	if m.words == 1 {
		return m.matchWord(text, limit)
	}
	var active [maxWords]uint64
	m.close(&active, 1, true)
	cost := 1 + m.words
	for at := 0; at < len(text); {
		if m.sticky >= 0 && active[m.sticky/64]>>(m.sticky%64)&1 != 0 {
			return true, steps
		}
		if steps += cost; steps > limit {
			return false, steps
		}
		symbol, size := m.next(text, at)
		slash := text[at] == '/'
		at += size
		stay := m.stay
		if slash {
			stay = m.staySlash
		}
		var carry, reached uint64
		for w := range m.words {
			moved := active[w] & m.advance[symbol*m.words+w]
			active[w] = moved<<1 | carry | active[w]&stay[w]
			carry = moved >> 63
			reached |= active[w]
		}
		if reached == 0 {
			return false, steps
		}
		m.close(&active, 0, slash)
	}
	for w := range m.words {
		if active[w]&m.accept[w] != 0 {
			return true, steps
		}
	}
	return false, steps
}

// close adds the states that are reached without a character. Runs do not stand beside
// each other, so that one pass finds all.
func (m *machine) close(active *[maxWords]uint64, first uint64, boundary bool) {
	active[0] |= first
	var fromSegments, fromRuns uint64
	for w := range m.words {
		a := active[w] | fromSegments
		if boundary {
			s := a & m.segments[w]
			a |= s << 1
			fromSegments = s >> 63
		}
		a |= fromRuns
		r := a & m.runs[w]
		active[w] = a | r<<1
		fromRuns = r >> 63
	}
}

// matchWord is match where all states fit into one word, as they mostly do.
func (m *machine) matchWord(text string, limit int) (matched bool, steps int) {
	runs, segments := m.runs[0], m.segments[0]
	active := uint64(1)
	active |= active & segments << 1
	active |= active & runs << 1
	var sticky uint64
	if m.sticky >= 0 {
		sticky = 1 << m.sticky
	}
	for at := 0; at < len(text); {
		if active&sticky != 0 {
			return true, steps
		}
		if steps += 2; steps > limit {
			return false, steps
		}
		var symbol int
		c := text[at]
		if c < utf8.RuneSelf {
			symbol = int(m.ascii[c])
			at++
		} else {
			var size int
			symbol, size = m.next(text, at)
			at += size
		}
		if c == '/' {
			active = active&m.advance[symbol]<<1 | active&m.staySlash[0]
			active |= active & segments << 1
		} else {
			active = active&m.advance[symbol]<<1 | active&m.stay[0]
		}
		if active == 0 {
			return false, steps
		}
		active |= active & runs << 1
	}
	return active&m.accept[0] != 0, steps
}
