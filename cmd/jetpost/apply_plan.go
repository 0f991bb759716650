package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"golang.org/x/sync/errgroup"

	"github.com/jetpost/jetpost/subscription"
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

// etag is If-Match for the revision.
func (s *step) etag() string { return `"` + strconv.FormatUint(s.revision, 10) + `"` }

// An applier makes a server have what files say.
type applier struct {
	api            *client
	withoutSecrets bool
	keepSecrets    bool
}

// putQuery is that of a replacement.
func (a *applier) putQuery() url.Values {
	if a.keepSecrets {
		return keepSecrets()
	}
	return url.Values{}
}

// applyTries bounds the requests for one thing, of those that may succeed later: a
// server limits how many it takes at a time.
const applyTries = 6

func (a *applier) call(ctx context.Context, method, path string, query url.Values, body []byte, out any, header ...string) error {
	var wait retryWait
	for try := 1; ; try++ {
		err := a.api.call(ctx, method, path, query, body, "application/json", out, header...)
		answer, ok := errors.AsType[*apiError](err)
		if !ok || !answer.temporary() || try == applyTries || !wait.pause(ctx, err) {
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
		answer, ok := errors.AsType[*apiError](err)
		switch {
		case err == nil:
			return s, nil
		case !ok:
			return nil, err
		case conflicts(answer) && try < tries:
			continue // somebody was faster
		case answer.rejects():
			return nil, misfitsOf(w, answer)
		}
		return nil, fmt.Errorf("look at subscription %s: %w", w.ID, err)
	}
}

// conflicts reports whether somebody else has changed, created or deleted it.
func conflicts(answer *apiError) bool {
	return answer.Status == http.StatusPreconditionFailed || answer.Status == http.StatusConflict || answer.Status == http.StatusNotFound
}

func (a *applier) tryOne(ctx context.Context, w *wanted) (*step, error) {
	dryRun := url.Values{"dry_run": {"true"}}
	s := &step{wanted: w, id: w.ID}
	err := a.call(ctx, http.MethodGet, subscriptionPath(w.ID), nil, nil, &s.before)
	if answer, ok := errors.AsType[*apiError](err); ok && answer.Status == http.StatusNotFound {
		s.does, s.before = applyCreated, nil
		if s.body, err = a.creation(w); err != nil {
			return nil, err
		}
		err = a.call(ctx, http.MethodPost, "/v1/subscriptions", dryRun, s.body, &s.after)
		return s, err
	}
	if err != nil {
		return nil, err
	}
	var now subscription.Subscription
	if err := json.Unmarshal(s.before, &now); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	s.revision = now.Revision
	if s.body, err = w.replacement(now.State); err != nil {
		return nil, err
	}
	query := a.putQuery()
	query.Set("dry_run", "true")
	if err := a.call(ctx, http.MethodPut, subscriptionPath(w.ID), query, s.body, &s.after, "If-Match", s.etag()); err != nil {
		return nil, err
	}
	var tried struct {
		DryRun *struct {
			Changes []string `json:"changes"`
		} `json:"dry_run"`
	}
	if err := json.Unmarshal(s.after, &tried); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	if tried.DryRun == nil { // it has done it
		return nil, fmt.Errorf("%s does not know dry_run: it is of an older version than this program", a.api.url)
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
		wrong = append(wrong, misfit{w.at(field), field, subscription.Placeholder + " stands for a secret that this server does not have: " +
			"write where it is, as {env: NAME} or {file: PATH}, or use --without-secrets to create the subscription paused and without it"})
	}
	return nil, wrong
}

// replacement is what makes the subscription of the server the one of the file. A file
// that says nothing of the state leaves it to those who pause and resume, and to jetpost.
func (w *wanted) replacement(state subscription.State) ([]byte, error) {
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
	raw, err := rawJSON(value)
	if err != nil {
		return nil, err
	}
	members[name] = raw
	return rawJSON(members)
}

// misfitsOf says where in the files the server has found something.
func misfitsOf(w *wanted, answer *apiError) invalidFilesError {
	var wrong invalidFilesError
	for _, one := range answer.Errors {
		wrong = append(wrong, misfit{w.at(one.Field), one.Field, one.Message})
	}
	if len(wrong) == 0 {
		wrong = append(wrong, misfit{w.at(""), "", answer.Error()})
	}
	return wrong
}

// do makes it so. When somebody else was faster it looks again, once.
func (a *applier) do(ctx context.Context, s *step, notice func(string)) (*step, error) {
	err := a.send(ctx, s)
	answer, ok := errors.AsType[*apiError](err)
	if !ok || !conflicts(answer) {
		return s, err
	}
	notice("subscription " + s.id + " was changed by somebody else meanwhile, looking again")
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
	err := a.call(ctx, http.MethodGet, subscriptionPath(s.id), nil, nil, &next.before)
	if answer, ok := errors.AsType[*apiError](err); ok && answer.Status == http.StatusNotFound {
		next.does = applyUnchanged // it is gone
		return next, nil
	}
	if err != nil {
		return s, err
	}
	var now subscription.Subscription
	if err := json.Unmarshal(next.before, &now); err != nil {
		return s, fmt.Errorf("read the answer: %w", err)
	}
	next.revision = now.Revision
	return next, nil
}

func (a *applier) send(ctx context.Context, s *step) error {
	var err error
	switch s.does {
	case applyCreated:
		err = a.call(ctx, http.MethodPost, "/v1/subscriptions", nil, s.body, nil)
	case applyChanged:
		err = a.call(ctx, http.MethodPut, subscriptionPath(s.id), a.putQuery(), s.body, nil, "If-Match", s.etag())
	case applyDeleted:
		err = a.call(ctx, http.MethodDelete, subscriptionPath(s.id), nil, nil, nil, "If-Match", s.etag())
	}
	if answer, ok := errors.AsType[*apiError](err); ok && answer.rejects() && s.wanted != nil {
		return misfitsOf(s.wanted, answer)
	}
	return err
}
