package publicapi_test

import (
	"go/types"
	"maps"
	"slices"
	"strings"
)

// A leaks finds the internal types that a program which imports a package would have to
// name, or be given: in what is exported, and in what that leads to.
type leaks struct {
	internal func(path string) bool // cannot be imported outside
	public   func(path string) bool // is looked into
	seen     map[types.Type]bool
	found    map[string]bool // "where: what"
}

// leaksOf lists the internal types of what a package exports, as "object: type".
func leaksOf(p *types.Package, internal, public func(path string) bool) []string {
	l := &leaks{internal: internal, public: public, seen: map[types.Type]bool{}, found: map[string]bool{}}
	for _, name := range p.Scope().Names() {
		if object := p.Scope().Lookup(name); object.Exported() {
			clear(l.seen)
			l.look(name, object.Type())
		}
	}
	return slices.Sorted(maps.Keys(l.found))
}

// named looks at a declared type, and reports whether what it is made of matters.
func (l *leaks) named(where string, name *types.TypeName, args *types.TypeList) bool {
	for arg := range args.Types() {
		l.look(where, arg)
	}
	if name.Pkg() == nil { // error, any
		return false
	}
	if l.internal(name.Pkg().Path()) {
		l.found[where+": "+name.Pkg().Path()+"."+name.Name()] = true
		return false
	}
	return l.public(name.Pkg().Path())
}

func (l *leaks) look(where string, t types.Type) {
	if l.seen[t] {
		return
	}
	l.seen[t] = true
	switch t := t.(type) {
	case *types.Alias:
		if l.named(where, t.Obj(), t.TypeArgs()) {
			l.look(where, t.Rhs())
		}
	case *types.Named:
		if !l.named(where, t.Obj(), t.TypeArgs()) {
			return
		}
		l.look(where, t.Underlying())
		for m := range t.Methods() {
			if m.Exported() {
				l.look(where+"."+m.Name(), m.Signature())
			}
		}
		for p := range t.TypeParams().TypeParams() {
			l.look(where, p.Constraint())
		}
	case *types.Struct:
		for f := range t.Fields() {
			if f.Exported() || f.Embedded() { // its exported fields and methods are promoted
				l.look(where+"."+f.Name(), f.Type())
			}
		}
	case *types.Interface:
		for m := range t.ExplicitMethods() {
			l.look(where+"."+m.Name(), m.Signature())
		}
		for e := range t.EmbeddedTypes() {
			l.look(where, e)
		}
	case *types.Signature:
		l.tuple(where, t.Params())
		l.tuple(where, t.Results())
		for p := range t.TypeParams().TypeParams() {
			l.look(where, p.Constraint())
		}
	case *types.Union:
		for term := range t.Terms() {
			l.look(where, term.Type())
		}
	case *types.Map:
		l.look(where, t.Key())
		l.look(where, t.Elem())
	case interface{ Elem() types.Type }: // pointer, slice, array, channel
		l.look(where, t.Elem())
	}
}

func (l *leaks) tuple(where string, t *types.Tuple) {
	for v := range t.Variables() {
		l.look(where, v.Type())
	}
}

// isInternal reports a package of jetpost that no other module imports, or should.
func isInternal(path string) bool {
	rest, ours := strings.CutPrefix(path, module+"/")
	if !ours {
		return false
	}
	parts := strings.Split(rest, "/")
	return slices.Contains(parts, "internal") || slices.Contains([]string{"admin", "cmd", "console", "interop", "router", "sender"}, parts[0])
}

func isPublic(path string) bool { return strings.HasPrefix(path, module+"/") && !isInternal(path) }
