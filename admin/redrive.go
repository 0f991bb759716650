package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/admin/show"
	"github.com/jetpost/jetpost/admin/subscriptions"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
)

// The actions of the audit trail: docs/audit.md lists them.
const (
	actionJob       = "redrive.create"
	actionCancelJob = "redrive.cancel"
)

// Limits of redrive jobs. A job is one value of the state bucket.
const (
	maxSequences  = 200
	maxSelection  = 2 << 10 // bytes
	maxFailures   = 5       // that are kept
	maxFailure    = 200     // bytes of one
	maxRedrive    = 10_000  // per second
	minRedrive    = 0.01
	usualRedrive  = 100
	keptJobs      = 100 // that have ended
	keptJobsFor   = 7 * 24 * time.Hour
	cancelRetries = 20
)

// The states of a job.
const (
	jobDryRun    = "dry_run"
	jobRunning   = "running"
	jobDone      = "done"
	jobCancelled = "cancelled"
	jobFailed    = "failed"
)

// selected is a selection that was checked when it was made.
func selected(o *v1.SelectionOptions) *delivery.Selection {
	return &delivery.Selection{
		Subscription: o.Subscription, Reasons: show.All(o.Reasons, func(r *v1.Reason) delivery.Reason { return delivery.Reason(*r) }),
		Types: o.Types, From: o.From, To: o.To, Sequences: o.Sequences,
	}
}

// selectionOf checks what a client wrote.
func selectionOf(o *v1.SelectionOptions) (*delivery.Selection, error) {
	s := selected(o)
	if err := checkSelected(s.Subscription); err != nil {
		return nil, err
	}
	for i, reason := range s.Reasons {
		if !slices.Contains(delivery.Reasons(), reason) {
			return nil, httpapi.Invalid(fmt.Sprintf("reasons[%d]", i), "is not a reason: use exhausted, rejected, gone, expired, overflow, unreadable or match_budget")
		}
	}
	if slices.Contains(s.Types, "") {
		return nil, httpapi.Invalid("types", "has one without a name")
	}
	if len(s.Sequences) > maxSequences {
		return nil, httpapi.Invalid("sequences", "has "+strconv.Itoa(len(s.Sequences))+": give up to "+strconv.Itoa(maxSequences)+", or select by something else")
	}
	if text, err := json.Marshal(s); err != nil || len(text) > maxSelection {
		return nil, httpapi.Invalid("", "the selection is too long: it may have "+strconv.Itoa(maxSelection)+" bytes as JSON")
	}
	return s, checkTimes(s.From, s.To)
}

// redriveRecord is a job as it is stored.
type redriveRecord struct {
	v1.RedriveJob

	Next   uint64 `json:"next"`             // letters before this one are done with
	Last   uint64 `json:"last"`             // letters behind this one are not part of it
	Holder string `json:"holder,omitempty"` // who works on it
	Claims int    `json:"claims,omitempty"` // how often somebody has begun to

	revision uint64 // of the key
}

type redriveAnswer struct {
	Status int
	Body   v1.RedriveJob
}

type redriveList struct{ Body v1.Page[v1.RedriveJob] }

type redrivesRequest struct{ httpapi.Paged }

// NamedRedrive is a request for one job.
type NamedRedrive struct {
	ID string `path:"id" maxLength:"64" pattern:"^[a-z0-9-]+$" doc:"Of the job."`
}

// redriveRoutes are those of redrive jobs.
func (a *Admin) redriveRoutes(api *httpapi.API) {
	httpapi.RegisterBody[v1.RedriveOptions](api, huma.Operation{
		OperationID: "create-redrive", Method: http.MethodPost, Path: "/v1/redrives", Tags: []string{"Dead letters"}, Metadata: httpapi.Needs(access.NeedRead), // for a dry run
		Summary: "Redrive the dead letters of a selection, or all", DefaultStatus: http.StatusAccepted,
		Responses: map[string]*huma.Response{"200": {Description: "It was a dry run."}},
		Description: "A job puts the deliveries back on their queues, one after the other, at the rate given. It goes on when admins are stopped " +
			"or killed. It waits while a queue is half full, so that new events find room. A dry run is answered with 200, also to an auditor.",
	}, false, a.createRedrive)
	httpapi.Register(api, huma.Operation{
		OperationID: "list-redrives", Method: http.MethodGet, Path: "/v1/redrives", Tags: []string{"Dead letters"},
		Summary: "List redrive jobs", Description: "Newest first. Those that have ended are kept for 7 days, 100 at most.",
	}, a.listRedrives)
	httpapi.Register(api, huma.Operation{
		OperationID: "get-redrive", Method: http.MethodGet, Path: "/v1/redrives/{id}", Tags: []string{"Dead letters"},
		Summary: "Show a redrive job",
	}, a.getRedrive)
	httpapi.Register(api, huma.Operation{
		OperationID: "cancel-redrive", Method: http.MethodPost, Path: "/v1/redrives/{id}/cancel", Tags: []string{"Dead letters"},
		Summary: "Cancel a redrive job", Description: "It ends within a second or two. What is on its queue by then stays there.",
	}, a.cancelRedrive)
}

func (a *Admin) createRedrive(ctx context.Context, in *httpapi.RawJSON) (*redriveAnswer, error) {
	options := v1.RedriveOptions{Rate: usualRedrive}
	if err := httpapi.Decode(in.RawBody, &options); err != nil {
		return nil, err
	}
	if !options.DryRun {
		if err := httpapi.Require(ctx, access.NeedOperate); err != nil {
			return nil, err
		}
	}
	selected, err := selectionOf(&options.SelectionOptions)
	if err != nil {
		return nil, err
	}
	if err := a.checkBeginnings(ctx, selected.Types); err != nil {
		return nil, err
	}
	if options.Rate < minRedrive || options.Rate > maxRedrive {
		return nil, httpapi.Invalid("rate", "is out of range: use 0.01 to 10000 per second")
	}
	if selected.Subscription == stream.InvalidLetters {
		return nil, fmt.Errorf("redrive what is not a delivery: %w", errUnreadable)
	}
	if selected.Subscription != "" {
		sub, err := a.keep.Find(ctx, selected.Subscription)
		if err == nil && sub.State == subscription.Disabled {
			err = fmt.Errorf("subscription %s: %w", sub.ID, subscriptions.ErrDisabled)
		}
		if err != nil {
			return nil, fmt.Errorf("redrive dead letters: %w", err)
		}
	}
	record := &redriveRecord{RedriveJob: v1.RedriveJob{
		State: jobDryRun, Selection: options.SelectionOptions, Rate: options.Rate, StartedAt: time.Now().UTC(),
	}}
	if err := a.countLetters(ctx, selected, record); err != nil {
		return nil, err
	}
	if options.DryRun {
		return &redriveAnswer{http.StatusOK, record.RedriveJob}, nil
	}
	record.Reasons, record.Subscriptions = nil, nil
	record.ID, record.State = "rd-"+subscriptions.NewID(), jobRunning
	err = a.trail.Around(ctx, audit.Record{Action: actionJob, Target: jobTarget(record.ID), After: audit.State(record.RedriveJob)}, func() error {
		return a.redrives.create(ctx, record)
	})
	if err != nil {
		return nil, err
	}
	a.log.Info("redrive job made", zap.String("job", record.ID), zap.Int("dead_letters", record.Total), zap.String("request_id", httpapi.RequestID(ctx)))
	a.redrives.nudge()
	return &redriveAnswer{http.StatusAccepted, record.RedriveJob}, nil
}

// countLetters sets what a job is about.
func (a *Admin) countLetters(ctx context.Context, s *delivery.Selection, record *redriveRecord) error {
	var err error
	if record.Last, err = a.letters.Last(ctx); err != nil {
		return err
	}
	record.Next = 1
	record.Reasons, record.Subscriptions = map[string]int{}, map[string]int{}
	for letter, err := range a.letters.Select(ctx, s, record.Next, record.Last) {
		if err != nil {
			return err
		}
		if record.Total == 0 {
			record.Next = letter.Sequence
		}
		record.Total++
		record.Reasons[string(letter.Reason)]++
		record.Subscriptions[cmp.Or(letter.SubscriptionID, stream.InvalidLetters)]++
	}
	return nil
}

// listRedrives pages by the time when jobs were made: those made meanwhile come before
// the first page, and those forgotten after the last.
func (a *Admin) listRedrives(ctx context.Context, in *redrivesRequest) (*redriveList, error) {
	before, after, isPlace := strings.Cut(in.Cursor, ".")
	if in.Cursor != "" && !isPlace {
		return nil, httpapi.BadCursor()
	}
	records, err := a.redrives.all(ctx)
	if err != nil {
		return nil, err
	}
	out := &redriveList{v1.Page[v1.RedriveJob]{Items: []v1.RedriveJob{}}}
	for _, record := range records {
		at := record.StartedAt.UTC().Format(redriveCursor)
		if in.Cursor != "" && (at > before || at == before && record.ID <= after) {
			continue
		}
		if n := len(out.Body.Items); n == in.Limit {
			last := &out.Body.Items[n-1]
			out.Body.NextCursor = last.StartedAt.UTC().Format(redriveCursor) + "." + last.ID
			break
		}
		out.Body.Items = append(out.Body.Items, record.RedriveJob)
	}
	return out, nil
}

// redriveCursor has times sort as texts, without a dot.
const redriveCursor = "20060102T150405,000000000"

func (a *Admin) getRedrive(ctx context.Context, in *NamedRedrive) (*redriveAnswer, error) {
	record, err := a.redrives.get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &redriveAnswer{http.StatusOK, record.RedriveJob}, nil
}

// cancelRedrive writes that the job is cancelled: who works on it cannot write its
// progress then, and so finds out.
func (a *Admin) cancelRedrive(ctx context.Context, in *NamedRedrive) (*redriveAnswer, error) {
	record, err := a.runningJob(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	err = a.trail.Around(ctx, audit.Record{Action: actionCancelJob, Target: jobTarget(record.ID), Before: audit.State(record.RedriveJob)}, func() error {
		for try := 1; ; try++ {
			record.end(jobCancelled)
			err := a.redrives.update(ctx, record)
			if !errors.Is(err, jetstream.ErrKeyRevisionMismatch) || try == cancelRetries {
				return err
			}
			// Progress was written in between.
			if record, err = a.runningJob(ctx, in.ID); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return nil, err
	}
	a.log.Info("redrive job cancelled", zap.String("job", record.ID), zap.String("request_id", httpapi.RequestID(ctx)))
	return &redriveAnswer{http.StatusOK, record.RedriveJob}, nil
}

// runningJob returns a job that has not ended.
func (a *Admin) runningJob(ctx context.Context, id string) (*redriveRecord, error) {
	record, err := a.redrives.get(ctx, id)
	if err == nil && record.State != jobRunning {
		err = fmt.Errorf("cancel redrive job %s: %w: it is %s", record.ID, errJobEnded, record.State)
	}
	return record, err
}

func jobTarget(id string) string { return "redrives/" + id }

func (r *redriveRecord) end(state string) {
	now := time.Now().UTC()
	r.State, r.EndedAt = state, &now
}
