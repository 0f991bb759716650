package admin

import (
	"context"
	"iter"
	"net/http"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/admin/show"
	"github.com/jetpost/jetpost/admin/upkeep"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/audit"
)

// auditRequest is a request for a list of records.
type auditRequest struct {
	httpapi.Following
	Action string          `query:"action" maxLength:"255" doc:"Only records of this action, or of all of a kind of thing: subscription.*" example:"subscription.create"`
	Target string          `query:"target" maxLength:"1024" doc:"Only records about this, or about what begins alike: subscriptions/*" example:"subscriptions/ci"`
	Actor  string          `query:"actor" maxLength:"255" doc:"Only what was done with the token of this id, or by jetpost." example:"jetpost"`
	From   httpapi.Instant `query:"from" doc:"Only records written at this time or later."`
	To     httpapi.Instant `query:"to" doc:"Only records written before this time."`
}

func (in *auditRequest) filter() (*audit.Filter, error) {
	f := &audit.Filter{Action: in.Action, Target: in.Target, Actor: in.Actor, From: in.From.Time, To: in.To.Time}
	if err := f.Validate(); err != nil {
		return nil, httpapi.Invalid("action", err.Error())
	}
	return f, httpapi.CheckTimes(in.From.Time, in.To.Time)
}

// PlacedRecord is a request for one record.
type PlacedRecord struct {
	Sequence uint64 `path:"sequence" minimum:"1" doc:"Its place on the trail, which lists show."`
}

type oneAuditRecord struct{ Body v1.AuditEntry }

type auditHead struct{ Body v1.AuditHead }

type auditRange struct {
	FromSequence uint64 `query:"from_sequence" doc:"Begin with this record. Default: with the oldest."`
	ToSequence   uint64 `query:"to_sequence" doc:"End with this record. Default: with the newest."`
}

// auditTrail are the operations of the audit trail. It cannot be written over the API.
type auditTrail struct {
	api     *httpapi.API
	trail   *audit.Trail
	storage *upkeep.Storage // nil: what the trail has lost is not known
}

func (t *auditTrail) register(api *httpapi.API) {
	tags := []string{"Audit trail"}
	httpapi.Register(api, httpapi.Followed[v1.AuditEntry](api, huma.Operation{
		OperationID: "list-audit-records", Method: http.MethodGet, Path: "/v1/audit", Tags: tags,
		Summary:     "List or follow the records of what was changed, and of looks at secrets",
		Description: "Newest first. They are kept for 400 days. Each is written before what it is about takes effect; when that then fails, one more says so.",
	}), t.list)
	httpapi.Register(api, huma.Operation{
		OperationID: "get-audit-head", Method: http.MethodGet, Path: "/v1/audit/head", Tags: tags,
		Summary: "Show where the audit trail ends",
		Description: "The sequence and the hash of the last record. Published where it cannot be changed later, it proves " +
			"that all records up to this one are what they are now.",
	}, t.head)
	export := huma.Operation{
		OperationID: "export-audit-records", Method: http.MethodGet, Path: "/v1/audit/export", Tags: tags,
		Summary: "Export the audit trail",
		Description: "Oldest first, one record a line, byte for byte as it is stored. The SHA-256 of a line, without its line feed, is `previous` " +
			"of the next: `jetpost audit verify` checks that, without a server. Ends with the newest record that there was when it began.",
	}
	export.Responses = map[string]*huma.Response{"200": {
		Description: "A line for each record.",
		Content:     map[string]*huma.MediaType{httpapi.NDJSON: {Schema: api.SchemaOf(reflect.TypeFor[v1.AuditRecord]())}},
	}}
	httpapi.Register(api, export, t.export)
	httpapi.Register(api, huma.Operation{
		OperationID: "get-audit-record", Method: http.MethodGet, Path: "/v1/audit/{sequence}", Tags: tags,
		Summary: "Show a record of the audit trail",
	}, t.get)
}

func (t *auditTrail) list(ctx context.Context, in *auditRequest) (*httpapi.Streamed, error) {
	f, err := in.filter()
	if err != nil {
		return nil, err
	}
	if in.Follow {
		return t.follow(ctx, f, in.FromSeq)
	}
	found, err := httpapi.SequencePage(in.Paged, func(before uint64, limit int) ([]audit.Entry, error) {
		return t.trail.Latest(ctx, f, before, limit)
	}, func(one audit.Entry) uint64 { return one.Sequence })
	if err != nil {
		return nil, err
	}
	return httpapi.JSON(show.Page(found, show.AuditEntry)), nil
}

// follow begins with what is recorded after the request came in.
func (t *auditTrail) follow(ctx context.Context, f *audit.Filter, from uint64) (*httpapi.Streamed, error) {
	if from == 0 {
		head, err := t.trail.Head(ctx)
		if err != nil {
			return nil, err
		}
		from = head.Sequence + 1
	}
	return t.api.Follow(func(ctx context.Context, emit func(any) bool) error {
		for one, err := range t.trail.Follow(ctx, f, from) {
			if err != nil {
				return err
			}
			if !emit(show.AuditEntry(&one)) {
				return nil
			}
		}
		return nil
	})
}

func (t *auditTrail) get(ctx context.Context, in *PlacedRecord) (*oneAuditRecord, error) {
	one, err := t.trail.Get(ctx, in.Sequence)
	if err != nil {
		return nil, err
	}
	return &oneAuditRecord{show.AuditEntry(&one)}, nil
}

func (t *auditTrail) head(ctx context.Context, _ *struct{}) (*auditHead, error) {
	head, err := t.trail.Head(ctx)
	if err != nil {
		return nil, err
	}
	end := v1.AuditHead{AuditPlace: v1.AuditPlace(head)}
	if t.storage != nil {
		seen, lost := t.storage.TrailSeen()
		end.Seen, end.Lost = v1.AuditPlace(seen), show.All(lost, show.Loss)
	}
	return &auditHead{end}, nil
}

// export answers while it reads. It asks for the head first, so that what cannot
// be read at all is an error and not an empty file.
func (t *auditTrail) export(ctx context.Context, in *auditRange) (*httpapi.Streamed, error) {
	if in.ToSequence > 0 && in.FromSequence > in.ToSequence {
		return nil, httpapi.Invalid("to_sequence", "is before from_sequence, "+strconv.FormatUint(in.FromSequence, 10))
	}
	head, err := t.trail.Head(ctx)
	if err != nil {
		return nil, err
	}
	to := head.Sequence
	if in.ToSequence > 0 {
		to = min(to, in.ToSequence)
	}
	return t.api.Export(func(ctx context.Context) iter.Seq2[[]byte, error] {
		if to == 0 { // there was never one
			return func(func([]byte, error) bool) {}
		}
		return t.trail.Export(ctx, in.FromSequence, to)
	})
}
