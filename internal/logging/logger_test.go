package logging

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// Libraries have their say without their words.
func TestLibraryLoggers(t *testing.T) {
	t.Parallel()
	core, logged := observer.New(zapcore.DebugLevel)
	standard := log.New(libraryWriter{zap.New(core)}, "", log.Llongfile)
	structured := slog.New(libraryHandler{zap.New(core)})
	standard.Printf("Unsolicited response received on idle HTTP channel starting with %q", "Bearer s3cr3t")
	standard.Printf("cannot do with s3cr3t: %v", errors.New("s3cr3t"))
	structured.With("key", "s3cr3t").WithGroup("s3cr3t").Error("s3cr3t", "key", "s3cr3t")
	var got []string
	for _, entry := range logged.All() {
		source, _ := entry.ContextMap()["source"].(string)
		source, _, _ = strings.Cut(source, ":")
		got = append(got, entry.Level.String()+" "+source+" "+entry.Message)
		if text := fmt.Sprint(entry.Message, entry.ContextMap()); strings.Contains(text, "s3cr3t") {
			t.Errorf("a secret is shown: %s", text)
		}
	}
	const source = "internal/logging/logger_test.go "
	want := []string{"warn " + source + textUnsolicited, "warn " + source + textLibrary, "error " + source + textLibrary}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// A handler that panics is reported with its place, not with what a request has brought.
func TestServerErrors(t *testing.T) {
	t.Parallel()
	core, logged := observer.New(zapcore.DebugLevel)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if key := r.Header.Get("X-Key"); key != "" {
			panic(key)
		}
		var none *http.Request
		_ = none.Host
	}))
	server.Config.ErrorLog = NewServerErrors(zap.New(core))
	server.Start()
	t.Cleanup(server.Close)
	for _, key := range []string{"s3cr3t", ""} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Key", key)
		if response, err := server.Client().Do(r); err == nil {
			_ = response.Body.Close()
			t.Error("the handler does not panic")
		}
	}
	server.Close() // the lines are written
	var values []any
	for _, entry := range logged.All() {
		fields := entry.ContextMap()
		values = append(values, fields["panic"])
		if stack, _ := fields["stack"].(string); !strings.Contains(stack, "logger_test.go") || strings.Contains(fmt.Sprint(fields), "s3cr3t") || entry.Level != zapcore.ErrorLevel {
			t.Errorf("got %s %v", entry.Level, fields)
		}
	}
	if len(values) != 2 || values[0] != "withheld, 6 bytes" || !strings.Contains(fmt.Sprint(values[1]), "nil pointer") {
		t.Errorf("got %q", values)
	}
}

// A line has a bound, whatever is in it.
func TestLinesAreBounded(t *testing.T) {
	t.Parallel()
	for _, format := range []string{"json", "console"} {
		var out bytes.Buffer
		log, flush := New(&out, "info", format)
		long := strings.Repeat("é\n", 1<<20)
		log.With(zap.String("role", "x")).Error(long, zap.String("text", long), zap.Error(errors.New(long)), zap.Int("n", 7), zap.Strings("list", []string{long}),
			zap.Any("any", map[string]string{"a": long}))
		log.Info("short", zap.String("text", "whole"))
		flush()
		lines := strings.SplitAfter(out.String(), "\n")
		if len(out.String()) > maxEntry || !strings.Contains(out.String(), "whole") {
			t.Errorf("%s: got %d bytes: %.300q", format, out.Len(), out.String())
		}
		var first struct {
			N    int
			Role string
			Text string
		}
		if format == "json" {
			if err := json.Unmarshal([]byte(lines[0]), &first); err != nil || first.N != 7 || first.Role != "x" || !strings.HasSuffix(first.Text, "…") {
				t.Errorf("got %+v, %v", first, err)
			}
		}
	}
}

// No library that is linked has a process-wide logger that CaptureLibraries does not
// know.
func TestNoOtherLoggers(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "../../cmd/jetpost").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, logger := range []string{"k8s.io/klog", "google.golang.org/grpc", "github.com/golang/glog", "github.com/sirupsen/logrus", "github.com/rs/zerolog", "github.com/hashicorp/go-hclog", "github.com/go-logr/logr"} {
		if strings.Contains(string(out), logger) {
			t.Errorf("%s is linked: CaptureLibraries must take its log", logger)
		}
	}
}
