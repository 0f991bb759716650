package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jetpost/jetpost/plain"
	"github.com/jetpost/jetpost/stream/timestamp"
	"github.com/jetpost/jetpost/subscription"
)

const (
	requestTimeout = time.Minute     // for one request and its answer
	probeTimeout   = 2 * time.Second // to find out whether a server answers
	silenceTimeout = time.Minute     // without a line, not even an empty one, a followed log is dead
	mostRetryAfter = time.Minute     // of what a server asks for
	maxAnswer      = 64 << 20        // bytes of an answer
	maxLine        = 4 << 20         // bytes of a line of a followed log
)

// apiFlags are what every command that talks to a server takes.
type apiFlags struct {
	Server    string `env:"JETPOST_SERVER" group:"Connection" placeholder:"URL" help:"Base URL of the server. Without it the one on this machine is found: that of ./data, or the one started last."`
	Token     string `env:"JETPOST_TOKEN,JETPOST_ADMIN_TOKEN" group:"Connection" placeholder:"TOKEN" help:"Token of the API. Without it the server's admin.token file is read. Other users of this machine can read arguments: the environment variable is safer."`
	TokenFile string `env:"JETPOST_TOKEN_FILE" group:"Connection" type:"path" placeholder:"FILE" help:"File with the token."`

	places *places // where to look for servers; nil: the usual ones
}

// A target is a server and the token for it.
type target struct {
	url       string
	token     string
	tokenFile string // where the token is from; empty: given as it is
}

// resolve finds the server and the token, in this order: what is given, what a
// server on this machine has written down and still answers, the default address.
func (f *apiFlags) resolve(ctx context.Context) (target, error) {
	p := usualPlaces()
	if f.places != nil {
		p = *f.places
	}
	known := p.servers()
	found := target{url: strings.TrimRight(f.Server, "/"), token: f.Token}
	if found.url == "" {
		answering, err := firstAnswering(ctx, known)
		if err != nil {
			return target{}, err
		}
		found.url, found.tokenFile = answering.URL, answering.TokenFile
	} else {
		if u, err := url.Parse(found.url); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
			return target{}, fmt.Errorf("--server %q is not a URL: write http://host:port", f.Server)
		}
		for _, server := range known {
			if server.URL == found.url && found.tokenFile == "" {
				found.tokenFile = server.TokenFile
			}
		}
	}
	switch {
	case f.TokenFile != "":
		found.tokenFile = f.TokenFile
	case f.Token != "":
		found.tokenFile = ""
		if problem := plain.SecretProblem(f.Token); problem != "" {
			return target{}, fmt.Errorf("the token of --token or JETPOST_TOKEN %s", problem)
		}
		return found, nil
	case found.tokenFile == "":
		return found, nil // the server will say that it needs one
	}
	text, err := plain.ReadValue(found.tokenFile)
	if err != nil {
		return target{}, fmt.Errorf("read the server's token: %w: give --token, or JETPOST_TOKEN", err)
	}
	found.token = strings.TrimSpace(text)
	if problem := plain.SecretProblem(found.token); problem != "" {
		return target{}, fmt.Errorf("the token in %s %s", found.tokenFile, problem)
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

// client resolves the flags. Only where nothing is given does it talk to a server.
func (f *apiFlags) client(ctx context.Context) (*client, error) {
	found, err := f.resolve(ctx)
	if err != nil {
		return nil, err
	}
	return &client{target: found, http: new(http.Client)}, nil
}

// secretSource asks the server for the signing secrets of a subscription. The
// server is looked for at every call, since a receiver may be started before it.
func (f *apiFlags) secretSource() secretSource {
	return func(ctx context.Context, id string) ([]string, error) {
		if !subscription.ValidID(id) { // it comes from a header
			return nil, errors.New("that is not the id of a subscription")
		}
		c, err := f.client(ctx)
		if err != nil {
			return nil, err
		}
		var answer struct {
			Secrets []string `json:"secrets"`
		}
		if err := c.get(ctx, "/v1/subscriptions/"+id+"/secret", nil, &answer); err != nil {
			return nil, err
		}
		return answer.Secrets, nil
	}
}

// A client calls the API of one server.
type client struct {
	target

	http *http.Client
}

// An apiError is an answer that is not a success (RFC 9457).
type apiError struct {
	Status    int        `json:"status"`
	Title     string     `json:"title"`
	Detail    string     `json:"detail"`
	Errors    []apiField `json:"errors"`
	RequestID string     `json:"request_id"`

	retryAfter time.Duration
}

type apiField struct {
	Field   string `json:"field"`
	Message string `json:"message"`
}

// Error has the detail in its first line and, where it does not say them already,
// each thing that is wrong in a line of its own.
func (e *apiError) Error() string {
	var b strings.Builder
	b.WriteString(shown(e.Detail, shownLine))
	if e.Detail == "" {
		b.WriteString("the server answers " + strconv.Itoa(e.Status) + " " + http.StatusText(e.Status))
	}
	for _, one := range e.Errors {
		if strings.Contains(e.Detail, one.Message) {
			continue
		}
		b.WriteString("\n  ")
		if one.Field != "" {
			b.WriteString(shown(one.Field, shownField) + ": ")
		}
		b.WriteString(shown(one.Message, shownLine))
	}
	if e.RequestID != "" {
		b.WriteString(" (request " + shown(e.RequestID, shownField) + ")")
	}
	return b.String()
}

// rejects reports whether the server has read the request and will never accept it.
func (e *apiError) rejects() bool {
	switch e.Status {
	case http.StatusBadRequest, http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return true
	}
	return false
}

// temporary reports whether the same request may succeed later.
func (e *apiError) temporary() bool {
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// get decodes an answer into out.
func (c *client) get(ctx context.Context, path string, query url.Values, out any) error {
	return c.call(ctx, http.MethodGet, path, query, nil, "", out)
}

// send sends v as JSON, unless it is nil or bytes already, and decodes the answer
// into out, unless that is nil.
func (c *client) send(ctx context.Context, method, path string, v, out any) error {
	body, ready := v.([]byte)
	if !ready && v != nil {
		var err error
		if body, err = json.Marshal(v); err != nil {
			return fmt.Errorf("encode request: %w", err)
		}
	}
	return c.call(ctx, method, path, nil, body, "application/json", out)
}

// call decodes an answer into out. header is names and values beyond the usual ones.
func (c *client) call(ctx context.Context, method, path string, query url.Values, body []byte, contentType string, out any, header ...string) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	resp, err := c.do(ctx, method, path, query, body, contentType, header...)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return fmt.Errorf("read the answer of %s: %w", c.url, err)
	}
	if raw, ok := out.(*json.RawMessage); ok {
		*raw = answer
		return nil
	}
	if out == nil {
		return nil
	}
	if err := json.Unmarshal(answer, out); err != nil {
		return fmt.Errorf("%s does not answer like a jetpost server: %w", c.url, err)
	}
	return nil
}

// do returns a successful answer, whose body the caller closes, or an error; an
// *apiError if the server has said what is wrong.
func (c *client) do(ctx context.Context, method, path string, query url.Values, body []byte, contentType string, header ...string) (*http.Response, error) {
	address := c.url + path
	if len(query) > 0 {
		address += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, address, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("User-Agent", "jetpost/"+version)
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, err)
	}
	if resp.StatusCode >= 200 && resp.StatusCode <= 299 {
		return resp, nil
	}
	defer func() { _ = resp.Body.Close() }()
	return nil, c.refused(resp)
}

// unreachable explains a request that got no answer. The URL's path and query are
// left out.
func (c *client) unreachable(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.DeadlineExceeded) {
		return cause
	}
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err
	}
	return fmt.Errorf("%w (%w)", noServer(c.url), err)
}

func (c *client) refused(resp *http.Response) error {
	e := &apiError{}
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20)) // what there is of it
	if err := json.Unmarshal(text, e); err != nil {
		e.Detail = strings.TrimSpace(string(text))
	}
	e.Status = resp.StatusCode
	e.retryAfter = min(timestamp.RetryAfter(resp.Header, time.Now()), mostRetryAfter)
	if e.Status == http.StatusUnauthorized {
		from := "that was given"
		if c.tokenFile != "" {
			from = "in " + c.tokenFile
		}
		if c.token == "" {
			e.Detail = c.url + " asks for a token: give --token, or JETPOST_TOKEN"
		} else {
			why := ""
			if e.Detail != "" {
				why = " (" + e.Detail + ")"
			}
			e.Detail = c.url + " does not accept the token " + from + why + ": give --token, or JETPOST_TOKEN"
		}
	}
	return e
}

// follow calls each with every line that the server writes, until that returns an
// error, the connection ends (io.EOF or what broke it) or ctx does (nil).
func (c *client) follow(ctx context.Context, path string, query url.Values, each func(line []byte) error) error {
	parent := ctx
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	query.Set("follow", "true")
	resp, err := c.do(ctx, http.MethodGet, path, query, nil, "")
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	silence := time.AfterFunc(silenceTimeout, cancel)
	defer silence.Stop()
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(make([]byte, 64<<10), maxLine)
	for lines.Scan() {
		silence.Reset(silenceTimeout)
		if len(lines.Bytes()) == 0 {
			continue
		}
		if err := each(lines.Bytes()); err != nil {
			return err
		}
	}
	switch {
	case parent.Err() != nil:
		return nil // to stop following is how it ends
	case lines.Err() != nil:
		return fmt.Errorf("follow %s: %w", c.url, lines.Err())
	}
	return io.EOF
}

// keepFollowing follows again whenever the connection is lost. query says from
// where, each time anew.
func (c *client) keepFollowing(ctx context.Context, notices io.Writer, path string, query func() url.Values, each func(line []byte) error) error {
	var wait retryWait
	var failed error // what each has returned
	for {
		began := time.Now()
		err := c.follow(ctx, path, query(), func(line []byte) error {
			failed = each(line)
			return failed
		})
		if err == nil || ctx.Err() != nil || failed != nil {
			return failed
		}
		if refused, ok := errors.AsType[*apiError](err); ok && !refused.temporary() {
			return err
		}
		if time.Since(began) > 10*time.Second {
			wait = retryWait{}
		}
		if wait.failures == 0 {
			_, _ = fmt.Fprintf(notices, "jetpost: connection lost, trying again: %s\n", shown(err.Error(), shownLine))
		}
		if !wait.pause(ctx, err) {
			return nil
		}
	}
}

// retryWait spaces out tries of something that fails.
type retryWait struct {
	failures int
}

const (
	firstRetry = 200 * time.Millisecond
	lastRetry  = 5 * time.Second
)

// pause waits after a failure: as long as the server asks for, or twice as long
// as before. It reports whether ctx is still alive.
func (r *retryWait) pause(ctx context.Context, err error) bool {
	delay := min(firstRetry<<min(r.failures, 10), lastRetry)
	if refused, ok := errors.AsType[*apiError](err); ok && refused.retryAfter > 0 {
		delay = refused.retryAfter
	}
	r.failures++
	return waitFor(ctx, delay)
}
