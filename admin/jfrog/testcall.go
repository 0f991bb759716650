package jfrog

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/jetpost/jetpost/admin/subscriptions"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/subscription"
)

// testResult is the answer to the test call. The word for failure is assumed.
type testResult struct {
	Result  string `json:"result"`
	Message string `json:"message"`
}

const (
	testSuccess = "success"
	testFailure = "failure"
	testMessage = "Test is successful"
)

// testCall sends the platform's test data to every handler of a document, which need not
// be stored, and answers what came of it: with 200 also when a receiver does not
// accept it.
func (j *API) testCall(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), j.cfg.Timeout+j.cfg.TestTimeout)
	defer cancel()
	result, err := j.try(ctx, bodyOf(r))
	if err != nil {
		j.fail(r.Context(), w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, result)
}

func (j *API) try(ctx context.Context, body []byte) (testResult, error) {
	var found problems
	d := parse(body, "", &found)
	if err := found.err(); err != nil {
		return testResult{}, err
	}
	p, err := j.webhooks.parts(ctx, d.key)
	if err != nil {
		return testResult{}, err
	}
	var before *state // whose secrets the masks stand for
	if p.first != nil {
		if before, err = stateOf(p.first); err != nil {
			return testResult{}, err
		}
	}
	next, wanted, err := j.webhooks.plan(ctx, d, before)
	if err != nil {
		return testResult{}, err
	}
	origin := j.webhooks.origin()
	failures := make([]error, len(d.handlers))
	var waiting sync.WaitGroup
	for n := range d.handlers {
		waiting.Go(func() {
			failures[n] = j.tryHandler(ctx, d.subscriptionOf(n, wanted, next.secrets[n], origin), p.part(n))
		})
	}
	waiting.Wait()
	result := testResult{testSuccess, testMessage}
	for n, err := range failures {
		if _, invalid := errors.AsType[*subscription.ValidationError](err); invalid {
			if err := found.addAll(err, n, d); err != nil {
				return testResult{}, err
			}
			continue
		}
		_, refused := errors.AsType[*refusedError](err)
		switch {
		case err == nil:
		case !refused && !errors.Is(err, subscriptions.ErrNoAttempt):
			return testResult{}, err
		case result.Result == testSuccess:
			result = testResult{testFailure, "handlers[" + strconv.Itoa(n) + "]: " + err.Error()}
		}
	}
	return result, found.err()
}

// A refusedError is a request that was made and not accepted.
type refusedError struct{ why string }

func (e *refusedError) Error() string { return e.why }

// tryHandler makes the request of one handler; stored is what is in its place, or nil.
func (j *API) tryHandler(ctx context.Context, sub, stored *subscription.Subscription) error {
	ctx, cancel := context.WithTimeout(ctx, j.cfg.TestTimeout)
	defer cancel()
	// The receiver's time ends before that of the test, so that there is a record of it.
	sub.Endpoint.Timeout = subscription.Duration(max(time.Second, j.cfg.TestTimeout-2*time.Second))
	attempt, err := j.services.Tester.Try(ctx, sub, stored, sub.Types[0])
	switch {
	case err != nil:
		return err
	case attempt.Outcome == delivery.Delivered:
		return nil
	case attempt.Status != 0:
		return &refusedError{fmt.Sprintf("%s: %d", textUnexpectedStatus, attempt.Status)}
	default:
		return &refusedError{attempt.Error}
	}
}
