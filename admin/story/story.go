// Package story answers what is known of an event: it lists, follows and searches the event
// logs, explains which subscriptions match an event, and assembles its story, which is what
// became of it for each subscription.
//
// It reads the event logs, the subscriptions, the attempt log, the dead letters, the queues
// and the retry timers. It writes nothing. The work for one answer is bounded, and an answer
// says what was not looked at.
package story

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/admin/catalogue"
	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/admin/show"
	"github.com/jetpost/jetpost/admin/subscriptions"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
)

const storyDescription = "Where it was stored and when; for each subscription whether it wants the event, and which clause decided; every attempt, what is pending and where, " +
	"the dead letters, and what has become of the delivery. Subscriptions are taken as they are now: changed_since marks those that have been changed since the event " +
	"was stored. The work for one answer is bounded: complete is false when not all was looked at, and not_looked_at says what."

// Limits of a story. They bound its size and the work for it.
const (
	storyChunk       = 200  // subscriptions whose records are read at a time
	maxStoryAttempts = 500  // of one delivery that are shown, the newest
	maxNotMatched    = 100  // verdicts of subscriptions that do not want the event
	maxQueueLook     = 2000 // messages of one queue that are looked at
	quickQueueLook   = 200  // where the delivery is known to have ended
	maxInvalidLook   = 500  // unreadable messages that are looked at
	// Parts of the time for a request.
	traceTime = 0.5 // to read attempts and dead letters
	storyTime = 0.8 // and queues
)

// What has become of a delivery.
const (
	outcomeDelivered  = "delivered"
	outcomeQueued     = "queued"
	outcomeInFlight   = "in_flight"
	outcomeRetry      = "retry_scheduled"
	outcomeDue        = "retry_due"
	outcomeDeadLetter = "dead_letter"
	outcomeGivenUp    = "given_up"
	outcomeDropped    = "dropped"
	outcomeUnrouted   = "not_routed_yet"
	outcomeNotMatched = "not_matched"
	outcomeUnknown    = "unknown"
)

type storyRequest struct {
	PlacedEvent
	Only
}

// Only narrows a story.
type Only struct {
	Subscription string `query:"subscription" maxLength:"63" doc:"Only what concerns this subscription, which may be deleted by now."`
}

type findStoryRequest struct {
	Source string `query:"source" required:"true" minLength:"1" maxLength:"2048" doc:"The event's source."`
	ID     string `query:"id" required:"true" minLength:"1" maxLength:"2048" doc:"The event's id."`
	Domain string `query:"domain" maxLength:"63" doc:"Look in the log of this domain only." example:"git"`
	Type   string `query:"type" maxLength:"255" doc:"Look among events of this type only." example:"git.push"`
	Only
}

// Stories assembles what is known of an event. Use NewStories.
type Stories struct {
	js          jetstream.JetStream
	layout      stream.Layout
	catalogue   catalogue.Catalogue
	logs        *Logs
	keep        *subscriptions.Keeper
	attempts    *delivery.Log
	deadLetters *delivery.DeadLetters
	timeout     time.Duration // for one request
}

// NewStories returns the stories of the events in logs. timeout bounds the work for one
// request.
func NewStories(logs *Logs, keep *subscriptions.Keeper, attempts *delivery.Log, deadLetters *delivery.DeadLetters, timeout time.Duration) *Stories {
	return &Stories{
		js: logs.js, layout: logs.layout, catalogue: logs.catalogue, logs: logs, keep: keep, attempts: attempts, deadLetters: deadLetters, timeout: timeout,
	}
}

// Register adds the operations of events to an API: reading them, their stories, and
// explaining what matches them.
func Register(api *httpapi.API, logs *Logs, stories *Stories) {
	logs.register(api)
	stories.register(api)
	(&explainer{logs: logs, keep: stories.keep, catalogue: logs.catalogue}).register(api)
}

func (s *Stories) register(api *httpapi.API) {
	httpapi.Register(api, huma.Operation{
		OperationID: "get-story", Method: http.MethodGet, Path: "/v1/events/{domain}/{sequence}/story", Tags: []string{"Events"},
		Summary: "Tell the whole story of an event", Description: storyDescription,
	}, s.one)
	httpapi.Register(api, huma.Operation{
		OperationID: "find-story", Method: http.MethodGet, Path: "/v1/events/story", Tags: []string{"Events"},
		Summary: "Tell the story of the event with this source and id",
		Description: "Of the newest one, where a producer has used an id again. Logs have no index of ids: the newest events are searched, as many as the time for a request " +
			"allows, so domain or type help. " + storyDescription,
	}, s.find)
}

type story struct{ Body v1.Story }

// A storyPart is the part of a story that concerns one subscription.
type storyPart struct {
	v1.StoryPart

	attempts    []delivery.Attempt         // every request that was made, oldest first
	deadLetters []delivery.DeadLetter      // those that are kept, oldest first
	sub         *subscription.Subscription // nil: deleted
	recorded    uint64                     // messages on record, of whatever delivery
	unread      bool                       // not all of them were read

	queueUnread bool // not all of its queue was looked at
}

func (s *Stories) find(ctx context.Context, in *findStoryRequest) (*story, error) {
	sources, err := s.logs.sources(ctx, &eventsRequest{Domain: in.Domain, Type: in.Type})
	if err != nil {
		return nil, err
	}
	found, back, err := s.logs.findEvent(ctx, sources, in.Source, in.ID)
	if err != nil {
		return nil, err
	}
	if found != nil {
		return s.assemble(ctx, found.domain, &found.record, in.Subscription)
	}
	searched := "searched were all"
	if !back.IsZero() {
		searched = "searched were those since " + back.UTC().Format(time.RFC3339) + ": narrow the search with domain or type, or page back with GET /v1/events?source=…&id=…; all"
	}
	return nil, fmt.Errorf("event %s of %s: %w; %s of the domains %s", strconv.Quote(in.ID), strconv.Quote(in.Source), ErrNoEvent, searched, domainNames(sources))
}

func domainNames(sources []source) string {
	var names []string
	for _, one := range sources {
		names = append(names, one.domain)
	}
	return strings.Join(names, ", ")
}

func (s *Stories) one(ctx context.Context, in *storyRequest) (*story, error) {
	record, err := s.logs.Stored(ctx, in.Domain, in.Sequence)
	if err != nil {
		return nil, err
	}
	return s.assemble(ctx, in.Domain, &record, in.Subscription)
}

// A builder assembles a story.
type builder struct {
	from     *Stories
	story    *story
	domain   string
	record   *stream.Record
	event    *event.Event
	routing  stream.Routing
	parts    map[string]*storyPart // by subscription
	order    []*storyPart          // those that want the event first
	deadline struct{ traces, all time.Time }
}

// Assemble returns the story of the event that a record of a domain's log holds; only, if it
// is not empty, is the one subscription that the story is about.
func (s *Stories) Assemble(ctx context.Context, domain string, record *stream.Record, only string) (*v1.Story, error) {
	out, err := s.assemble(ctx, domain, record, only)
	if err != nil {
		return nil, err
	}
	return &out.Body, nil
}

func (s *Stories) assemble(ctx context.Context, domain string, record *stream.Record, only string) (*story, error) {
	began := time.Now()
	b := &builder{from: s, story: &story{}, domain: domain, record: record, parts: map[string]*storyPart{}}
	b.deadline.traces = began.Add(time.Duration(traceTime * float64(s.timeout)))
	b.deadline.all = began.Add(time.Duration(storyTime * float64(s.timeout)))
	body := &b.story.Body
	body.StoredEvent = source{domain: domain}.show(record)
	body.Subscriptions, body.NotMatched, body.Complete, body.AsOf = []v1.StoryPart{}, []v1.Verdict{}, true, began.UTC()
	if only != "" && !subscription.ValidID(only) {
		return nil, httpapi.Invalid("subscription", "is not the id of a subscription")
	}
	if err := b.readRouting(ctx); err != nil {
		return nil, err
	}
	var err error
	if b.event, err = event.FromEventLog(record.Header, record.Data); err != nil {
		if err := b.findUnreadable(ctx); err != nil || b.story.Body.Unreadable != nil {
			return b.story, err
		}
		// A router of an earlier version may have routed what this one would refuse.
		if b.event, err = event.FromCheckedMessage(record.Header, record.Data); err != nil {
			return b.story, nil //nolint:nilerr // the story of what is no event ends here
		}
	}
	for _, step := range []func(context.Context, string) error{b.match, b.addRecorded, b.trace, b.settle} {
		if err := step(ctx, only); err != nil {
			return nil, err
		}
	}
	b.finish(only)
	return b.story, nil
}

func (b *builder) readRouting(ctx context.Context) error {
	var err error
	b.routing, err = b.from.layout.ReadRouting(ctx, b.from.js, b.domain)
	switch {
	case err != nil:
		return err
	case b.record.Sequence <= b.routing.Settled:
		b.story.Body.Routing = "done"
	case b.record.Sequence <= b.routing.HandedOut:
		b.story.Body.Routing = "under_way"
	default:
		b.story.Body.Routing = "waiting"
	}
	return nil
}

// findUnreadable looks for what routers make of a message that is not an event.
func (b *builder) findUnreadable(ctx context.Context) error {
	deadLetters, err := b.from.deadLetters.Latest(ctx, stream.InvalidLetters, 0, maxInvalidLook)
	if err != nil {
		return err
	}
	for i := range deadLetters {
		if b.isOfEvent(&deadLetters[i].Event) {
			unreadable := show.DeadLetter(&deadLetters[i])
			b.story.Body.Unreadable = &unreadable
			return nil
		}
	}
	if len(deadLetters) == maxInvalidLook {
		b.missed("of the messages that could not be read, only the newest " + strconv.Itoa(maxInvalidLook))
	}
	return nil
}

// missed notes that something was not looked at.
func (b *builder) missed(what string) {
	b.story.Body.Complete = false
	if !slices.Contains(b.story.Body.NotLookedAt, what) {
		b.story.Body.NotLookedAt = append(b.story.Body.NotLookedAt, what)
	}
}

// add makes the part of a subscription; sub is nil for one that is deleted.
func (b *builder) add(id string, sub *subscription.Subscription, v v1.Verdict) {
	part := &storyPart{
		StoryPart: v1.StoryPart{Verdict: v, DeliveryID: delivery.ID(id, b.event.Source, b.event.ID), Deleted: sub == nil},
		attempts:  []delivery.Attempt{}, deadLetters: []delivery.DeadLetter{}, sub: sub,
	}
	if sub != nil {
		part.ChangedSince = sub.UpdatedAt.After(b.record.Time)
	}
	b.parts[id] = part
	b.order = append(b.order, part)
}

// match asks the subscriptions, as they are now.
func (b *builder) match(ctx context.Context, only string) error {
	snapshot, err := b.from.keep.Snapshot(ctx)
	if err != nil {
		return err
	}
	subs := snapshot.All()
	if only != "" {
		subs = nil
		if sub, ok := snapshot.Get(only); ok {
			subs = []*subscription.Subscription{sub}
		}
	}
	domain := ""
	if resolved, err := b.from.catalogue.Resolve(b.event.Type); err == nil {
		domain = resolved.Domain
	}
	show := showing{event: b.event, domain: cmp.Or(domain, b.domain), data: readsEvents(ctx), tree: only != ""}
	for _, sub := range subs {
		if err := ctx.Err(); err != nil {
			return err
		}
		v, err := show.verdict(sub)
		if err != nil {
			return err
		}
		b.add(sub.ID, sub, v)
	}
	for _, broken := range snapshot.Broken() {
		if only == "" || only == broken.ID {
			b.missed("subscription " + broken.ID + ", whose record cannot be read")
		}
	}
	// What wants the event is looked at first, while there is time.
	slices.SortStableFunc(b.order, func(a, b *storyPart) int {
		switch {
		case a.Matched == b.Matched:
			return 0
		case a.Matched:
			return -1
		}
		return 1
	})
	return nil
}

// addRecorded adds subscriptions that are deleted, but have left records, and says
// where records are missing.
func (b *builder) addRecorded(ctx context.Context, only string) error {
	attempts, err := b.from.attempts.Recorded(ctx)
	if err != nil {
		return err
	}
	deadLetters, err := b.from.deadLetters.Recorded(ctx)
	if err != nil {
		return err
	}
	var deleted []string
	for _, recorded := range []map[string]uint64{attempts, deadLetters} {
		for id := range recorded {
			if b.parts[id] == nil && subscription.ValidID(id) && (only == "" || only == id) && !slices.Contains(deleted, id) {
				deleted = append(deleted, id)
			}
		}
	}
	slices.Sort(deleted)
	for _, id := range deleted {
		b.add(id, nil, v1.Verdict{SubscriptionID: id, Because: "deleted", Reason: "it is deleted"})
	}
	if only != "" && b.parts[only] == nil {
		return fmt.Errorf("subscription %s: %w", only, subscription.ErrNotFound)
	}
	for _, part := range b.order {
		part.recorded = attempts[part.SubscriptionID] + deadLetters[part.SubscriptionID]
		if part.Matched && attempts[part.SubscriptionID] >= stream.MaxRecorded {
			b.missed("attempts for subscription " + part.SubscriptionID + " that have made room for newer ones: the log keeps " + strconv.Itoa(stream.MaxRecorded) + " entries of each")
		}
	}
	return nil
}

// trace reads what is on record of the deliveries, since the event was stored.
func (b *builder) trace(ctx context.Context, _ string) error {
	ctx, cancel := context.WithDeadline(ctx, b.deadline.traces)
	defer cancel()
	var recorded []*storyPart
	for _, part := range b.order {
		if part.recorded > 0 {
			recorded = append(recorded, part)
		}
	}
	for chunk := range slices.Chunk(recorded, storyChunk) {
		deliveries := make(map[string]string, len(chunk))
		for _, part := range chunk {
			deliveries[part.DeliveryID] = part.SubscriptionID
		}
		complete, err := b.from.attempts.Trace(ctx, deliveries, b.record.Time, b.addAttempt)
		if err == nil && complete {
			complete, err = b.from.deadLetters.Trace(ctx, deliveries, b.record.Time, b.addDeadLetter)
		}
		if err != nil && ctx.Err() == nil {
			return err
		}
		if !complete {
			for _, part := range chunk {
				part.unread = true
			}
		}
	}
	b.noteUnread(recorded)
	return nil
}

// noteUnread says whose records were not read to their end.
func (b *builder) noteUnread(parts []*storyPart) {
	var matched []string
	others := 0
	for _, part := range parts {
		switch {
		case !part.unread:
		case part.Matched:
			matched = append(matched, part.SubscriptionID)
		default:
			others++
		}
	}
	const hint = ": ask for one subscription at a time"
	if len(matched) > 0 {
		const most = 10
		list := strings.Join(matched[:min(most, len(matched))], ", ")
		if len(matched) > most {
			list += " and " + strconv.Itoa(len(matched)-most) + " others"
		}
		b.missed("all attempts and dead letters of " + list + hint)
	}
	if others > 0 {
		b.missed("all attempts and dead letters of " + strconv.Itoa(others) + " subscriptions that do not want the event now" + hint)
	}
}

// isOfEvent tells the event from another one with the same source and id.
func (b *builder) isOfEvent(ref *delivery.EventRef) bool {
	return ref.Is(b.record.Stream, b.record.Sequence, b.record.Time)
}

func (b *builder) addAttempt(one delivery.Attempt) {
	part := b.parts[one.SubscriptionID]
	if !b.isOfEvent(&one.Event) || len(part.attempts) > 0 && part.attempts[len(part.attempts)-1].Sequence >= one.Sequence {
		return
	}
	if part.attempts = append(part.attempts, one); len(part.attempts) > maxStoryAttempts {
		part.attempts = part.attempts[1:]
		part.MoreAttempts++
	}
}

func (b *builder) addDeadLetter(one delivery.DeadLetter) {
	if b.isOfEvent(&one.Event) {
		part := b.parts[one.SubscriptionID]
		part.deadLetters = append(part.deadLetters, one)
	}
}

// finish sorts the parts into those that have something to do with the event and
// those that do not.
func (b *builder) finish(only string) {
	slices.SortFunc(b.order, func(a, b *storyPart) int { return cmp.Compare(a.SubscriptionID, b.SubscriptionID) })
	body := &b.story.Body
	for _, part := range b.order {
		switch {
		case part.Matched, part.traced(), only != "":
			body.Subscriptions = append(body.Subscriptions, part.show())
		case part.Deleted:
		default:
			if body.NotMatchedAll++; len(body.NotMatched) < maxNotMatched {
				body.NotMatched = append(body.NotMatched, part.Verdict)
			}
		}
	}
}

// show is the part as the story shows it.
func (p *storyPart) show() v1.StoryPart {
	shown := p.StoryPart
	shown.Attempts, shown.DeadLetters = show.All(p.attempts, show.Attempt), show.All(p.deadLetters, show.DeadLetter)
	return shown
}

func (p *storyPart) traced() bool {
	return len(p.attempts) > 0 || len(p.deadLetters) > 0 || p.Pending != nil
}
