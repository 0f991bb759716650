package upkeep

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/admin/show"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/access"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/stream/inventory"
)

// The actions of the audit trail: docs/audit.md lists them.
const (
	actionAcceptLoss = "storage.accept_loss"
)

// Where the storage is looked at, and its losses are accepted.
const (
	PathStorage    = "/v1/storage"
	PathAcceptLoss = "/v1/storage/accept-loss"
)

// A Storage is what an admin knows of the streams of its installation: which there are,
// and what they have lost. It works before anything else does, since what is lost may
// be what the rest needs.
type Storage struct {
	streams *inventory.Inventory
	trail   *audit.Trail
	restore func(context.Context) error
	audit   string // the stream of the trail
	log     *zap.Logger
}

// NewStorage returns the storage of an installation. restore makes the streams that are
// missing and were accepted to be lost, and puts them on the list.
func NewStorage(streams *inventory.Inventory, trail *audit.Trail, layout stream.Layout, restore func(context.Context) error, log *zap.Logger) *Storage {
	return &Storage{streams: streams, trail: trail, restore: restore, audit: layout.Audit(), log: log.Named("admin")}
}

// An UnknownLossError names streams that have not lost anything.
type UnknownLossError struct{ Streams []string }

// Error says what can be done.
func (e *UnknownLossError) Error() string {
	return strings.Join(e.Streams, ", ") + ": no loss is known of this: jetpost storage or GET " + PathStorage + " shows what is lost"
}

// Accept goes on without what the named streams have lost, with a record of it on the
// audit trail first. Where it is the trail that is missing it is made anew first, since
// there is no other place for the record. *UnknownLossError.
func (s *Storage) Accept(ctx context.Context, reason string, names ...string) ([]inventory.Loss, error) {
	losses, unknown := s.streams.Pending(names)
	if len(unknown) > 0 {
		return nil, &UnknownLossError{unknown}
	}
	by := access.PrincipalOf(ctx).ID
	if by == "" {
		by = audit.Itself
	}
	// The trail first.
	slices.SortStableFunc(losses, func(a, b inventory.Loss) int {
		return compareBool(a.Stream != s.audit, b.Stream != s.audit)
	})
	for n, loss := range losses {
		accept := func() error {
			if err := s.streams.Accept(ctx, by, loss.Stream); err != nil {
				return err
			}
			return s.restore(ctx)
		}
		if loss.Stream == s.audit && loss.Kind == inventory.Missing {
			if err := accept(); err != nil {
				return losses[:n], err
			}
			accept = func() error { return nil }
		}
		record := audit.Record{Action: actionAcceptLoss, Target: "streams/" + loss.Stream, Reason: reason, Before: audit.State(loss)}
		if err := s.trail.Around(ctx, record, accept); err != nil {
			return losses[:n], err
		}
		s.log.Warn("goes on without what a stream has lost", zap.String("stream", loss.Stream), zap.String("reason", loss.Detail), zap.String("actor", by))
	}
	return losses, nil
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

type oneStorage struct{ Body v1.Storage }

type acceptRequest struct{ httpapi.RawJSON }

func (s *Storage) state() v1.Storage {
	state := v1.Storage{
		Installation: s.streams.ID(), Losses: show.All(s.streams.Losses(), show.Loss), Unowned: show.All(s.streams.UnownedQueues(), show.Unowned),
	}
	if state.Losses == nil {
		state.Losses = []v1.Loss{}
	}
	if state.Unowned == nil {
		state.Unowned = []v1.UnownedQueue{}
	}
	return state
}

func (s *Storage) accept(ctx context.Context, body []byte) (*oneStorage, error) {
	var options v1.AcceptOptions
	if err := httpapi.Decode(body, &options); err != nil {
		return nil, err
	}
	if len(options.Streams) == 0 {
		return nil, httpapi.Invalid("streams", "is empty: name the streams whose losses are accepted, or all")
	}
	_, err := s.Accept(ctx, options.Reason, options.Streams...)
	if unknown, ok := errors.AsType[*UnknownLossError](err); ok {
		return nil, httpapi.Invalid("streams", unknown.Error())
	}
	if err != nil {
		return nil, err
	}
	return &oneStorage{s.state()}, nil
}

// TrailSeen is where the audit trail was last seen to end, and what it is known to have
// lost.
func (s *Storage) TrailSeen() (audit.Head, []inventory.Loss) {
	lost := s.streams.LostHeads(s.audit)
	if seen, ok := s.streams.Seen(s.audit); ok && seen.Hash != "" {
		return audit.Head{Sequence: seen.Last, Hash: seen.Hash}, lost
	}
	return audit.Head{}, lost
}

// Register adds the operations of the storage to an API. s is nil where a process has no
// list of streams.
func (s *Storage) Register(api *httpapi.API) {
	tags := []string{"Storage"}
	httpapi.Register(api, huma.Operation{
		OperationID: "get-storage", Method: http.MethodGet, Path: PathStorage, Tags: tags,
		Summary:     "Show what streams have lost, and queues without a subscription",
		Description: "A stream that should be there and is not, or has less than it had, keeps /readyz red until its loss is accepted.",
	}, func(context.Context, *struct{}) (*oneStorage, error) {
		if s == nil {
			return &oneStorage{v1.Storage{Losses: []v1.Loss{}, Unowned: []v1.UnownedQueue{}}}, nil
		}
		return &oneStorage{s.state()}, nil
	})
	httpapi.RegisterBody[v1.AcceptOptions](api, huma.Operation{
		OperationID: "accept-loss", Method: http.MethodPost, Path: PathAcceptLoss, Tags: tags, Metadata: httpapi.Needs(access.NeedLosses),
		Summary: "Go on without what streams have lost",
		Description: "What is missing is made anew, empty. While something is lost that decides where events go, nothing else of the API answers; " +
			"then this takes the server's own token only. It is on the audit trail.",
	}, true, func(ctx context.Context, in *acceptRequest) (*oneStorage, error) {
		if s == nil {
			return nil, httpapi.NewProblem(http.StatusNotFound, "this process has no list of streams")
		}
		return s.accept(ctx, in.RawBody)
	})
}

// heldTimeout bounds a request while jetpost is held.
const heldTimeout = 30 * time.Second

// HeldHandler answers while jetpost is held: about the storage, and else that it is not
// ready, because of why. It is to be mounted behind an access.Guard.
func (s *Storage) HeldHandler(why func() error) http.Handler {
	mux := http.NewServeMux()
	answer := func(need access.Need, handle func(ctx context.Context, r *http.Request) (*oneStorage, error)) http.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request) {
			ctx, cancel := context.WithTimeout(r.Context(), heldTimeout)
			defer cancel()
			err := httpapi.Require(ctx, need)
			var out *oneStorage
			if err == nil {
				out, err = handle(ctx, r)
			}
			if err != nil {
				httpapi.WriteProblem(w, s.heldProblem(err))
				return
			}
			httpapi.WriteJSON(w, http.StatusOK, "application/json", out.Body)
		}
	}
	mux.HandleFunc("GET "+PathStorage, answer(access.NeedRead, func(context.Context, *http.Request) (*oneStorage, error) {
		return &oneStorage{s.state()}, nil
	}))
	mux.HandleFunc("POST "+PathAcceptLoss, answer(access.NeedLosses, func(ctx context.Context, r *http.Request) (*oneStorage, error) {
		body, err := io.ReadAll(io.LimitReader(r.Body, maxHeldBody))
		if err != nil {
			return nil, httpapi.NewProblem(http.StatusBadRequest, "the body cannot be read")
		}
		return s.accept(ctx, body)
	}))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		text := "jetpost is starting"
		if err := why(); err != nil {
			text = err.Error()
		}
		w.Header().Set("Retry-After", "30")
		httpapi.WriteProblem(w, httpapi.NewProblem(http.StatusServiceUnavailable, text))
	})
	return mux
}

// maxHeldBody is more than a list of all streams takes, in bytes.
const maxHeldBody = 1 << 20

// heldProblem is the answer to a request that has failed while jetpost is held.
func (s *Storage) heldProblem(err error) *httpapi.ProblemError {
	if p, ok := errors.AsType[*httpapi.ProblemError](err); ok {
		return p
	}
	s.log.Warn("request failed", zap.Error(err))
	if fault := stream.FaultOf(err); fault == stream.FaultFiles { // whose files, it says
		return httpapi.NewProblem(http.StatusServiceUnavailable, err.Error()+": "+fault.String()+": "+fault.Advice())
	} else if fault != stream.NoFault {
		return httpapi.NewProblem(http.StatusServiceUnavailable, fault.String()+": "+fault.Advice())
	}
	return httpapi.NewProblem(http.StatusServiceUnavailable, "this failed, and can be repeated; the server's log has more")
}
