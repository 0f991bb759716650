package publicapi_test

import (
	"fmt"
	"go/types"
	"reflect"
	"slices"
	"strings"
)

// describe lists what a package exports, a line for each thing that a program can name,
// so that a line which is gone or has changed is what may break one. The methods of an
// interface share its line: one more breaks those who implement it.
func describe(p *types.Package) []string {
	var lines []string
	qualify := func(other *types.Package) string {
		if other == p {
			return ""
		}
		return other.Path()
	}
	text := func(t types.Type) string { return types.TypeString(t, qualify) }
	for _, name := range p.Scope().Names() {
		object := p.Scope().Lookup(name)
		if !object.Exported() {
			continue
		}
		switch object := object.(type) {
		case *types.Const:
			lines = append(lines, fmt.Sprintf("const %s %s = %s", name, text(object.Type()), object.Val().ExactString()))
		case *types.TypeName:
			lines = append(lines, describeType(object, text)...)
		case *types.Func:
			lines = append(lines, "func "+name+strings.TrimPrefix(text(nameless(object.Signature())), "func"))
		default:
			lines = append(lines, fmt.Sprintf("var %s %s", name, text(object.Type())))
		}
	}
	slices.Sort(lines)
	return lines
}

func describeType(name *types.TypeName, text func(types.Type) string) []string {
	if alias, ok := name.Type().(*types.Alias); ok {
		return []string{"type " + name.Name() + " = " + text(alias.Rhs())}
	}
	head := "type " + strings.TrimPrefix(text(name.Type()), ".")
	var lines []string
	if shape, ok := name.Type().Underlying().(*types.Struct); ok {
		lines = append(lines, head+" struct")
		for i := range shape.NumFields() {
			if f := shape.Field(i); f.Exported() {
				line := "type " + name.Name() + ", field " + f.Name() + " " + text(f.Type())
				if f.Embedded() {
					line += ", embedded"
				}
				if tag := reflect.StructTag(shape.Tag(i)).Get("json"); tag != "" {
					line += fmt.Sprintf(", json %q", tag)
				}
				lines = append(lines, line)
			}
		}
	} else {
		lines = append(lines, head+" "+text(nameless(name.Type().Underlying())))
	}
	if types.IsInterface(name.Type()) {
		return lines
	}
	// With the promoted ones.
	of := types.NewMethodSet(types.NewPointer(name.Type()))
	for selected := range of.Methods() {
		m := selected.Obj()
		if !m.Exported() {
			continue
		}
		receiver := "*" + name.Name()
		if types.NewMethodSet(name.Type()).Lookup(m.Pkg(), m.Name()) != nil {
			receiver = name.Name()
		}
		lines = append(lines, "method ("+receiver+") "+m.Name()+strings.TrimPrefix(text(nameless(selected.Type())), "func"))
	}
	return lines
}

// nameless is a signature, or an interface, without the names of parameters: they may
// change.
func nameless(t types.Type) types.Type {
	switch t := t.(type) {
	case *types.Signature:
		return types.NewSignatureType(nil, nil, slices.Collect(t.TypeParams().TypeParams()), unnamed(t.Params()), unnamed(t.Results()), t.Variadic())
	case *types.Interface:
		var methods []*types.Func
		for m := range t.ExplicitMethods() {
			methods = append(methods, types.NewFunc(m.Pos(), m.Pkg(), m.Name(), nameless(m.Signature()).(*types.Signature)))
		}
		return types.NewInterfaceType(methods, slices.Collect(t.EmbeddedTypes())).Complete()
	}
	return t
}

func unnamed(t *types.Tuple) *types.Tuple {
	var vars []*types.Var
	for v := range t.Variables() {
		vars = append(vars, types.NewParam(v.Pos(), v.Pkg(), "", nameless(v.Type())))
	}
	return types.NewTuple(vars...)
}
