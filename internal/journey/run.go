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
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	subscription = `{"id":"journey","types":["git.push"],"endpoint":{"url":%q}}`
	attributes   = `{"specversion":"1.0","id":"1","source":"/journey","type":"git.push","data":%s}`
	patience     = time.Minute // for each thing that is waited for
)

// run starts the server on an empty data folder, creates a subscription, publishes an
// event if asked to, and stops the server when the delivery is settled. It returns the
// executed blocks and how many statements each has.
func run(ctx context.Context, program, dir string, publish bool) (map[string]int, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	coverage, data := filepath.Join(dir, "coverage"), filepath.Join(dir, "data")
	if err := os.MkdirAll(coverage, 0o700); err != nil {
		return nil, err
	}
	var log bytes.Buffer
	server := exec.CommandContext(ctx, program, "serve", "--data", data, "--http", "127.0.0.1:0", "--allow-target", "127.0.0.0/8") //nolint:gosec // built by measure
	server.Env = append(os.Environ(), "GOCOVERDIR="+coverage, "XDG_CONFIG_HOME="+dir)
	server.Stdout, server.Stderr = &log, &log
	if err := server.Start(); err != nil {
		return nil, err
	}
	err := drive(ctx, data, publish)
	if err == nil {
		err = server.Process.Signal(syscall.SIGTERM)
	} else {
		cancel()
	}
	if err = errors.Join(err, server.Wait()); err != nil {
		return nil, fmt.Errorf("%w; the server wrote:\n%s", err, log.String())
	}
	profile := filepath.Join(dir, "profile")
	if err := command(ctx, "go", "tool", "covdata", "textfmt", "-i="+coverage, "-o="+profile); err != nil {
		return nil, err
	}
	return executed(profile)
}

// drive does what a user does with the server in data.
func drive(ctx context.Context, data string, publish bool) error {
	arrived := make(chan struct{}, 1)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		select {
		case arrived <- struct{}{}:
		default:
		}
	}))
	defer receiver.Close()
	var url, token []byte
	err := until(ctx, "the server is ready", func() (err error) {
		if url, err = os.ReadFile(filepath.Join(data, "server.url")); err != nil { //nolint:gosec // in a folder of our own
			return err
		}
		if token, err = os.ReadFile(filepath.Join(data, "admin.token")); err != nil { //nolint:gosec // in a folder of our own
			return err
		}
		_, err = call(ctx, http.MethodGet, string(url), token, "/readyz", "", nil)
		return err
	})
	if err != nil {
		return err
	}
	do := func(method, path, contentType, body string) (string, error) {
		return call(ctx, method, string(url), token, path, contentType, strings.NewReader(body))
	}
	if _, err := do(http.MethodPost, "/v1/subscriptions", "application/json", fmt.Sprintf(subscription, receiver.URL)); err != nil {
		return err
	}
	answer, err := do(http.MethodGet, "/v1/event-types/git.push", "", "")
	if err != nil {
		return err
	}
	var eventType struct {
		Examples []struct {
			Data json.RawMessage `json:"data"`
		} `json:"examples"`
	}
	if err := json.Unmarshal([]byte(answer), &eventType); err != nil || len(eventType.Examples) == 0 {
		return fmt.Errorf("git.push has no example: %w", err)
	}
	if publish {
		if _, err := do(http.MethodPost, "/v1/events", "application/cloudevents+json", fmt.Sprintf(attributes, eventType.Examples[0].Data)); err != nil {
			return err
		}
		select {
		case <-arrived:
		case <-time.After(patience):
			return errors.New("the delivery did not arrive")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil // what is under way is settled before the server stops
}

// until repeats try until it succeeds.
func until(ctx context.Context, what string, try func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, err)
		}
	}
}

func call(ctx context.Context, method, url string, token []byte, path, contentType string, body io.Reader) (string, error) {
	request, err := http.NewRequestWithContext(ctx, method, strings.TrimSpace(url)+path, body)
	if err != nil {
		return "", err
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	if contentType != "" {
		request.Header.Set("Content-Type", contentType)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode >= http.StatusMultipleChoices {
		err = fmt.Errorf("%s %s: %s: %s", method, path, response.Status, answer)
	}
	return string(answer), err
}

func command(ctx context.Context, name string, args ...string) error {
	out, err := exec.CommandContext(ctx, name, args...).CombinedOutput() //nolint:gosec // of this program
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, out)
	}
	return nil
}

// executed reads a coverage profile: the blocks that were executed, with the number of
// their statements.
func executed(profile string) (map[string]int, error) {
	f, err := os.Open(profile) //nolint:gosec // written by run
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	blocks := make(map[string]int)
	for lines := bufio.NewScanner(f); lines.Scan(); {
		// github.com/…/file.go:12.34,56.7 statements count
		block, numbers, ok := strings.Cut(lines.Text(), " ")
		statements, count, found := strings.Cut(numbers, " ")
		if !ok || !found || statements == "0" || count == "0" {
			continue
		}
		n, err := strconv.Atoi(statements)
		if err != nil {
			return nil, fmt.Errorf("coverage profile %s: %w", profile, err)
		}
		blocks[block] = n
	}
	return blocks, nil
}
