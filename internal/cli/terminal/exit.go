package terminal

import "fmt"

// UsageError is a command line that cannot be understood.
type UsageError struct{ Err error }

func (e UsageError) Error() string { return e.Err.Error() }

func (e UsageError) Unwrap() error { return e.Err }

// ExitStatusError is an error of which everything is said by the exit status.
type ExitStatusError int

func (s ExitStatusError) Error() string { return fmt.Sprintf("exit status %d", int(s)) }
