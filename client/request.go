package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
)

const maxAnswer = 64 << 20 // bytes of an answer that is not streamed

// A server is where calls go.
type server struct{ cfg Config }

// A request is one call, however often it is made.
type request struct {
	method, path string
	query        url.Values
	header       http.Header
	body         []byte
	repeatable   bool // it may be made twice without harm
	keyed        bool // with an IdempotencyKey it is repeatable
	response     *Response
	err          error // why it cannot be made
}

// newRequest is for a method and the parts of a path below /v1.
func newRequest(method string, parts ...string) *request {
	r := &request{method: method, query: url.Values{}, header: http.Header{}}
	switch method {
	case http.MethodGet, http.MethodPut, http.MethodDelete:
		r.repeatable = true
	case http.MethodPost:
		r.keyed = true
	}
	var path strings.Builder
	path.WriteString("/v1")
	for _, part := range parts {
		if part == "" || part == "." || part == ".." {
			r.err = fmt.Errorf("%q is not the name of anything in %s", part, strings.Join(parts, "/")) // it would be the path to something else
		}
		path.WriteString("/" + url.PathEscape(part))
	}
	r.path = path.String()
	return r
}

func get(parts ...string) *request  { return newRequest(http.MethodGet, parts...) }
func post(parts ...string) *request { return newRequest(http.MethodPost, parts...) }

// with sends v as JSON, or as it is where it is bytes already.
func (r *request) with(v any) *request {
	body, ready := v.([]byte)
	if raw, ok := v.(json.RawMessage); ok {
		body, ready = raw, true
	}
	if !ready {
		var err error
		if body, err = json.Marshal(v); err != nil {
			r.err = fmt.Errorf("encode request: %w", err)
		}
	}
	r.body = body
	r.header.Set("Content-Type", "application/json")
	return r
}

// by adds parameters of the query.
func (r *request) by(query url.Values) *request {
	maps.Copy(r.query, query)
	return r
}

func (r *request) apply(options []Option) *request {
	for _, option := range options {
		option(r)
	}
	return r
}

// call makes a request and decodes its answer.
func call[T any](ctx context.Context, s *server, r *request, options []Option) (*T, error) {
	out := new(T)
	if err := s.call(ctx, r.apply(options), out); err != nil {
		return nil, err
	}
	return out, nil
}

// call makes a request and decodes its answer into out, unless that is nil.
func (s *server) call(ctx context.Context, r *request, out any) error {
	answer, err := repeat(ctx, s, r, func(ctx context.Context) ([]byte, error) {
		ctx, cancel := context.WithTimeout(ctx, s.cfg.Timeout)
		defer cancel()
		resp, err := s.do(ctx, r)
		if err != nil {
			return nil, err
		}
		defer func() { _ = resp.Body.Close() }()
		answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
		switch {
		case err != nil:
			return nil, fmt.Errorf("read the answer of %s: %w", s.cfg.URL, err)
		case len(answer) > maxAnswer:
			return nil, fmt.Errorf("the answer of %s has more than %d bytes", s.cfg.URL, maxAnswer)
		}
		if r.response != nil {
			r.response.Status, r.response.Header, r.response.Body = resp.StatusCode, resp.Header, answer
		}
		return answer, nil
	})
	if err == nil && out != nil {
		if err = json.Unmarshal(answer, out); err != nil {
			err = fmt.Errorf("%s does not answer like a jetpost server: %w", s.cfg.URL, err)
		}
	}
	if err != nil {
		return s.cfg.WrapError(err)
	}
	return nil
}

// open makes a request whose answer is streamed. The caller closes its body.
func (s *server) open(ctx context.Context, r *request) (*http.Response, error) {
	resp, err := repeat(ctx, s, r, func(ctx context.Context) (*http.Response, error) { return s.do(ctx, r) })
	if err != nil {
		return nil, s.cfg.WrapError(err)
	}
	if r.response != nil {
		r.response.Status, r.response.Header, r.response.Body = resp.StatusCode, resp.Header, nil
	}
	return resp, nil
}

// do makes one request. An answer that is no success is an *api.Problem.
func (s *server) do(ctx context.Context, r *request) (*http.Response, error) {
	if r.err != nil {
		return nil, r.err
	}
	address := s.cfg.URL + r.path
	if len(r.query) > 0 {
		address += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, address, bytes.NewReader(r.body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	maps.Copy(req.Header, r.header)
	req.Header.Set("User-Agent", s.cfg.UserAgent)
	req.Header.Set("Accept", "application/json")
	if s.cfg.Token != "" {
		req.Header.Set("Authorization", "Bearer "+s.cfg.Token)
	}
	resp, err := s.cfg.HTTPClient.Do(req)
	if err != nil {
		if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.DeadlineExceeded) {
			return nil, cause
		}
		if outer, ok := errors.AsType[*url.Error](err); ok { // it shows path and query
			err = outer.Err
		}
		return nil, &ConnectionError{URL: s.cfg.URL, Err: err}
	}
	if resp.StatusCode >= http.StatusOK && resp.StatusCode < http.StatusMultipleChoices {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	return nil, problemOf(resp)
}
