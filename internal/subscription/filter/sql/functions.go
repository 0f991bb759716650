package sql

import (
	"math"
	"strings"
	"unicode/utf8"
)

// A function is one of those that every engine has to have.
type function struct {
	name    string
	args    []kind // 3 at most
	returns kind
	run     func(args arguments) (value, failure)
	// variadic is instead of run: it takes any number of the last argument, none
	// included.
	variadic func(args []value) (value, failure)
}

// arguments are passed by value, so that most calls need no memory.
type arguments [3]value

type call struct {
	function function
	args     []expr
}

// maxText bounds the texts that functions make: an expression can repeat an
// attribute a thousand times.
const maxText = 1 << 20

func (f function) takes(n int) bool {
	return n == len(f.args) || f.variadic != nil && n >= len(f.args)-1
}

func (c call) eval(e *run) (value, failure) {
	var v value
	var f failure
	if c.function.variadic != nil {
		args := make([]value, len(c.args))
		for i := range c.args {
			if args[i], f = c.arg(i, e); f != 0 {
				return c.function.returns.zero(), f
			}
		}
		if f = e.spend(textSteps(args)); f != 0 {
			return c.function.returns.zero(), f
		}
		v, f = c.function.variadic(args)
	} else {
		var args arguments
		for i := range c.args {
			if args[i], f = c.arg(i, e); f != 0 {
				return c.function.returns.zero(), f
			}
		}
		if f = e.spend(textSteps(args[:])); f != 0 {
			return c.function.returns.zero(), f
		}
		v, f = c.function.run(args)
	}
	if len(v.text) > maxText {
		return c.function.returns.zero(), functionFailure
	}
	if f == 0 {
		f = e.spend(len(v.text))
	}
	return v, f
}

// textSteps is what a function takes: it reads each text and writes at most about all of
// them, characters of several bytes slower than others.
func textSteps(args []value) int {
	steps := nodeSteps
	for i := range args {
		steps += 4 * len(args[i].text)
	}
	return steps
}

// arg evaluates an argument.
func (c call) arg(i int, e *run) (value, failure) {
	return evalAs(c.args[i], e, c.function.args[min(i, len(c.function.args)-1)])
}

// functions are all of them. Those of texts count characters.
func functions() []function {
	cast := func(k kind) func(arguments) (value, failure) {
		return func(args arguments) (value, failure) { return args[0].as(k) }
	}
	is := func(k kind) func(arguments) (value, failure) {
		return func(args arguments) (value, failure) {
			_, f := args[0].as(k)
			return truth(f == 0), 0
		}
	}
	onText := func(change func(string) string) func(arguments) (value, failure) {
		return func(args arguments) (value, failure) { return str(change(args[0].text)), 0 }
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
		{name: "CONCAT", args: one, returns: text, variadic: concat},
		{name: "CONCAT_WS", args: []kind{text, text}, returns: text, variadic: concatWS},
		{name: "LOWER", args: one, returns: text, run: onText(strings.ToLower)},
		{name: "UPPER", args: one, returns: text, run: onText(strings.ToUpper)},
		{name: "TRIM", args: one, returns: text, run: onText(strings.TrimSpace)},
		{name: "LEFT", args: []kind{text, integer}, returns: text, run: left},
		{name: "RIGHT", args: []kind{text, integer}, returns: text, run: right},
		{name: "SUBSTRING", args: []kind{text, integer}, returns: text, run: from},
		{name: "SUBSTRING", args: []kind{text, integer, integer}, returns: text, run: substring},
	}
}

func abs(args arguments) (value, failure) {
	switch n := args[0].number; {
	case n == math.MinInt32:
		return number(math.MaxInt32), mathFailure
	case n < 0:
		return number(-n), 0
	default:
		return number(n), 0
	}
}

func length(args arguments) (value, failure) {
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

func left(args arguments) (value, failure) {
	s, n := args[0].text, int(args[1].number)
	if n < 0 {
		return str(s), functionFailure
	}
	return str(s[:cut(s, n)]), 0
}

func right(args arguments) (value, failure) {
	s, n := args[0].text, int(args[1].number)
	if n < 0 {
		return str(s), functionFailure
	}
	return str(s[cut(s, utf8.RuneCountInString(s)-n):]), 0
}

// from is SUBSTRING with two arguments.
func from(args arguments) (value, failure) {
	args[2] = number(math.MaxInt32)
	return substring(args)
}

func substring(args arguments) (value, failure) {
	s, at, n := args[0].text, int(args[1].number), int(args[2].number)
	size := utf8.RuneCountInString(s)
	switch {
	case at > size || at < -size || n < 0:
		return str(""), functionFailure
	case at == 0:
		return str(""), 0
	case at > 0:
		at--
	default:
		at += size
	}
	s = s[cut(s, at):]
	return str(s[:cut(s, n)]), 0
}
