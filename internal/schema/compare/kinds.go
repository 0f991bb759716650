package compare

import (
	"encoding/json"
	"math/big"
	"strings"
)

// kinds is a set of the types that data can have. Numbers are integers or have a
// fraction.
type kinds uint8

const (
	kindNull kinds = 1 << iota
	kindBoolean
	kindObject
	kindArray
	kindString
	kindInteger
	kindFraction

	kindNumber = kindInteger | kindFraction
	kindAny    = kindNull | kindBoolean | kindObject | kindArray | kindString | kindNumber
)

func kindNamed(name string) kinds {
	switch name {
	case "null":
		return kindNull
	case "boolean":
		return kindBoolean
	case "object":
		return kindObject
	case "array":
		return kindArray
	case "string":
		return kindString
	case "integer":
		return kindInteger
	case "number":
		return kindNumber
	}
	return 0
}

func kindOfValue(value any) kinds {
	switch v := value.(type) {
	case nil:
		return kindNull
	case bool:
		return kindBoolean
	case map[string]any:
		return kindObject
	case []any:
		return kindArray
	case string:
		return kindString
	case json.Number:
		if r, ok := new(big.Rat).SetString(v.String()); ok && r.IsInt() {
			return kindInteger
		}
		return kindFraction
	}
	return 0
}

func (k kinds) String() string {
	if k&kindFraction != 0 { // "number" says that integers are meant as well
		k &^= kindInteger
	}
	var found []string
	for i, name := range []string{"null", "boolean", "object", "array", "string", "integer", "number"} {
		if k&(1<<i) != 0 {
			found = append(found, name)
		}
	}
	return strings.Join(found, ", ")
}

// kinds are the types that the keywords type, enum and const of a schema leave.
func (n node) kinds() kinds {
	if n.never {
		return 0
	}
	accepted := kindAny
	switch t := n.schema["type"].(type) {
	case string:
		accepted = kindNamed(t)
	case []any:
		accepted = 0
		for _, name := range textsOf(t) {
			accepted |= kindNamed(name)
		}
	}
	if values, ok := n.values(); ok {
		var of kinds
		for _, v := range values {
			of |= kindOfValue(v)
		}
		accepted &= of
	}
	return accepted
}
