package folder

import (
	"context"
	"errors"
	"os"
	"path"
	"path/filepath"
	"syscall"

	"go.uber.org/zap"
)

// A scanRequest asks for all that is at or below dir, relative to the folder; a
// full scan is of the folder itself and reports what was deleted, too.
type scanRequest struct {
	dir  string // "." is the folder itself
	full bool
}

// found is a part of a scan's answer.
type found struct {
	files []seen
	last  bool // nothing follows
	full  bool
}

type seen struct {
	path  string
	stamp stamp
}

// scanChunk is how many files one answer has, so that the watching goroutine is
// never busy with one for long.
const scanChunk = 1000

// A scanner walks folders and makes the notifier watch them.
type scanner struct {
	w      *Watcher
	notify *notifier
	out    chan<- found
	chunk  []seen
	// Full is set when the kernel cannot watch more folders; it is reported once.
	full bool
}

func (s *scanner) run(ctx context.Context, requests <-chan scanRequest) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-requests:
			if s.walk(ctx, r.dir) != nil {
				return
			}
			if s.send(ctx, found{files: s.chunk, last: true, full: r.full}) != nil {
				return
			}
			s.chunk = nil
		}
	}
}

func (s *scanner) send(ctx context.Context, f found) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case s.out <- f:
		return nil
	}
}

// walk visits dir and all below it. A folder is watched before it is read: what
// appears in between is seen twice rather than not at all. A folder that cannot
// be read is left out; known files in it are checked one by one.
func (s *scanner) walk(ctx context.Context, dir string) error {
	stack := []string{dir}
	for len(stack) > 0 {
		dir, stack = stack[len(stack)-1], stack[:len(stack)-1]
		name := filepath.Join(s.w.root, filepath.FromSlash(dir))
		if s.w.ownState(name) {
			continue
		}
		s.watch(name)
		entries, err := os.ReadDir(name)
		if err != nil && !isGone(err) {
			s.w.log.Warn("failed to read folder", zap.String("path", dir), zap.Error(err))
		}
		for _, e := range entries {
			rel := path.Join(dir, e.Name())
			switch {
			case ignored(e.Name()):
			case e.IsDir():
				stack = append(stack, rel)
			case e.Type().IsRegular():
				info, err := e.Info()
				if err != nil {
					continue // deleted since
				}
				s.chunk = append(s.chunk, seen{rel, stampOf(info)})
			}
			if len(s.chunk) == scanChunk {
				if err := s.send(ctx, found{files: s.chunk}); err != nil {
					return err
				}
				s.chunk = nil
			}
		}
	}
	return nil
}

func (s *scanner) watch(name string) {
	err := s.notify.add(name)
	if err == nil || isGone(err) {
		return
	}
	if errors.Is(err, syscall.ENOSPC) {
		if !s.full {
			s.full = true
			s.w.log.Warn("too many folders for the notifications of this system, changes in the others are found by scanning; "+
				"raise fs.inotify.max_user_watches", zap.Duration("every", s.w.cfg.Rescan))
		}
		return
	}
	s.w.log.Warn("failed to watch folder, changes in it are found by scanning", zap.Error(err))
}
