package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"

	"golang.org/x/sync/errgroup"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/subscription"
)

// What becomes of a subscription.
const (
	applyCreated   = "created"
	applyChanged   = "changed"
	applyUnchanged = "unchanged"
	applyDeleted   = "deleted"
	applyFailed    = "failed"
)

// A step is what has to be done for one subscription.
type step struct {
	wanted   *wanted // nil: it is to be deleted
	id       string
	does     string          // applyCreated and so on
	body     []byte          // to send
	revision uint64          // of what is changed or deleted
	before   json.RawMessage // as the server has it
	after    json.RawMessage // as it would have it
	changes  []string        // the fields in which they differ
}

// ifMatch is for the revision.
func (s *step) ifMatch() client.Option { return client.IfMatch(client.ETag(s.revision)) }

// An applier makes a server have what files say.
type applier struct {
	api            *connect.Client
	withoutSecrets bool
	keepSecrets    bool
}

// replace makes a subscription what the file says.
func (a *applier) replace(ctx context.Context, s *step, options ...client.Option) error {
	if options = append(options, s.ifMatch()); a.keepSecrets {
		options = append(options, client.KeepSecrets())
	}
	return withPatience(ctx, func() error {
		_, err := a.api.Subscriptions.ReplaceJSON(ctx, s.id, s.body, options...)
		return err
	})
}

// create makes a subscription of the file.
func (a *applier) create(ctx context.Context, s *step, options ...client.Option) error {
	return withPatience(ctx, func() error {
		_, err := a.api.Subscriptions.CreateJSON(ctx, s.body, options...)
		return err
	})
}

// find asks for what the server has. Nothing: nil and no error.
func (a *applier) find(ctx context.Context, s *step) (*v1.Subscription, error) {
	var now *v1.Subscription
	var answer client.Response
	err := withPatience(ctx, func() (err error) {
		now, err = a.api.Subscriptions.Get(ctx, s.id, client.WithResponse(&answer))
		return err
	})
	if refused, ok := errors.AsType[*v1.Problem](err); ok && refused.Status == http.StatusNotFound {
		return nil, nil //nolint:nilnil // documented
	}
	if err != nil {
		return nil, err
	}
	s.before, s.revision = answer.Body, now.Revision
	return now, nil
}

// applyTries bounds the requests for one thing, of those that may succeed later: a
// server limits how many it takes at a time.
const applyTries = 6

// withPatience repeats a call while it may succeed later.
func withPatience(ctx context.Context, call func() error) error {
	var wait connect.RetryWait
	for try := 1; ; try++ {
		err := call()
		answer, ok := errors.AsType[*v1.Problem](err)
		if !ok || !answer.Temporary() || try == applyTries || !wait.Pause(ctx, err) {
			return err
		}
	}
}

// plannersAtOnce bounds the requests that find out what is to be done.
const plannersAtOnce = 8

// plan finds out what is to be done, and changes nothing. An error of type
// invalidFilesError has everything that the server would refuse.
func (a *applier) plan(ctx context.Context, all []*wanted) ([]*step, error) {
	steps := make([]*step, len(all))
	refused := make([]invalidFilesError, len(all))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(plannersAtOnce)
	for i, w := range all {
		group.Go(func() error {
			s, err := a.planOne(ctx, w)
			if wrong, ok := errors.AsType[invalidFilesError](err); ok {
				refused[i] = wrong
				return nil
			}
			steps[i] = s
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	var wrong invalidFilesError
	for _, misfits := range refused {
		wrong = append(wrong, misfits...)
	}
	if len(wrong) > 0 {
		return nil, wrong
	}
	return steps, nil
}

// planOne asks the server what it has, and what it would make of the file.
func (a *applier) planOne(ctx context.Context, w *wanted) (*step, error) {
	const tries = 3
	for try := 1; ; try++ {
		s, err := a.tryOne(ctx, w)
		answer, ok := errors.AsType[*v1.Problem](err)
		switch {
		case err == nil:
			return s, nil
		case !ok:
			return nil, err
		case conflicts(answer) && try < tries:
			continue // another client was faster
		case answer.Rejects():
			return nil, misfitsOf(w, answer)
		}
		return nil, fmt.Errorf("plan subscription %s: %w", w.ID, err)
	}
}

// conflicts reports whether another client has changed, created or deleted it.
func conflicts(answer *v1.Problem) bool {
	return answer.Status == http.StatusPreconditionFailed || answer.Status == http.StatusConflict || answer.Status == http.StatusNotFound
}

func (a *applier) tryOne(ctx context.Context, w *wanted) (*step, error) {
	var after client.Response
	s := &step{wanted: w, id: w.ID}
	now, err := a.find(ctx, s)
	if err != nil {
		return nil, err
	}
	if now == nil {
		s.does = applyCreated
		if s.body, err = a.creation(w); err != nil {
			return nil, err
		}
		err = a.create(ctx, s, client.DryRun(), client.WithResponse(&after))
		s.after = after.Body
		return s, err
	}
	if s.body, err = w.replacement(now.State); err != nil {
		return nil, err
	}
	if err := a.replace(ctx, s, client.DryRun(), client.WithResponse(&after)); err != nil {
		return nil, err
	}
	s.after = after.Body
	var tried v1.Subscription
	if err := json.Unmarshal(s.after, &tried); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if tried.DryRun == nil { // it has done it
		return nil, fmt.Errorf("%s does not know dry_run: it is of an older version than this program", a.api.URL)
	}
	s.changes, s.does = tried.DryRun.Changes, applyUnchanged
	if len(s.changes) > 0 {
		s.does = applyChanged
	}
	return s, nil
}

// creation is what makes a subscription. Without secrets it waits to be resumed: its
// deliveries would be refused, or worse.
func (a *applier) creation(w *wanted) ([]byte, error) {
	if len(w.missing) == 0 {
		return w.bare, nil
	}
	if a.withoutSecrets {
		return withMember(w.bare, "state", subscription.Paused)
	}
	var wrong invalidFilesError
	for _, field := range w.missing {
		wrong = append(wrong, misfit{w.at(field), field, keyring.Placeholder + " stands for a secret that this server does not have: " +
			"write where it is, as {env: NAME} or {file: PATH}, or use --without-secrets to create the subscription paused and without it"})
	}
	return nil, wrong
}

// replacement is what makes the subscription of the server the one of the file. A file
// that says nothing of the state leaves it to those who pause and resume, and to jetpost.
func (w *wanted) replacement(state v1.State) ([]byte, error) {
	if _, ok := w.lines["state"]; ok {
		return w.body, nil
	}
	return withMember(w.body, "state", state)
}

// withMember puts a member into a JSON object.
func withMember(object []byte, name string, value any) ([]byte, error) {
	members := map[string]json.RawMessage{}
	if err := json.Unmarshal(object, &members); err != nil {
		return nil, fmt.Errorf("encode request: %w", err)
	}
	raw, err := output.Raw(value)
	if err != nil {
		return nil, err
	}
	members[name] = raw
	return output.Raw(members)
}

// misfitsOf says where in the files the server has found something.
func misfitsOf(w *wanted, answer *v1.Problem) invalidFilesError {
	var wrong invalidFilesError
	for _, one := range answer.Errors {
		wrong = append(wrong, misfit{w.at(one.Field), one.Field, one.Message})
	}
	if len(wrong) == 0 {
		wrong = append(wrong, misfit{w.at(""), "", connect.ProblemText(answer)})
	}
	return wrong
}

// do makes the change. When another client was faster it plans again, once.
func (a *applier) do(ctx context.Context, s *step, notice func(string)) (*step, error) {
	err := a.send(ctx, s)
	answer, ok := errors.AsType[*v1.Problem](err)
	if !ok || !conflicts(answer) {
		return s, err
	}
	notice("subscription " + s.id + " was changed by another client meanwhile, planning again")
	next, err := a.again(ctx, s)
	if err != nil || next.does == applyUnchanged {
		return next, err
	}
	return next, a.send(ctx, next)
}

func (a *applier) again(ctx context.Context, s *step) (*step, error) {
	if s.wanted != nil {
		next, err := a.planOne(ctx, s.wanted)
		if err != nil {
			return s, err
		}
		return next, nil
	}
	next := &step{id: s.id, does: applyDeleted}
	now, err := a.find(ctx, next)
	if err != nil {
		return s, err
	}
	if now == nil {
		next.does = applyUnchanged // it is deleted
	}
	return next, nil
}

func (a *applier) send(ctx context.Context, s *step) error {
	var err error
	switch s.does {
	case applyCreated:
		err = a.create(ctx, s)
	case applyChanged:
		err = a.replace(ctx, s)
	case applyDeleted:
		err = withPatience(ctx, func() error {
			_, err := a.api.Subscriptions.Delete(ctx, s.id, s.ifMatch())
			return err
		})
	}
	if answer, ok := errors.AsType[*v1.Problem](err); ok && answer.Rejects() && s.wanted != nil {
		return misfitsOf(s.wanted, answer)
	}
	return err
}
