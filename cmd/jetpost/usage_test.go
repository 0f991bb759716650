package main

import "testing"

// A mistyped command names its help.
func TestUsageErrors(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	s.cli("nothing").fails("unexpected argument nothing: see jetpost --help")
	s.cli("subscription").fails("see jetpost subscription --help")
	s.cli("sub", "ls", "--outptu", "json").fails(`did you mean "--output"?: see jetpost subscription list --help`)
	s.cli("token", "create", "x").fails("missing flags: --role=ROLE: see jetpost token create --help")
}
