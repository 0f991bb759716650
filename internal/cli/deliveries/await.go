package deliveries

import (
	"context"
	"fmt"
	"time"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
)

// AwaitAttempt returns the first attempt that is wanted of those that a subscription
// has in its log after from, or nil when there is none in time.
func AwaitAttempt(ctx context.Context, api *connect.Client, id string, from uint64, wait time.Duration, wanted func(*v1.Attempt) bool) (*v1.Attempt, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	for a, err := range api.Attempts.Follow(ctx, id, from) {
		switch {
		case err != nil && ctx.Err() != nil:
			return nil, nil //nolint:nilnil // documented
		case err != nil:
			return nil, err
		case wanted(a):
			return a, nil
		}
	}
	return nil, nil //nolint:nilnil // documented
}

// NextAttempt is the sequence after the last attempt for a subscription that is in the
// log.
func NextAttempt(ctx context.Context, api *connect.Client, id string) (uint64, error) {
	for last, err := range api.Attempts.List(ctx, client.AttemptFilter{Subscription: id, Paging: client.Paging{PageSize: 1}}) {
		if err != nil {
			return 0, err
		}
		return last.Sequence + 1, nil
	}
	return 1, nil
}

// ShowAttempt prints an attempt that a person has asked for, and its answer.
func ShowAttempt(e *terminal.Env, f output.Flag, a *v1.Attempt) error {
	return f.Show(e, a, func() error {
		if err := printAttempt(e.Stdout, a, false); err != nil || a.ResponseBody == "" {
			return err
		}
		_, err := fmt.Fprintln(e.Stdout, "    "+plain.Shown(a.ResponseBody, plain.LineLimit))
		return err
	})
}
