package sql

import (
	"math"
	"strings"
	"unicode/utf8"

	"github.com/jetpost/jetpost/stream"
)

// A function is one of those that every engine has to have.
type function struct {
	name     string
	args     []kind
	variadic bool // any number of the last one, none included
	returns  kind
	run      func(args []value) (value, failure)
}

type call struct {
	function function
	args     []expr
}

// maxText bounds the texts that functions make: an expression can repeat an
// attribute a thousand times.
const maxText = 1 << 20

func (f function) takes(n int) bool {
	return n == len(f.args) || f.variadic && n >= len(f.args)-1
}

func (c call) eval(e *stream.Event) (value, failure) {
	args := make([]value, len(c.args))
	for i, arg := range c.args {
		want := c.function.args[min(i, len(c.function.args)-1)]
		var f failure
		if args[i], f = evalAs(arg, e, want); f != 0 {
			return c.function.returns.zero(), f
		}
	}
	v, f := c.function.run(args)
	if len(v.text) > maxText {
		return c.function.returns.zero(), functionFailure
	}
	return v, f
}

// functions are all of them. Those of texts count characters.
func functions() []function {
	cast := func(k kind) func([]value) (value, failure) {
		return func(args []value) (value, failure) { return args[0].as(k) }
	}
	is := func(k kind) func([]value) (value, failure) {
		return func(args []value) (value, failure) {
			_, f := args[0].as(k)
			return truth(f == 0), 0
		}
	}
	onText := func(change func(string) string) func([]value) (value, failure) {
		return func(args []value) (value, failure) { return str(change(args[0].text)), 0 }
	}
	one := []kind{text}
	return []function{
		{name: "INT", args: []kind{anything}, returns: integer, run: cast(integer)},
		{name: "BOOL", args: []kind{anything}, returns: boolean, run: cast(boolean)},
		{name: "STRING", args: []kind{anything}, returns: text, run: cast(text)},
		{name: "IS_INT", args: []kind{anything}, returns: boolean, run: is(integer)},
		{name: "IS_BOOL", args: []kind{anything}, returns: boolean, run: is(boolean)},
		{name: "ABS", args: []kind{integer}, returns: integer, run: abs},
		{name: "LENGTH", args: one, returns: integer, run: length},
		{name: "CONCAT", args: one, variadic: true, returns: text, run: concat},
		{name: "CONCAT_WS", args: []kind{text, text}, variadic: true, returns: text, run: concatWS},
		{name: "LOWER", args: one, returns: text, run: onText(strings.ToLower)},
		{name: "UPPER", args: one, returns: text, run: onText(strings.ToUpper)},
		{name: "TRIM", args: one, returns: text, run: onText(strings.TrimSpace)},
		{name: "LEFT", args: []kind{text, integer}, returns: text, run: left},
		{name: "RIGHT", args: []kind{text, integer}, returns: text, run: right},
		{name: "SUBSTRING", args: []kind{text, integer}, returns: text, run: substring},
		{name: "SUBSTRING", args: []kind{text, integer, integer}, returns: text, run: substring},
	}
}

func abs(args []value) (value, failure) {
	switch n := args[0].number; {
	case n == math.MinInt32:
		return number(math.MaxInt32), mathFailure
	case n < 0:
		return number(-n), 0
	default:
		return number(n), 0
	}
}

func length(args []value) (value, failure) {
	return inRange(int64(utf8.RuneCountInString(args[0].text)))
}

func concat(args []value) (value, failure) { return join("", args) }

func concatWS(args []value) (value, failure) { return join(args[0].text, args[1:]) }

func join(delimiter string, args []value) (value, failure) {
	var b strings.Builder
	for i, arg := range args {
		if i > 0 {
			b.WriteString(delimiter)
		}
		b.WriteString(arg.text)
		if b.Len() > maxText {
			return str(""), functionFailure
		}
	}
	return str(b.String()), 0
}

// cut returns the bytes of n characters at the beginning of s.
func cut(s string, n int) int {
	at := 0
	for ; n > 0 && at < len(s); n-- {
		_, size := utf8.DecodeRuneInString(s[at:])
		at += size
	}
	return at
}

func left(args []value) (value, failure) {
	s, n := args[0].text, int(args[1].number)
	if n < 0 {
		return str(s), functionFailure
	}
	return str(s[:cut(s, n)]), 0
}

func right(args []value) (value, failure) {
	s, n := args[0].text, int(args[1].number)
	if n < 0 {
		return str(s), functionFailure
	}
	return str(s[cut(s, utf8.RuneCountInString(s)-n):]), 0
}

func substring(args []value) (value, failure) {
	s, at := args[0].text, int(args[1].number)
	size := utf8.RuneCountInString(s)
	switch {
	case at > size || at < -size || len(args) == 3 && args[2].number < 0:
		return str(""), functionFailure
	case at == 0:
		return str(""), 0
	case at > 0:
		at--
	default:
		at += size
	}
	s = s[cut(s, at):]
	if len(args) == 3 {
		s = s[:cut(s, int(args[2].number))]
	}
	return str(s), 0
}
