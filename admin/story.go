package admin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/admin/show"
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
	StoryOf
}

// StoryOf narrows a story.
type StoryOf struct {
	Subscription string `query:"subscription" maxLength:"63" doc:"Only what concerns this subscription, which may be deleted by now."`
}

type findStoryRequest struct {
	Source string `query:"source" required:"true" minLength:"1" maxLength:"2048" doc:"The event's source."`
	ID     string `query:"id" required:"true" minLength:"1" maxLength:"2048" doc:"The event's id."`
	Domain string `query:"domain" maxLength:"63" doc:"Look in the log of this domain only." example:"git"`
	Type   string `query:"type" maxLength:"255" doc:"Look among events of this type only." example:"git.push"`
	StoryOf
}

type story struct{ Body v1.Story }

// told is the part of a story that concerns one subscription.
type told struct {
	v1.StoryPart

	attempts []delivery.Attempt         // every request that was made, oldest first
	letters  []delivery.DeadLetter      // those that are kept, oldest first
	sub      *subscription.Subscription // nil: deleted
	recorded uint64                     // messages on record, of whatever delivery
	unread   bool                       // not all of them were read

	queueUnread bool // not all of its queue was looked at
}

func (a *Admin) findStory(ctx context.Context, in *findStoryRequest) (*story, error) {
	sources, err := a.sources(ctx, &eventsRequest{Domain: in.Domain, Type: in.Type})
	if err != nil {
		return nil, err
	}
	found, back, err := a.findEvent(ctx, sources, in.Source, in.ID)
	if err != nil {
		return nil, err
	}
	if found != nil {
		return a.tell(ctx, found.domain, &found.record, in.Subscription)
	}
	searched := "searched were all"
	if !back.IsZero() {
		searched = "searched were those since " + back.UTC().Format(time.RFC3339) + ": narrow the search with domain or type, or page back with GET /v1/events?source=…&id=…; all"
	}
	return nil, fmt.Errorf("event %s of %s: %w; %s of the domains %s", strconv.Quote(in.ID), strconv.Quote(in.Source), errNoEvent, searched, domainNames(sources))
}

func domainNames(sources []source) string {
	var names []string
	for _, s := range sources {
		names = append(names, s.domain)
	}
	return strings.Join(names, ", ")
}

func (a *Admin) story(ctx context.Context, in *storyRequest) (*story, error) {
	record, err := a.storedRecord(ctx, in.Domain, in.Sequence)
	if err != nil {
		return nil, err
	}
	return a.tell(ctx, in.Domain, &record, in.Subscription)
}

// A telling is a story while it is put together.
type telling struct {
	*Admin

	story    *story
	domain   string
	record   *stream.Record
	event    *event.Event
	routing  stream.Routing
	parts    map[string]*told // by subscription
	order    []*told          // those that want the event first
	deadline struct{ traces, all time.Time }
}

func (a *Admin) tell(ctx context.Context, domain string, record *stream.Record, only string) (*story, error) {
	began := time.Now()
	t := &telling{Admin: a, story: &story{}, domain: domain, record: record, parts: map[string]*told{}}
	t.deadline.traces = began.Add(time.Duration(traceTime * float64(a.cfg.Timeout)))
	t.deadline.all = began.Add(time.Duration(storyTime * float64(a.cfg.Timeout)))
	body := &t.story.Body
	body.StoredEvent = source{domain: domain}.show(record)
	body.Subscriptions, body.NotMatched, body.Complete, body.AsOf = []v1.StoryPart{}, []v1.Verdict{}, true, began.UTC()
	if only != "" && !subscription.ValidID(only) {
		return nil, httpapi.Invalid("subscription", "is not the id of a subscription")
	}
	if err := t.readRouting(ctx); err != nil {
		return nil, err
	}
	var err error
	if t.event, err = event.FromEventLog(record.Header, record.Data); err != nil {
		if err := t.findUnreadable(ctx); err != nil || t.story.Body.Unreadable != nil {
			return t.story, err
		}
		// A router of an earlier version may have routed what this one would refuse.
		if t.event, err = event.FromCheckedMessage(record.Header, record.Data); err != nil {
			return t.story, nil //nolint:nilerr // the story of what is no event ends here
		}
	}
	for _, step := range []func(context.Context, string) error{t.match, t.addRecorded, t.trace, t.settle} {
		if err := step(ctx, only); err != nil {
			return nil, err
		}
	}
	t.finish(only)
	return t.story, nil
}

func (t *telling) readRouting(ctx context.Context) error {
	var err error
	t.routing, err = t.layout.ReadRouting(ctx, t.js, t.domain)
	switch {
	case err != nil:
		return err
	case t.record.Sequence <= t.routing.Settled:
		t.story.Body.Routing = "done"
	case t.record.Sequence <= t.routing.HandedOut:
		t.story.Body.Routing = "under_way"
	default:
		t.story.Body.Routing = "waiting"
	}
	return nil
}

// findUnreadable looks for what routers make of a message that is not an event.
func (t *telling) findUnreadable(ctx context.Context) error {
	letters, err := t.letters.Latest(ctx, stream.InvalidLetters, 0, maxInvalidLook)
	if err != nil {
		return err
	}
	for i := range letters {
		if t.isOfEvent(&letters[i].Event) {
			unreadable := show.DeadLetter(&letters[i])
			t.story.Body.Unreadable = &unreadable
			return nil
		}
	}
	if len(letters) == maxInvalidLook {
		t.missed("of the messages that could not be read, only the newest " + strconv.Itoa(maxInvalidLook))
	}
	return nil
}

// missed notes that something was not looked at.
func (t *telling) missed(what string) {
	t.story.Body.Complete = false
	if !slices.Contains(t.story.Body.NotLookedAt, what) {
		t.story.Body.NotLookedAt = append(t.story.Body.NotLookedAt, what)
	}
}

// add makes the part of a subscription; sub is nil for one that is deleted.
func (t *telling) add(id string, sub *subscription.Subscription, v v1.Verdict) {
	part := &told{
		StoryPart: v1.StoryPart{Verdict: v, DeliveryID: delivery.ID(id, t.event.Source, t.event.ID), Deleted: sub == nil},
		attempts:  []delivery.Attempt{}, letters: []delivery.DeadLetter{}, sub: sub,
	}
	if sub != nil {
		part.ChangedSince = sub.UpdatedAt.After(t.record.Time)
	}
	t.parts[id] = part
	t.order = append(t.order, part)
}

// match asks the subscriptions, as they are now.
func (t *telling) match(ctx context.Context, only string) error {
	snapshot, err := t.view.Sync(ctx)
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
	if resolved, err := t.catalogue.Resolve(t.event.Type); err == nil {
		domain = resolved.Domain
	}
	show := showing{event: t.event, domain: cmp.Or(domain, t.domain), data: readsEvents(ctx), tree: only != ""}
	for _, sub := range subs {
		if err := ctx.Err(); err != nil {
			return err
		}
		v, err := show.verdict(sub)
		if err != nil {
			return err
		}
		t.add(sub.ID, sub, v)
	}
	for _, broken := range snapshot.Broken() {
		if only == "" || only == broken.ID {
			t.missed("subscription " + broken.ID + ", whose record cannot be read")
		}
	}
	// What wants the event is looked at first, while there is time.
	slices.SortStableFunc(t.order, func(a, b *told) int {
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
func (t *telling) addRecorded(ctx context.Context, only string) error {
	attempts, err := t.attempts.Recorded(ctx)
	if err != nil {
		return err
	}
	letters, err := t.letters.Recorded(ctx)
	if err != nil {
		return err
	}
	var gone []string
	for _, recorded := range []map[string]uint64{attempts, letters} {
		for id := range recorded {
			if t.parts[id] == nil && subscription.ValidID(id) && (only == "" || only == id) && !slices.Contains(gone, id) {
				gone = append(gone, id)
			}
		}
	}
	slices.Sort(gone)
	for _, id := range gone {
		t.add(id, nil, v1.Verdict{SubscriptionID: id, Because: "deleted", Reason: "it is deleted"})
	}
	if only != "" && t.parts[only] == nil {
		return fmt.Errorf("subscription %s: %w", only, subscription.ErrNotFound)
	}
	for _, part := range t.order {
		part.recorded = attempts[part.SubscriptionID] + letters[part.SubscriptionID]
		if part.Matched && attempts[part.SubscriptionID] >= stream.MaxRecorded {
			t.missed("attempts for subscription " + part.SubscriptionID + " that have made room for newer ones: the log keeps " + strconv.Itoa(stream.MaxRecorded) + " entries of each")
		}
	}
	return nil
}

// trace reads what is on record of the deliveries, since the event was stored.
func (t *telling) trace(ctx context.Context, _ string) error {
	ctx, cancel := context.WithDeadline(ctx, t.deadline.traces)
	defer cancel()
	var recorded []*told
	for _, part := range t.order {
		if part.recorded > 0 {
			recorded = append(recorded, part)
		}
	}
	for chunk := range slices.Chunk(recorded, storyChunk) {
		deliveries := make(map[string]string, len(chunk))
		for _, part := range chunk {
			deliveries[part.DeliveryID] = part.SubscriptionID
		}
		complete, err := t.attempts.Trace(ctx, deliveries, t.record.Time, t.addAttempt)
		if err == nil && complete {
			complete, err = t.letters.Trace(ctx, deliveries, t.record.Time, t.addLetter)
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
	t.noteUnread(recorded)
	return nil
}

// noteUnread says whose records were not read to their end.
func (t *telling) noteUnread(parts []*told) {
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
		t.missed("all attempts and dead letters of " + list + hint)
	}
	if others > 0 {
		t.missed("all attempts and dead letters of " + strconv.Itoa(others) + " subscriptions that do not want the event now" + hint)
	}
}

// isOfEvent tells the event from another one with the same source and id.
func (t *telling) isOfEvent(ref *delivery.EventRef) bool {
	return ref.Is(t.record.Stream, t.record.Sequence, t.record.Time)
}

func (t *telling) addAttempt(one delivery.Attempt) {
	part := t.parts[one.SubscriptionID]
	if !t.isOfEvent(&one.Event) || len(part.attempts) > 0 && part.attempts[len(part.attempts)-1].Sequence >= one.Sequence {
		return
	}
	if part.attempts = append(part.attempts, one); len(part.attempts) > maxStoryAttempts {
		part.attempts = part.attempts[1:]
		part.MoreAttempts++
	}
}

func (t *telling) addLetter(one delivery.DeadLetter) {
	if t.isOfEvent(&one.Event) {
		part := t.parts[one.SubscriptionID]
		part.letters = append(part.letters, one)
	}
}

// finish sorts the parts into those that have something to do with the event and
// those that do not.
func (t *telling) finish(only string) {
	slices.SortFunc(t.order, func(a, b *told) int { return cmp.Compare(a.SubscriptionID, b.SubscriptionID) })
	body := &t.story.Body
	for _, part := range t.order {
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
func (p *told) show() v1.StoryPart {
	shown := p.StoryPart
	shown.Attempts, shown.DeadLetters = show.All(p.attempts, show.Attempt), show.All(p.letters, show.DeadLetter)
	return shown
}

func (p *told) traced() bool {
	return len(p.attempts) > 0 || len(p.letters) > 0 || p.Pending != nil
}

// A foundEvent is one that was looked for by its source and id.
type foundEvent struct {
	domain string
	record stream.Record
}

// findEvent returns the newest event of some logs with a source and an id; nil when it
// is not among those that were searched, which are all, or those since a time.
func (a *Admin) findEvent(ctx context.Context, sources []source, from, id string) (found *foundEvent, since time.Time, err error) {
	wanted := &eventsRequest{Source: from, ID: id}
	deadline := time.Now().Add(time.Duration(traceTime * float64(a.cfg.Timeout)))
	for _, s := range sources {
		before := uint64(0)
		for {
			part, err := a.search(ctx, s, wanted, before, 1)
			if errors.Is(err, jetstream.ErrStreamNotFound) {
				break
			}
			if err != nil {
				return nil, time.Time{}, err
			}
			if len(part.records) > 0 {
				if found == nil || part.records[0].Time.After(found.record.Time) {
					found = &foundEvent{s.domain, part.records[0]}
				}
				break
			}
			if part.end {
				break
			}
			if before = part.next; time.Now().After(deadline) {
				if part.back.After(since) {
					since = part.back
				}
				break
			}
		}
	}
	return found, since, nil
}
