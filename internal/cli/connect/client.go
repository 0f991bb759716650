// Package connect finds the server that a command talks to, and makes the client for it.
package connect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
	"github.com/jetpost/jetpost/internal/subscription"
)

// The bounds of a call and of its answer.
const (
	requestTimeout = time.Minute     // for one request and its answer
	probeTimeout   = 2 * time.Second // to find out whether a server answers
	silenceTimeout = time.Minute     // without a line, not even an empty one, a followed log is dead
	mostRetryAfter = time.Minute     // of what a server asks for
	MaxPage        = 500             // items of a list that one request asks for
	MaxLine        = 4 << 20         // bytes of a line of an export
)

// Flags are what every command that talks to a server takes.
type Flags struct {
	Server    string `env:"JETPOST_SERVER" group:"Connection" placeholder:"URL" help:"Base URL of the server. Without it the one on this machine is found: that of ./data, or the one started last."`
	Token     string `env:"JETPOST_TOKEN,JETPOST_ADMIN_TOKEN" group:"Connection" placeholder:"TOKEN" help:"Token of the API. Without it the server's admin.token file is read. Other users of this machine can read arguments: the environment variable is safer."`
	TokenFile string `env:"JETPOST_TOKEN_FILE" group:"Connection" type:"path" placeholder:"FILE" help:"File with the token."`

	places *places // where to look for servers; nil: the usual ones
}

// A Target is a server and the token for it.
type Target struct {
	URL       string
	token     string
	TokenFile string // where the token is from; empty: given as it is
}

// Resolve finds the server and the token, in this order: what is given, what a
// server on this machine has written down and still answers, the default address.
func (f *Flags) Resolve(ctx context.Context) (Target, error) {
	p := usualPlaces()
	if f.places != nil {
		p = *f.places
	}
	known := p.servers()
	found := Target{URL: strings.TrimRight(f.Server, "/"), token: f.Token}
	if found.URL == "" {
		answering, err := firstAnswering(ctx, known)
		if err != nil {
			return Target{}, err
		}
		found.URL, found.TokenFile = answering.URL, answering.TokenFile
	} else {
		if u, err := url.Parse(found.URL); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return Target{}, fmt.Errorf("--server %q is not a URL: write http://host:port", f.Server)
		}
		for _, server := range known {
			if server.URL == found.URL && found.TokenFile == "" {
				found.TokenFile = server.TokenFile
			}
		}
	}
	switch {
	case f.TokenFile != "":
		found.TokenFile = f.TokenFile
	case f.Token != "":
		found.TokenFile = ""
		if problem := plain.SecretProblem(f.Token); problem != "" {
			return Target{}, fmt.Errorf("the token of --token or JETPOST_TOKEN %s", problem)
		}
		return found, nil
	case found.TokenFile == "":
		return found, nil // the server will say that it needs one
	}
	text, err := plain.ReadValue(found.TokenFile)
	if err != nil {
		return Target{}, fmt.Errorf("read the server's token: %w: give --token, or JETPOST_TOKEN", err)
	}
	found.token = strings.TrimSpace(text)
	if problem := plain.SecretProblem(found.token); problem != "" {
		return Target{}, fmt.Errorf("the token in %s %s", found.TokenFile, problem)
	}
	return found, nil
}

// firstAnswering asks one server after the other: a file may be left over from
// one that was killed.
func firstAnswering(ctx context.Context, candidates []discovered) (discovered, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	var tried []string
	for _, candidate := range candidates {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, candidate.URL+"/livez", nil)
		if err != nil {
			continue
		}
		resp, err := new(http.Client).Do(req)
		if err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return candidate, nil
			}
		}
		if !strings.Contains(strings.Join(tried, ", "), candidate.URL) {
			tried = append(tried, candidate.URL)
		}
	}
	if err := context.Cause(ctx); errors.Is(err, context.Canceled) {
		return discovered{}, err
	}
	return discovered{}, noServer(strings.Join(tried, ", "))
}

// errNoServer is wrapped by the error for a server that cannot be reached.
var errNoServer = errors.New("no server answers")

func noServer(where string) error {
	return fmt.Errorf("%w at %s: start one with \"jetpost serve\", or give --server", errNoServer, where)
}

// Client resolves the flags. Only where nothing is given does it talk to a server.
func (f *Flags) Client(ctx context.Context, version string) (*Client, error) {
	found, err := f.Resolve(ctx)
	if err != nil {
		return nil, err
	}
	c, err := client.New(client.Config{
		URL: found.URL, Token: found.token, UserAgent: "jetpost/" + version, Timeout: requestTimeout, Silence: silenceTimeout,
		Retries:   -1, // a person sees an error at once; commands that wait repeat the request
		WrapError: found.explain,
	})
	if err != nil {
		return nil, err
	}
	return &Client{c, found}, nil
}

// Request makes one call of the API for a command. It returns the answer decoded, and as
// it was received.
func Request[T any](e *terminal.Env, f *Flags, call func(*Client, client.Option) (T, error)) (T, json.RawMessage, error) {
	var none T
	api, err := f.Client(e.Ctx, e.Version)
	if err != nil {
		return none, nil, err
	}
	var answer client.Response
	result, err := call(api, client.WithResponse(&answer))
	if err != nil {
		return none, nil, err
	}
	return result, answer.Body, nil
}

// A Client calls the API of one server.
type Client struct {
	*client.Client
	Target
}

// SecretSource asks the server for the signing secrets of a subscription. The
// server is looked for at every call, since a receiver may be started before it.
func (f *Flags) SecretSource(version string) func(ctx context.Context, subscription string) ([]string, error) {
	return func(ctx context.Context, id string) ([]string, error) {
		if !subscription.ValidID(id) { // it comes from a header
			return nil, errors.New("that is not the id of a subscription")
		}
		c, err := f.Client(ctx, version)
		if err != nil {
			return nil, err
		}
		answer, err := c.Subscriptions.Secret(ctx, id)
		if err != nil {
			return nil, err
		}
		return answer.Secrets, nil
	}
}

// A refusedError is a problem of the API, in words for a terminal.
type refusedError struct {
	problem *v1.Problem
	text    string
}

func (e *refusedError) Error() string { return e.text }

func (e *refusedError) Unwrap() error { return e.problem }

// explain says of a failed call what this program knows about it.
func (t Target) explain(err error) error {
	if lost, ok := errors.AsType[*client.ConnectionError](err); ok {
		return fmt.Errorf("%w (%w)", noServer(t.URL), lost.Err)
	}
	if p, ok := errors.AsType[*v1.Problem](err); ok {
		if p.Status == http.StatusUnauthorized {
			p.Detail = t.unauthorized(p.Detail)
		}
		return &refusedError{p, ProblemText(p)}
	}
	return err
}

func (t Target) unauthorized(why string) string {
	if t.token == "" {
		return t.URL + " asks for a token: give --token, or JETPOST_TOKEN"
	}
	from := "that was given"
	if t.TokenFile != "" {
		from = "in " + t.TokenFile
	}
	if why != "" {
		why = " (" + why + ")"
	}
	return t.URL + " does not accept the token " + from + why + ": give --token, or JETPOST_TOKEN"
}

// ProblemText has the detail in its first line and, where it does not say them already,
// each thing that is wrong in a line of its own.
func ProblemText(p *v1.Problem) string {
	var b strings.Builder
	b.WriteString(plain.Shown(p.Detail, plain.LineLimit))
	if p.Detail == "" {
		b.WriteString("the server answers " + strconv.Itoa(p.Status) + " " + http.StatusText(p.Status))
	}
	for _, one := range p.Errors {
		if strings.Contains(p.Detail, one.Message) {
			continue
		}
		b.WriteString("\n  ")
		if one.Field != "" {
			b.WriteString(plain.Shown(one.Field, plain.FieldLimit) + ": ")
		}
		b.WriteString(plain.Shown(one.Message, plain.LineLimit))
	}
	if p.RequestID != "" {
		b.WriteString(" (request " + plain.Shown(p.RequestID, plain.FieldLimit) + ")")
	}
	return b.String()
}

// ReadPages reads up to limit items of a list, as they came; 0 means all. pages has the
// pages, with the size that they should have.
func ReadPages[T any](pages func(client.Paging, client.Option) iter.Seq2[*v1.Page[T], error], limit int) ([]json.RawMessage, error) {
	p := client.Paging{PageSize: MaxPage}
	if limit > 0 {
		p.PageSize = min(limit, MaxPage)
	}
	items := []json.RawMessage{}
	var answer client.Response
	for _, err := range pages(p, client.WithResponse(&answer)) {
		if err != nil {
			return nil, err
		}
		page, err := RawItems(answer.Body)
		if err != nil {
			return nil, err
		}
		if items = append(items, page...); limit > 0 && len(items) >= limit {
			return items[:limit], nil
		}
	}
	return items, nil
}

// RawItems are the items of a page, as they came.
func RawItems(page json.RawMessage) ([]json.RawMessage, error) {
	var answer v1.Page[json.RawMessage]
	if err := json.Unmarshal(page, &answer); err != nil {
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	return answer.Items, nil
}

// KeepFollowing follows again whenever the connection is lost. open says from where,
// each time again. each gets a record, and its line.
func KeepFollowing[T any](ctx context.Context, notices io.Writer, open func(client.Option) iter.Seq2[*T, error], each func(one *T, line json.RawMessage) error) error {
	var wait RetryWait
	for {
		began := time.Now()
		var lost error
		var line client.Response
		for one, err := range open(client.WithResponse(&line)) {
			if lost = err; lost != nil {
				break
			}
			if err := each(one, line.Body); err != nil {
				return err
			}
		}
		if lost == nil || ctx.Err() != nil {
			return nil
		}
		if refused, ok := errors.AsType[*v1.Problem](lost); ok && !refused.Temporary() {
			return lost
		}
		if time.Since(began) > 10*time.Second {
			wait = RetryWait{}
		}
		if wait.failures == 0 {
			_, _ = fmt.Fprintf(notices, "jetpost: connection lost, trying again: %s\n", plain.Shown(lost.Error(), plain.LineLimit))
		}
		if !wait.Pause(ctx, lost) {
			return nil
		}
	}
}
