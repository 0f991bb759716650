package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"time"
)

const maxLine = 4 << 20 // bytes of a line of what is followed

// errSilent is why a connection is given up.
var errSilent = errors.New("the server sends nothing any more")

// follow returns the records of a log as the server writes them. It ends with io.EOF when
// the server has ended it, with another error when the connection is lost, and without
// one when ctx ends: to stop following is how it ends.
func follow[T any](ctx context.Context, s *server, r *request, options []Option) iter.Seq2[*T, error] {
	r.query.Set("follow", "true")
	r.apply(options)
	return func(yield func(*T, error) bool) {
		connected, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		resp, err := s.open(connected, r)
		if err != nil {
			if ctx.Err() == nil {
				yield(nil, err)
			}
			return
		}
		defer func() { _ = resp.Body.Close() }()
		silence := time.AfterFunc(s.cfg.Silence, func() { cancel(errSilent) })
		defer silence.Stop()
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(make([]byte, 64<<10), maxLine)
		for lines.Scan() {
			silence.Reset(s.cfg.Silence)
			if len(lines.Bytes()) == 0 { // it shows that the connection lives
				continue
			}
			if r.response != nil {
				r.response.Body = bytes.Clone(lines.Bytes())
			}
			one := new(T)
			if err := json.Unmarshal(lines.Bytes(), one); err != nil {
				yield(nil, s.cfg.WrapError(fmt.Errorf("%s does not answer like a jetpost server: %w", s.cfg.URL, err)))
				return
			}
			if !yield(one, nil) {
				return
			}
		}
		switch {
		case ctx.Err() != nil:
		case errors.Is(context.Cause(connected), errSilent):
			yield(nil, s.cfg.WrapError(fmt.Errorf("follow %s: %w", s.cfg.URL, errSilent)))
		case lines.Err() != nil:
			yield(nil, s.cfg.WrapError(fmt.Errorf("follow %s: %w", s.cfg.URL, lines.Err())))
		default:
			yield(nil, io.EOF)
		}
	}
}

// stream returns the body of an answer.
func (s *server) stream(ctx context.Context, r *request, options []Option) (io.ReadCloser, error) {
	resp, err := s.open(ctx, r.apply(options))
	if err != nil {
		return nil, err
	}
	return resp.Body, nil
}
