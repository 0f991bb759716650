// Package receiver is the receiver to develop with: it verifies and prints what arrives.
package receiver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
)

// Headers of a delivery that the receiver reads besides the event's own
// (Standard Webhooks 1.0.0, and jetpost's additions to it).
const (
	idHeader           = "Webhook-Id"
	timestampHeader    = "Webhook-Timestamp"
	signatureHeader    = "Webhook-Signature"
	subscriptionHeader = "Jetpost-Subscription"
	attemptHeader      = "Jetpost-Attempt"
)

const (
	maxReceivedBody = 10 << 20        // bytes of one request; more is answered with 413
	pooledBody      = 1 << 20         // bytes; a larger buffer is left to the garbage collector
	receiverGrace   = 2 * time.Second // for requests under way when the receiver stops
)

// Cmd is `jetpost receiver`: an endpoint to develop and test against.
type Cmd struct {
	Addr string `default:"127.0.0.1:9000" placeholder:"HOST:PORT" help:"Where to listen. Port 0 takes a free one; the first line printed says which."`

	Secret       []string `group:"Signatures" env:"JETPOST_RECEIVER_SECRET" placeholder:"SECRET" help:"Secret to verify signatures with, or a public key (whpk_...). Repeat it while a secret is being rotated. Other users of this machine can read arguments: the environment variable is safer."`
	Subscription []string `group:"Signatures" complete:"subscription" placeholder:"ID" help:"Verify the deliveries of this subscription, with its current secrets as the server knows them (needs a token with the role operator or admin; on the server's machine its own token is used). Can be repeated. Without --secret and --subscription every delivery is verified with the secrets of the subscription that it names."`
	NoVerify     bool     `group:"Signatures" help:"Do not verify signatures."`

	RefuseConsent bool `group:"Consent" xor:"consent" help:"Do not consent to deliveries when asked by an OPTIONS request (CloudEvents Web Hooks). Otherwise every sender that asks may deliver."`
	AllowedRate   int  `group:"Consent" xor:"consent" placeholder:"N" help:"Consent to this many requests per minute. Default: as many as it is asked for."`

	Verbose bool `group:"Output" xor:"detail" help:"Print headers and body as well. They may hold secrets."`
	Quiet   bool `group:"Output" xor:"detail" help:"Count only: one line for each second in which something arrived, and one at the end."`
	JSON    bool `group:"Output" name:"json" hidden:"" help:"The same as --output json."`

	output.Flag

	Status       int           `group:"Faults" default:"200" placeholder:"CODE" help:"Answer with this status, 200 to 599. A 3xx points to /followed, so that a sender that follows it is seen."`
	FailRate     float64       `group:"Faults" placeholder:"SHARE" help:"Answer this share of the requests with 500: 0.3 is three in ten."`
	FailFirst    int           `group:"Faults" placeholder:"N" help:"Answer the first N requests of each webhook-id with 500, later ones normally."`
	RetryAfter   string        `group:"Faults" placeholder:"SECONDS" help:"Send this Retry-After with every answer that is not 2xx: seconds or an HTTP date, sent as it is."`
	Delay        time.Duration `group:"Faults" placeholder:"2s" help:"Wait before answering."`
	Hang         bool          `group:"Faults" xor:"answer" help:"Never answer."`
	Drip         bool          `group:"Faults" xor:"answer" help:"Send the answer byte by byte, its status line and headers too."`
	DripInterval time.Duration `group:"Faults" default:"100ms" placeholder:"100ms" help:"The time between two bytes with --drip."`
	BodySize     int64         `group:"Faults" placeholder:"BYTES" help:"Answer with a body of this size."`
	Seed         uint64        `group:"Faults" placeholder:"N" help:"Makes --fail-rate repeatable: whether a request fails depends on the seed, its webhook-id and how often that has arrived, not on the order."`

	connect.Flags

	// secrets asks the server for a subscription's secrets. Nil: the server of the
	// connection flags, unless --secret is given.
	secrets secretSource
}

// Help is the long text of `jetpost receiver --help`.
func (c *Cmd) Help() string {
	return `Verifies signatures (Standard Webhooks v1 and v1a, JFrog, Secure Source Manager, GitHub)
and prints what arrives. Requests in the vendors' formats do not name their
subscription: give --subscription or --secret for these. A request with a wrong signature is
answered with 401; one that cannot be verified, because no secret is known, is answered like
a valid one and marked "unverified".

Examples:

  jetpost receiver                                  print and verify what a server on this machine delivers
  jetpost receiver --addr 127.0.0.1:0 -o json       a free port, for scripts
  jetpost receiver --fail-first 3                   see a delivery being retried
  jetpost receiver --status 503 --retry-after 30    an endpoint that asks for a pause
  jetpost receiver --fail-rate 0.3 --seed 7         the same three in ten fail on every run
  jetpost receiver --drip --body-size 1000          an answer that takes minutes
  jetpost receiver --quiet --no-verify              count as fast as possible`
}

// Validate reports options that make no sense; kong calls it after parsing.
func (c *Cmd) Validate() error {
	switch {
	case !(c.FailRate >= 0 && c.FailRate <= 1): // NaN is refused too
		return fmt.Errorf("--fail-rate %v: use a share from 0 to 1", c.FailRate)
	case c.Status < 200 || c.Status > 599:
		return fmt.Errorf("--status %d: use 200 to 599", c.Status)
	case c.AllowedRate < 0:
		return fmt.Errorf("--allowed-rate %d: use requests per minute, 1 or more", c.AllowedRate)
	case c.FailFirst < 0 || c.BodySize < 0 || c.Delay < 0 || c.DripInterval < 0:
		return errors.New("--fail-first, --body-size, --delay and --drip-interval cannot be negative")
	case c.NoVerify && len(c.Secret)+len(c.Subscription) > 0:
		return errors.New("--no-verify goes with neither --secret nor --subscription")
	}
	return nil
}

// Run receives until the context ends, then prints a summary.
func (c *Cmd) Run(e *terminal.Env) error {
	if c.secrets == nil && len(c.Secret) == 0 {
		c.secrets = c.SecretSource(e.Version)
	}
	r, err := newReceiver(c, e.Stdout)
	if err != nil {
		return err
	}
	listener, err := new(net.ListenConfig).Listen(e.Ctx, "tcp", c.Addr)
	if err != nil {
		return fmt.Errorf("start the receiver: %w", err)
	}
	if c.JSON { // the line people wait for must not break a stream of JSON objects
		_, _ = fmt.Fprintf(e.Stderr, "listening on http://%s\n", listener.Addr())
	}
	return r.serve(e.Ctx, listener, log.New(plain.NewWriter(e.Stderr), "receiver: ", 0))
}

// A receiver answers requests, each in these steps: read the body, check the
// signature, count, choose the answer, print, answer.
type receiver struct {
	keys   *verifier // nil: signatures are not verified
	faults faults
	wanted consent
	counts counts
	ids    ids
	out    *receiverOutput
	quiet  bool
	bodies sync.Pool // *bytes.Buffer
}

func newReceiver(c *Cmd, stdout io.Writer) (*receiver, error) {
	r := &receiver{
		faults: newFaults(c),
		wanted: consent{c.RefuseConsent, c.AllowedRate},
		ids:    ids{perShard: idsPerShard},
		out:    &receiverOutput{w: stdout, json: c.JSON || !c.People(), yaml: c.Output == output.FormatYAML, verbose: c.Verbose},
		quiet:  c.Quiet,
		bodies: sync.Pool{New: func() any { return new(bytes.Buffer) }},
	}
	if c.NoVerify {
		return r, nil
	}
	keys, err := newVerifier(c.Secret, c.Subscription, c.secrets)
	if err != nil {
		return nil, err
	}
	r.keys = keys
	return r, nil
}

// serve answers on listener until ctx ends. It owns the listener.
func (r *receiver) serve(ctx context.Context, listener net.Listener, problems *log.Logger) error {
	server := &http.Server{
		Handler:           r,
		BaseContext:       func(net.Listener) context.Context { return ctx }, // ends the faults that wait
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          problems,
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	r.out.listening(listener.Addr())
	started := time.Now()

	var tick <-chan time.Time // stays nil, and silent, unless quiet
	if r.quiet {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		tick = ticker.C
	}
	for shown := int64(0); ; {
		select {
		case <-tick:
			if now := r.counts.totals(); now.Received != shown {
				r.out.summary(now, time.Since(started), now.Received-shown, false)
				shown = now.Received
			}
		case err := <-failed:
			return fmt.Errorf("receive requests: %w", err)
		case <-ctx.Done():
			grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), receiverGrace)
			defer cancel()
			if err := server.Shutdown(grace); err != nil {
				_ = server.Close() // the grace is over: what is still open is cut
			}
			now := r.counts.totals()
			r.out.summary(now, time.Since(started), now.Received-shown, true)
			return nil
		}
	}
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	arrived := time.Now()
	if asked(req) {
		answered := r.wanted.answer(w, req)
		if !r.quiet {
			r.out.consent(arrived, req, answered)
		}
		return
	}
	body := r.bodies.Get().(*bytes.Buffer)
	defer r.release(body)
	size, err := r.readBody(req, body)
	if err != nil && !errors.Is(err, errBodyTooLarge) {
		r.counts.broken.Add(1)
		r.out.broken(arrived, req, err, r.quiet)
		panic(http.ErrAbortHandler) // the client is disconnected
	}

	id := deliveryIDOf(req.Header)
	x := exchange{arrived: arrived, req: req, body: body.Bytes(), size: size, arrival: r.ids.arrive(id)}
	if r.keys != nil && err == nil {
		x.judged = r.keys.check(req.Context(), req.Header, x.body, arrived)
	}
	switch {
	case err != nil:
		x.chosen = answer{http.StatusRequestEntityTooLarge, err.Error()}
	case x.judged.validity == bad:
		x.chosen = answer{http.StatusUnauthorized, "the signature is wrong"}
	default:
		x.chosen = r.faults.choose(id, x.arrival)
	}
	r.counts.add(size, id != "", x.arrival, x.judged.validity, x.chosen.status)
	if !r.quiet {
		r.out.request(x)
	}
	r.faults.perform(w, req, x.chosen)
}

// An exchange is a request and what becomes of it.
type exchange struct {
	arrived time.Time // when its headers had been read
	req     *http.Request
	body    []byte // empty if it is not needed
	size    int64  // bytes of the body, also of one that was refused
	judged  judgement
	arrival int // how often its webhook-id has arrived, from 1
	chosen  answer
}

var errBodyTooLarge = errors.New("the body is larger than " + strconv.Itoa(maxReceivedBody>>20) + " MiB")

// readBody reads the body to its end, into the buffer when it is needed for
// it, and returns its size in bytes.
func (r *receiver) readBody(req *http.Request, into *bytes.Buffer) (int64, error) {
	if req.ContentLength > maxReceivedBody {
		return req.ContentLength, errBodyTooLarge
	}
	body := io.Reader(req.Body)
	if req.ContentLength < 0 {
		body = io.LimitReader(body, maxReceivedBody+1)
	}
	var size int64
	var err error
	if r.quiet && r.keys == nil {
		size, err = io.Copy(io.Discard, body)
	} else {
		size, err = into.ReadFrom(body)
	}
	if err == nil && size > maxReceivedBody {
		err = errBodyTooLarge
	}
	return size, err
}

func (r *receiver) release(body *bytes.Buffer) {
	if body.Cap() <= pooledBody {
		body.Reset()
		r.bodies.Put(body)
	}
}
