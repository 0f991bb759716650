package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// A data folder that an earlier version has written is opened, the API and the command
// line answer what they did, and what was under way goes on: deliveries that wait, timers
// and redrives. testdata/earlier/make.sh has made the folder and the answers. The clock
// shows the day of then, so that nothing is too old to be kept.
func TestDataOfAnEarlierVersion(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	written := unpack(t, filepath.Join("testdata", "earlier", "data.tar.gz"), filepath.Dir(dir))
	s := prepareServerIn(t, dir, "--allow-target", "127.0.0.0/8")
	s.clock = newClock(t)
	s.clock.set(t, time.Until(written.Add(time.Minute)))
	s.restart(t)
	s.awaitReady(t, "")

	wanted, err := os.ReadFile(filepath.Join("testdata", "earlier", "answers.txt"))
	if err != nil {
		t.Fatal(err)
	}
	requests, err := os.ReadFile(filepath.Join("testdata", "earlier", "requests.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var got bytes.Buffer
	for line := range strings.Lines(string(requests)) {
		line = strings.TrimSpace(line)
		fmt.Fprintf(&got, "### %s\n", line)
		switch how, what, _ := strings.Cut(line, " "); how {
		case "GET":
			got.Write(s.do(t, http.MethodGet, what, nil).body)
		case "RUN":
			p := prepareProgramAt(t, s.home, strings.Fields(what)...)
			p.cmd.Env = append(p.cmd.Env, "TZ=UTC")
			s.clock.give(p)
			p.start(t)
			if code := p.wait(t); code != 0 {
				t.Errorf("jetpost %s: exit code %d\n%s", what, code, p.stderr)
			}
			got.WriteString(p.stdout.String())
		}
	}
	if diff := cmp.Diff(timeless(wanted), timeless(got.Bytes())); diff != "" {
		t.Errorf("other answers than those of the earlier version (-then +now):\n%s", diff)
	}

	c := startCatcher(t, nil)
	for _, id := range []string{"paused", "retried", "dead"} {
		s.call(t, http.MethodPatch, "/v1/subscriptions/"+id, object{"endpoint": object{"url": c.URL, "query": "key=hidden"}}, nil)
	}
	s.call(t, http.MethodPost, "/v1/subscriptions/paused/resume", nil, nil)
	c.waitFor(t, 3)
	s.call(t, http.MethodPost, "/v1/redrives", object{"subscription": "dead"}, nil)
	c.waitFor(t, 6)
	s.stop(t)
	s.clock.set(t, 12*time.Hour)
	s.restart(t)
	c.waitFor(t, 9)
}

// timeless are the lines of answers, without what depends on when was asked.
func timeless(answers []byte) []string {
	asked := regexp.MustCompile(`"(oldest_age|as_of)":"[^"]*"`)
	return strings.Split(asked.ReplaceAllString(string(answers), `"$1":"…"`), "\n")
}

// unpack unpacks an archive, and returns when the last of its files was written.
func unpack(t *testing.T, archive, to string) (written time.Time) {
	t.Helper()
	f, err := os.Open(archive) //nolint:gosec // of this repository
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	zipped, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	for files := tar.NewReader(zipped); ; {
		header, err := files.Next()
		if errors.Is(err, io.EOF) {
			return written
		}
		if err != nil {
			t.Fatal(err)
		}
		if header.ModTime.After(written) {
			written = header.ModTime
		}
		path := filepath.Join(to, filepath.FromSlash(header.Name)) //nolint:gosec // of this repository
		if header.Typeflag == tar.TypeDir {
			err = os.MkdirAll(path, 0o700)
		} else {
			var content []byte
			if content, err = io.ReadAll(files); err == nil {
				err = os.WriteFile(path, content, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
