package filter

import (
	"github.com/jetpost/jetpost/internal/subscription/filter/sql"
)

// A sqlNode is a CloudEvents SQL expression.
type sqlNode struct {
	program *sql.Program
	keySets []keySet
}

func compileSQL(expression string) (node, error) {
	program, err := sql.Compile(expression)
	if err != nil {
		return nil, err
	}
	return &sqlNode{program: program}, nil
}

func (n *sqlNode) match(v *values) bool {
	matched, steps := n.program.MatchWithin(v.event, v.left)
	return v.spend(steps) && matched
}

// index finds out what the expression can be indexed by.
func (n *sqlNode) index(intern func(name string) (*operand, error)) error {
	for _, keys := range n.program.KeySets() {
		set := make(keySet, len(keys))
		for i, k := range keys {
			of, err := intern(k.Attribute)
			switch {
			case err != nil:
				return err
			case k.Prefix:
				set[i] = prefixKey(of, k.Text)
			default:
				set[i] = key{of: of, text: k.Text}
			}
		}
		n.keySets = append(n.keySets, set)
	}
	return nil
}
