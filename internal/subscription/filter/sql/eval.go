package sql

import (
	"math"

	"github.com/jetpost/jetpost/event"
)

// A failure is what makes a value unusable, named as in the specification; 0 when
// nothing does. Evaluation stops at the first one ("fail fast mode").
type failure uint8

const (
	mathFailure failure = iota + 1
	castFailure
	missingAttribute
	functionFailure
	tooCostly // more steps than were granted: there is no result
)

// A run is the evaluation of an expression for an event, with the steps that are left to
// it. A step is about a byte that is looked at or written.
type run struct {
	event *event.Event
	left  int
}

func (r *run) spend(steps int) failure {
	if r.left -= steps; r.left < 0 {
		return tooCostly
	}
	return 0
}

// The canonical forms of a Boolean attribute (CloudEvents 1.0.2, "Type System").
const (
	canonicalTrue  = "true"
	canonicalFalse = "false"
)

// nodeSteps is what every part of an expression takes beside the texts.
const nodeSteps = 8

// An expr is a compiled expression. With a failure its value is the one that the
// specification gives: the zero value of its type, mostly.
type expr interface {
	eval(e *run) (value, failure)
}

type (
	literal   struct{ value value }
	attribute struct{ name string }
	flag      struct{ name string } // an extension attribute that is the whole expression
	exists    struct{ name string }
	not       struct{ of expr }
	negate    struct{ of expr }
	binary    struct{ left, right expr }
	logic     struct {
		binary
		op string // AND, OR, XOR
	}
	equal struct {
		binary
		inverse bool
	}
	order struct {
		binary
		op string // < <= > >=
	}
	arithmetic struct {
		binary
		op string // + - * / %
	}
	in struct {
		of  expr
		set []expr
	}
)

func (l literal) eval(*run) (value, failure) { return l.value, 0 }

func (a attribute) eval(e *run) (value, failure) {
	text, ok := e.event.Attribute(a.name)
	if !ok {
		return truth(false), missingAttribute
	}
	return str(text), e.spend(nodeSteps)
}

func (x flag) eval(e *run) (value, failure) {
	v, f := attribute(x).eval(e)
	if f == 0 && (v.text == canonicalTrue || v.text == canonicalFalse) {
		return truth(v.text == canonicalTrue), 0
	}
	return v, f
}

func (x exists) eval(e *run) (value, failure) {
	_, ok := e.event.Attribute(x.name)
	return truth(ok), e.spend(nodeSteps)
}

func (n not) eval(e *run) (value, failure) {
	v, f := evalAs(n.of, e, boolean)
	return truth(f == 0 && !v.truth), f
}

func (n negate) eval(e *run) (value, failure) {
	v, f := evalAs(n.of, e, integer)
	if f != 0 {
		return number(0), f
	}
	return inRange(-int64(v.number))
}

// bytesAtOnce is how many bytes of equal texts a step compares.
const bytesAtOnce = 16

// cast is as, with the steps that it takes: what a text says is looked at as a whole.
func (v value) cast(k kind, e *run) (value, failure) {
	if v.kind == k || k == anything {
		return v, 0
	}
	if f := e.spend(nodeSteps + len(v.text)); f != 0 {
		return k.zero(), f
	}
	return v.as(k)
}

func evalAs(x expr, e *run, k kind) (value, failure) {
	v, f := x.eval(e)
	if f != 0 {
		return v, f
	}
	return v.cast(k, e)
}

// both evaluates both operands before it casts them, so that an attribute that is
// missing is the failure that counts.
func (b binary) both(e *run) (left, right value, f failure) {
	if left, f = b.left.eval(e); f == 0 {
		right, f = b.right.eval(e)
	}
	return left, right, f
}

func (b binary) integers(e *run) (left, right int64, f failure) {
	l, r, f := b.both(e)
	if f == 0 {
		l, f = l.cast(integer, e)
	}
	if f == 0 {
		r, f = r.cast(integer, e)
	}
	return int64(l.number), int64(r.number), f
}

func (l logic) eval(e *run) (value, failure) {
	left, f := evalAs(l.left, e, boolean)
	switch {
	case f != 0:
		return truth(false), f
	case l.op == "AND" && !left.truth, l.op == "OR" && left.truth:
		return left, 0
	}
	right, f := evalAs(l.right, e, boolean)
	if f != 0 {
		return truth(false), f
	}
	if l.op == "XOR" {
		return truth(left.truth != right.truth), 0
	}
	return right, 0 // the left one has not decided
}

func (q equal) eval(e *run) (value, failure) {
	left, right, f := q.both(e)
	if f == 0 {
		left, f = left.cast(right.kind, e)
	}
	if f == 0 {
		f = e.spend(nodeSteps + min(len(left.text), len(right.text))/bytesAtOnce)
	}
	return truth(f == 0 && (left == right) != q.inverse), f
}

func (o order) eval(e *run) (value, failure) {
	left, right, f := o.integers(e)
	var is bool
	switch o.op {
	case "<":
		is = left < right
	case "<=":
		is = left <= right
	case ">":
		is = left > right
	case ">=":
		is = left >= right
	}
	return truth(f == 0 && is), f
}

func (a arithmetic) eval(e *run) (value, failure) {
	left, right, f := a.integers(e)
	if f != 0 {
		return number(0), f
	}
	switch {
	case a.op == "+":
		return inRange(left + right)
	case a.op == "-":
		return inRange(left - right)
	case a.op == "*":
		return inRange(left * right)
	case right == 0:
		return number(0), mathFailure
	case a.op == "/":
		return inRange(left / right)
	default:
		return inRange(left % right)
	}
}

func inRange(n int64) (value, failure) {
	if n < math.MinInt32 || n > math.MaxInt32 {
		return number(0), mathFailure
	}
	return number(int32(n)), 0
}

func (i in) eval(e *run) (value, failure) {
	have, f := i.of.eval(e)
	if f != 0 {
		return truth(false), f
	}
	for _, each := range i.set {
		want, f := evalAs(each, e, have.kind)
		if f == 0 {
			f = e.spend(nodeSteps + min(len(have.text), len(want.text))/bytesAtOnce)
		}
		if f != 0 {
			return truth(false), f
		}
		if have == want {
			return truth(true), 0
		}
	}
	return truth(false), 0
}
