package redact

// An index finds many secrets in one pass over a text (Aho and Corasick, 1975). Its
// time does not depend on how many there are.
type index struct {
	nodes    []node
	root     [256]int32 // the children of the root
	shortest int        // bytes of the shortest secret
}

// A node stands for the beginning of secrets.
type node struct {
	child, sibling int32 // 0: none
	shorter        int32 // the longest end of what the node stands for that is a node too
	found          int32 // the same among those that are secrets; 0: none
	size           int16 // bytes, where it is a secret; otherwise 0
	char           byte
	word           bool // a secret only where it stands as a word
}

// A needle is what is to be found.
type needle struct {
	text string
	word bool
}

// fold makes a space of +, which stands for one in forms.
func fold(c byte) byte {
	if c == '+' {
		return ' '
	}
	return c
}

func newIndex(needles []needle) *index {
	x := &index{nodes: make([]node, 1), shortest: len(needles[0].text)}
	for _, n := range needles {
		x.insert(n)
		x.shortest = min(x.shortest, len(n.text))
	}
	x.link()
	return x
}

func (x *index) insert(n needle) {
	at := int32(0)
	for i := range len(n.text) {
		c := fold(n.text[i])
		next := x.childOf(at, c)
		if next == 0 {
			next = int32(len(x.nodes)) //nolint:gosec // far below
			x.nodes = append(x.nodes, node{char: c, sibling: x.nodes[at].child})
			x.nodes[at].child = next
			if at == 0 {
				x.root[c] = next
			}
		}
		at = next
	}
	end := &x.nodes[at]
	end.word = n.word && (end.size == 0 || end.word)
	end.size = int16(len(n.text)) //nolint:gosec // at most maxNeedle
}

func (x *index) childOf(at int32, c byte) int32 {
	if at == 0 {
		return x.root[c]
	}
	for next := x.nodes[at].child; next != 0; next = x.nodes[next].sibling {
		if x.nodes[next].char == c {
			return next
		}
	}
	return 0
}

// link sets shorter and found, those of shorter nodes first.
func (x *index) link() {
	queue := []int32{0}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		for next := x.nodes[at].child; next != 0; next = x.nodes[next].sibling {
			if at != 0 {
				shorter := x.step(x.nodes[at].shorter, x.nodes[next].char)
				x.nodes[next].shorter = shorter
				x.nodes[next].found = x.nodes[shorter].found
				if x.nodes[shorter].size > 0 {
					x.nodes[next].found = shorter
				}
			}
			queue = append(queue, next)
		}
	}
}

func (x *index) step(at int32, c byte) int32 {
	for {
		if next := x.childOf(at, c); next != 0 || at == 0 {
			return next
		}
		at = x.nodes[at].shorter
	}
}

// find calls found with the longest secret that ends at each place.
func (x *index) find(text []byte, binary bool, found func(from, to int)) {
	at := int32(0)
	for i, c := range text {
		at = x.step(at, fold(c))
		end := at
		if x.nodes[end].size == 0 {
			end = x.nodes[end].found
		}
		for ; end != 0; end = x.nodes[end].found {
			from := i + 1 - int(x.nodes[end].size)
			if !x.nodes[end].word || standsAlone(text, from, i+1, binary) {
				found(from, i+1)
				break
			}
		}
	}
}

// minInBinary is the shortest text that counts where most of it means nothing: shorter
// ones are there by chance.
const minInBinary = 3

// standsAlone reports whether text[from:to] is not a part of a longer word.
func standsAlone(text []byte, from, to int, binary bool) bool {
	if binary && to-from < minInBinary {
		return false
	}
	between := func(at int) bool { // two characters
		if at == 0 || at == len(text) {
			return true
		}
		before, after := text[at-1], text[at]
		if binary && (!plain(before) || !plain(after)) {
			return false
		}
		return !alphanumeric(before) || !alphanumeric(after)
	}
	return between(from) && between(to)
}

// plain is a character of ASCII that can be seen, or what stands between two runs.
func plain(c byte) bool { return c == 0 || c == '\n' || c >= ' ' && c < 0x7f }

func alphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= 0x80
}
