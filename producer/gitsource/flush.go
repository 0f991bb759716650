package gitsource

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/jetpost/jetpost/event"
)

// Bounds of what is handed to a Publish function at once.
const (
	maxBatch      = 100
	maxBatchBytes = 1 << 20
)

// flush sends until the outbox is empty. Entries that cannot be built, because
// git fails, are left where they are and do not hold up the others.
func (r *Repository) flush(ctx context.Context) (Report, error) {
	var report Report
	if entries, err := r.outbox.list(); err != nil || len(entries) == 0 {
		return report, err
	}
	sending, err := lockFile(ctx, filepath.Join(r.outbox.dir, "sending"), r.outbox.fileMode())
	if err != nil {
		return report, err
	}
	defer sending.release()
	r.outbox.tidy(time.Now())
	failed := map[string]error{}
	for {
		entries, err := r.outbox.list()
		if err != nil {
			return report, err
		}
		progress := false
		for _, e := range entries {
			if failed[e.base] != nil {
				continue
			}
			if err := r.ensureBuilt(ctx, e); err != nil {
				failed[e.base] = err
				continue
			}
			if err := r.send(ctx, e, &report); err != nil {
				return report, err
			}
			progress = true
		}
		if !progress {
			var errs []error
			for _, e := range entries {
				errs = append(errs, failed[e.base])
			}
			return report, errors.Join(errs...)
		}
	}
}

// ensureBuilt waits for the hook that is working on the entry, if it still is,
// and does its work if it did not get to the end.
func (r *Repository) ensureBuilt(ctx context.Context, e *entry) error {
	lock, err := lockExisting(ctx, e.push())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer lock.release()
	if _, err := os.Stat(e.events()); err == nil {
		// Built, but the process ended before it could tidy up.
		return ignoreMissing(os.Remove(e.push()))
	}
	return ignoreMissing(r.build(ctx, e))
}

func ignoreMissing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// send publishes the events of an entry and removes it.
func (r *Repository) send(ctx context.Context, e *entry, report *Report) error {
	f, err := os.Open(e.events())
	if err != nil {
		return ignoreMissing(err)
	}
	defer f.Close()
	br := bufio.NewReader(f)
	var batch []*event.Event
	size := 0
	for {
		line, err := br.ReadBytes('\n')
		if errors.Is(err, io.EOF) && len(line) == 0 {
			break
		}
		var ev *event.Event
		if err == nil {
			ev, err = event.ParseStructured(line)
		}
		if err != nil {
			return r.setAside(e, err, report)
		}
		if len(batch) == maxBatch || len(batch) > 0 && size+len(line) > maxBatchBytes {
			if err := r.sendBatch(ctx, batch, report); err != nil {
				return err
			}
			batch, size = batch[:0:0], 0
		}
		batch, size = append(batch, ev), size+len(line)
	}
	if err := r.sendBatch(ctx, batch, report); err != nil {
		return err
	}
	return ignoreMissing(os.Remove(e.events()))
}

// sendBatch publishes a batch. If it is refused, its events are offered one by
// one, so that only those that were refused are set aside.
func (r *Repository) sendBatch(ctx context.Context, batch []*event.Event, report *Report) error {
	if len(batch) == 0 {
		return nil
	}
	err := r.publish(ctx, batch)
	switch {
	case err == nil:
		report.Sent += len(batch)
		return nil
	case !errors.Is(err, ErrRejected):
		return fmt.Errorf("publish: %w", err)
	case len(batch) > 1:
		for i := range batch {
			if err := r.sendBatch(ctx, batch[i:i+1], report); err != nil {
				return err
			}
		}
		return nil
	}
	report.Rejected++
	report.Reason = err
	if err := r.outbox.reject(batch[0], err); err != nil {
		return fmt.Errorf("keep a rejected event: %w", err)
	}
	return nil
}

// setAside moves an entry that cannot be read back out of the way of the others.
func (r *Repository) setAside(e *entry, reason error, report *Report) error {
	if err := r.outbox.mkdir(r.outbox.rejected()); err != nil {
		return err
	}
	report.Rejected++
	report.Reason = fmt.Errorf("read %s: %w", e.events(), reason)
	return os.Rename(e.events(), filepath.Join(r.outbox.rejected(), filepath.Base(e.events())))
}
