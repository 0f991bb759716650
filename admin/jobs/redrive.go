package jobs

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/admin/deadletters"
	"github.com/jetpost/jetpost/admin/httpapi"
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

// Limits of redrive jobs.
const (
	maxRedrive    = 10_000 // per second
	minRedrive    = 0.01
	usualRedrive  = 100
	cancelRetries = 20
)

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

// Redrives are the jobs that redrive dead letters. Use NewRedrives.
type Redrives struct {
	js          jetstream.JetStream
	dead        *deadletters.DeadLetters
	deadLetters *delivery.DeadLetters
	keep        *subscriptions.Keeper
	trail       *audit.Trail
	store       *Store
	runner      *Runner
	log         *zap.Logger
}

// NewRedrives returns the redrive jobs of an installation. lease is for how long a process
// may write nothing to a job before another one takes it over; timeout bounds looking for
// jobs.
func NewRedrives(lease, timeout time.Duration, js jetstream.JetStream, layout stream.Layout, dead *deadletters.DeadLetters, deadLetters *delivery.DeadLetters,
	keep *subscriptions.Keeper, trail *audit.Trail, log *zap.Logger,
) *Redrives {
	r := &Redrives{js: js, dead: dead, deadLetters: deadLetters, keep: keep, trail: trail, store: NewStore(js, layout), log: log}
	r.runner = NewRunner(RunnerConfig{Lease: lease, Timeout: timeout, Work: r.work}, r.store, log)
	return r
}

// Run works on the jobs until ctx ends, and then hands them over. It is for one goroutine.
func (r *Redrives) Run(ctx context.Context) { r.runner.Run(ctx) }

// Register adds the operations to an API.
func (r *Redrives) Register(api *httpapi.API) {
	httpapi.RegisterBody[v1.RedriveOptions](api, huma.Operation{
		OperationID: "create-redrive", Method: http.MethodPost, Path: "/v1/redrives", Tags: []string{"Dead letters"}, Metadata: httpapi.Needs(access.NeedRead), // for a dry run
		Summary: "Redrive the dead letters of a selection, or all", DefaultStatus: http.StatusAccepted,
		Responses: map[string]*huma.Response{"200": {Description: "It was a dry run."}},
		Description: "A job puts the deliveries back on their queues, one after the other, at the rate given. It goes on when admins are stopped " +
			"or killed. It waits while a queue is half full, so that new events find room. A dry run is answered with 200, also to an auditor.",
	}, false, r.create)
	httpapi.Register(api, huma.Operation{
		OperationID: "list-redrives", Method: http.MethodGet, Path: "/v1/redrives", Tags: []string{"Dead letters"},
		Summary: "List redrive jobs", Description: "Newest first. Those that have ended are kept for 7 days, 100 at most.",
	}, r.list)
	httpapi.Register(api, huma.Operation{
		OperationID: "get-redrive", Method: http.MethodGet, Path: "/v1/redrives/{id}", Tags: []string{"Dead letters"},
		Summary: "Show a redrive job",
	}, r.get)
	httpapi.Register(api, huma.Operation{
		OperationID: "cancel-redrive", Method: http.MethodPost, Path: "/v1/redrives/{id}/cancel", Tags: []string{"Dead letters"},
		Summary: "Cancel a redrive job", Description: "It ends within a second or two. What is on its queue by then stays there.",
	}, r.cancel)
}

func (r *Redrives) create(ctx context.Context, in *httpapi.RawJSON) (*redriveAnswer, error) {
	options := v1.RedriveOptions{Rate: usualRedrive}
	if err := httpapi.Decode(in.RawBody, &options); err != nil {
		return nil, err
	}
	if !options.DryRun {
		if err := httpapi.Require(ctx, access.NeedOperate); err != nil {
			return nil, err
		}
	}
	selected, err := r.dead.Selection(ctx, &options.SelectionOptions)
	if err != nil {
		return nil, err
	}
	if options.Rate < minRedrive || options.Rate > maxRedrive {
		return nil, httpapi.Invalid("rate", "is out of range: use 0.01 to 10000 per second")
	}
	if selected.Subscription == stream.InvalidLetters {
		return nil, fmt.Errorf("redrive what is not a delivery: %w", deadletters.ErrUnreadable)
	}
	if selected.Subscription != "" {
		sub, err := r.keep.Find(ctx, selected.Subscription)
		if err == nil && sub.State == subscription.Disabled {
			err = fmt.Errorf("subscription %s: %w", sub.ID, subscriptions.ErrDisabled)
		}
		if err != nil {
			return nil, fmt.Errorf("redrive dead letters: %w", err)
		}
	}
	record := &Record{RedriveJob: v1.RedriveJob{
		State: DryRun, Selection: options.SelectionOptions, Rate: options.Rate, StartedAt: time.Now().UTC(),
	}}
	if err := r.count(ctx, selected, record); err != nil {
		return nil, err
	}
	if options.DryRun {
		return &redriveAnswer{http.StatusOK, record.RedriveJob}, nil
	}
	record.Reasons, record.Subscriptions = nil, nil
	record.ID, record.State = "rd-"+subscriptions.NewID(), Running
	err = r.trail.Around(ctx, audit.Record{Action: actionJob, Target: jobTarget(record.ID), After: audit.State(record.RedriveJob)}, func() error {
		return r.store.Create(ctx, record)
	})
	if err != nil {
		return nil, err
	}
	r.log.Info("redrive job made", zap.String("job", record.ID), zap.Int("dead_letters", record.Total), zap.String("request_id", httpapi.RequestID(ctx)))
	r.runner.Wake()
	return &redriveAnswer{http.StatusAccepted, record.RedriveJob}, nil
}

// count sets what a job is about.
func (r *Redrives) count(ctx context.Context, s *delivery.Selection, record *Record) error {
	var err error
	if record.Last, err = r.deadLetters.Last(ctx); err != nil {
		return err
	}
	record.Next = 1
	record.Reasons, record.Subscriptions = map[string]int{}, map[string]int{}
	for deadLetter, err := range r.deadLetters.Select(ctx, s, record.Next, record.Last) {
		if err != nil {
			return err
		}
		if record.Total == 0 {
			record.Next = deadLetter.Sequence
		}
		record.Total++
		record.Reasons[string(deadLetter.Reason)]++
		record.Subscriptions[cmp.Or(deadLetter.SubscriptionID, stream.InvalidLetters)]++
	}
	return nil
}

// list pages by the time when jobs were made: those made meanwhile come before
// the first page, and those forgotten after the last.
func (r *Redrives) list(ctx context.Context, in *redrivesRequest) (*redriveList, error) {
	before, after, isPlace := strings.Cut(in.Cursor, ".")
	if in.Cursor != "" && !isPlace {
		return nil, httpapi.BadCursor()
	}
	records, err := r.store.All(ctx)
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

func (r *Redrives) get(ctx context.Context, in *NamedRedrive) (*redriveAnswer, error) {
	record, err := r.store.Get(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &redriveAnswer{http.StatusOK, record.RedriveJob}, nil
}

// cancel writes that the job is cancelled: who works on it cannot write its
// progress then, and so finds out.
func (r *Redrives) cancel(ctx context.Context, in *NamedRedrive) (*redriveAnswer, error) {
	record, err := r.running(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	err = r.trail.Around(ctx, audit.Record{Action: actionCancelJob, Target: jobTarget(record.ID), Before: audit.State(record.RedriveJob)}, func() error {
		for try := 1; ; try++ {
			record.end(Cancelled)
			err := r.store.Update(ctx, record)
			if !errors.Is(err, jetstream.ErrKeyRevisionMismatch) || try == cancelRetries {
				return err
			}
			// Progress was written in between.
			if record, err = r.running(ctx, in.ID); err != nil {
				return err
			}
		}
	})
	if err != nil {
		return nil, err
	}
	r.log.Info("redrive job cancelled", zap.String("job", record.ID), zap.String("request_id", httpapi.RequestID(ctx)))
	return &redriveAnswer{http.StatusOK, record.RedriveJob}, nil
}

// running returns a job that has not ended.
func (r *Redrives) running(ctx context.Context, id string) (*Record, error) {
	record, err := r.store.Get(ctx, id)
	if err == nil && record.State != Running {
		err = fmt.Errorf("cancel redrive job %s: %w: it is %s", record.ID, ErrEnded, record.State)
	}
	return record, err
}

func jobTarget(id string) string { return "redrives/" + id }
