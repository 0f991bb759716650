package gitsource

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/jetpost/jetpost/event"
)

// build turns the first form of an entry into the second.
func (r *Repository) build(ctx context.Context, e *entry) error {
	f, err := os.Open(e.push())
	if err != nil {
		return err
	}
	p, err := readPush(f)
	_ = f.Close()
	if err != nil {
		return fmt.Errorf("read %s: %w", e.push(), err)
	}
	err = r.outbox.write(e.events(), func(w io.Writer) error {
		var line []byte
		return r.events(ctx, p, func(ev *event.Event) error {
			line = append(ev.AppendStructured(line[:0]), '\n')
			_, err := w.Write(line)
			return err
		})
	})
	if err != nil {
		return err
	}
	return os.Remove(e.push())
}

// events makes the events of a push, one per ref in git's order, and hands each
// to emit: a mirror may push a hundred thousand refs at once.
func (r *Repository) events(ctx context.Context, p push, emit func(*event.Event) error) error {
	defaultRef := r.defaultRef(ctx)
	lists, err := r.listCommits(ctx, p.Updates, defaultRef)
	if err != nil {
		return fmt.Errorf("list commits: %w", err)
	}
	repo := r.describe(ctx, defaultRef, r.empty(ctx), p.At)
	who := newUser(p.Pusher.Login, p.Pusher.Name, p.Pusher.Email)
	for i, u := range p.Updates {
		details, err := r.details(ctx, lists[i].commits)
		if err != nil {
			return fmt.Errorf("read commits of %q: %w", u.Ref, err)
		}
		data, err := render(newPush(u, repo, who, details, lists[i].total), maxData)
		if err != nil {
			return fmt.Errorf("encode push of %q: %w", u.Ref, err)
		}
		if err := emit(r.newEvent(u, p.At, data)); err != nil {
			return err
		}
	}
	return nil
}

func newPush(u Update, repo repository, who user, details []detail, total int) *pushData {
	data := &pushData{
		Ref:        u.Ref,
		Before:     u.Before,
		After:      u.After,
		Commits:    make([]commit, 0, len(details)),
		Repository: repo,
		Pusher:     who,
		Sender:     who,
		Truncated:  total > len(details),
	}
	if repo.HTMLURL != "" && !zeroID(u.Before) && !zeroID(u.After) {
		data.CompareURL = repo.HTMLURL + "/compare/" + u.Before + "..." + u.After
	}
	for i := range details {
		data.Commits = append(data.Commits, details[i].payload(repo.HTMLURL))
		data.Truncated = data.Truncated || details[i].cut
	}
	if data.Truncated {
		data.CommitsTotal = total
	}
	return data
}

// Events returns the events of a push that happened at the given time, one per
// update in that order. It does not touch the outbox. Meant for looking at what
// a push would announce; the hook uses PostReceive.
func (r *Repository) Events(ctx context.Context, updates []Update, at time.Time) ([]*event.Event, error) {
	var events []*event.Event
	p := push{At: at.UTC(), Pusher: r.pusher(ctx), Updates: updates}
	err := r.events(ctx, p, func(e *event.Event) error {
		events = append(events, e)
		return nil
	})
	return events, err
}
