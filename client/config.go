package client

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Config says which server to call, and how. URL is all that it needs.
type Config struct {
	// URL is the base URL of the server: https://jetpost.example.com.
	URL string
	// Token is that of the API, sent as a bearer token. Default: none.
	Token string
	// HTTPClient makes the requests; it must not have a Timeout, which would end what is
	// followed. Default: one with TLS.
	HTTPClient *http.Client
	// TLS is for the default HTTPClient: a private authority, a client certificate.
	TLS *tls.Config
	// UserAgent is what servers log of the program. Default: jetpost-go.
	UserAgent string
	// Timeout bounds one request with its answer, but nothing that is streamed. Default: 1
	// min.
	Timeout time.Duration
	// Silence is how long a server may send nothing, not even an empty line, of what is
	// followed, until the connection is taken for dead. Default: 1 min.
	Silence time.Duration
	// Retries is how often a call that may be repeated is repeated. Default: 3; negative:
	// never.
	Retries int
	// MaxRetryAfter is the longest time that a server can have a call wait for its
	// repetition; one that asks for more is not called again. Default: 1 min.
	MaxRetryAfter time.Duration
	// WrapError gets every error of a call, and returns what the caller gets: so a program
	// can say what it knows about it. errors.As must find the original. Default: as it is.
	WrapError func(error) error
}

func (c Config) withDefaults() Config {
	if c.HTTPClient == nil {
		c.HTTPClient = &http.Client{}
		if c.TLS != nil {
			c.HTTPClient.Transport = &http.Transport{
				Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, TLSClientConfig: c.TLS.Clone(),
				TLSHandshakeTimeout: 10 * time.Second, IdleConnTimeout: 90 * time.Second,
			}
		}
	}
	if c.UserAgent == "" {
		c.UserAgent = "jetpost-go"
	}
	if c.Timeout <= 0 {
		c.Timeout = time.Minute
	}
	if c.Silence <= 0 {
		c.Silence = time.Minute
	}
	if c.Retries == 0 {
		c.Retries = 3
	}
	if c.MaxRetryAfter <= 0 {
		c.MaxRetryAfter = time.Minute
	}
	if c.WrapError == nil {
		c.WrapError = func(err error) error { return err }
	}
	return c
}

// A Client calls the API of one server. It may be used by several goroutines.
type Client struct {
	Attempts      Attempts
	Audit         Audit
	DeadLetters   DeadLetters
	Domains       Domains
	Events        Events
	EventTypes    EventTypes
	Redrives      Redrives
	Repositories  Repositories
	Senders       Senders
	Storage       Storage
	Subscriptions Subscriptions
	Tokens        Tokens
}

// New returns a client. It does not call the server.
func New(cfg Config) (*Client, error) {
	cfg.URL = strings.TrimRight(cfg.URL, "/")
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("base URL %q: write it as https://host:port", cfg.URL)
	}
	if u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, errors.New("the base URL has a user name, a query or a fragment: leave them out")
	}
	if cfg.HTTPClient != nil && cfg.TLS != nil {
		return nil, errors.New("HTTPClient and TLS are given: put the TLS configuration into the transport of the HTTP client")
	}
	s := &server{cfg.withDefaults()}
	return &Client{
		Attempts: Attempts{s}, Audit: Audit{s}, DeadLetters: DeadLetters{s}, Domains: Domains{s}, Events: Events{s}, EventTypes: EventTypes{s},
		Redrives: Redrives{s}, Repositories: Repositories{s}, Senders: Senders{s}, Storage: Storage{s}, Subscriptions: Subscriptions{s}, Tokens: Tokens{s},
	}, nil
}
