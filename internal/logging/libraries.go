package logging

import (
	"bytes"
	"context"
	"log"
	"log/slog"
	"path"
	"runtime"
	"strconv"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// Of what libraries say about one thing, this much is written: a receiver can make
// net/http write a line for each request.
const (
	libraryWindow = 10 * time.Second
	libraryFirst  = 3
)

// textUnsolicited is what net/http's way to say "Unsolicited response received" becomes.
const textUnsolicited = "a receiver has sent more than its answer: its connection is closed, and what it sent is dropped"

// textLibrary is what everything else becomes.
const textLibrary = "a library has written to the standard logger; its text is withheld, since it may hold a secret"

// CaptureLibraries has what libraries write to the process-wide loggers, log and
// log/slog, pass through zap. Their texts are withheld: they quote what a receiver has
// sent, and that may be the secrets of any subscription, in whatever spelling. The place
// in the source that a line was written at says what it is about.
//
// Call restore when zap is about to end.
func CaptureLibraries(to *zap.Logger) (restore func()) {
	to = to.Named("library").WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, libraryWindow, libraryFirst, 0)
	}))
	oldWriter, oldFlags, oldPrefix, oldDefault := log.Writer(), log.Flags(), log.Prefix(), slog.Default()
	slog.SetDefault(slog.New(libraryHandler{to})) // it takes the standard logger too, so it comes first
	log.SetOutput(libraryWriter{to})
	log.SetFlags(log.Llongfile)
	log.SetPrefix("")
	return func() {
		slog.SetDefault(oldDefault)
		log.SetOutput(oldWriter)
		log.SetFlags(oldFlags)
		log.SetPrefix(oldPrefix)
	}
}

// A libraryWriter gets the lines of the standard logger: "/usr/…/transport.go:2482: text".
type libraryWriter struct{ to *zap.Logger }

// Write writes a line.
func (w libraryWriter) Write(line []byte) (int, error) {
	source, text, ok := bytes.Cut(line, []byte(": "))
	if !ok {
		source, text = nil, line
	}
	message := textLibrary
	if bytes.HasPrefix(text, []byte("Unsolicited response")) {
		message = textUnsolicited
	}
	writeLibrary(w.to, zapcore.WarnLevel, message, shortSource(string(source)), len(text))
	return len(line), nil
}

// A libraryHandler gets the records of log/slog.
type libraryHandler struct{ to *zap.Logger }

// Enabled reports whether a record would be written.
func (h libraryHandler) Enabled(_ context.Context, level slog.Level) bool {
	return h.to.Core().Enabled(zapLevel(level))
}

// Handle writes a record.
func (h libraryHandler) Handle(_ context.Context, r slog.Record) error {
	frame, _ := runtime.CallersFrames([]uintptr{r.PC}).Next()
	writeLibrary(h.to, zapLevel(r.Level), textLibrary, shortSource(frame.File+":"+strconv.Itoa(frame.Line)), len(r.Message))
	return nil
}

// WithAttrs drops what it is given, as Handle does.
func (h libraryHandler) WithAttrs([]slog.Attr) slog.Handler { return h }

// WithGroup is as WithAttrs.
func (h libraryHandler) WithGroup(string) slog.Handler { return h }

func zapLevel(level slog.Level) zapcore.Level {
	switch {
	case level >= slog.LevelError:
		return zapcore.ErrorLevel
	case level >= slog.LevelWarn:
		return zapcore.WarnLevel
	case level >= slog.LevelInfo:
		return zapcore.InfoLevel
	}
	return zapcore.DebugLevel
}

// writeLibrary writes one line, unless there were many of its place.
func writeLibrary(to *zap.Logger, level zapcore.Level, message, source string, size int) {
	if line := to.Check(level, message+" "+source); line != nil { // which is what is sampled
		line.Message = message
		line.Write(zap.String("source", source), zap.Int("bytes", size))
	}
}

// shortSource leaves the package and the file of a place in the source.
func shortSource(source string) string {
	folder, file := path.Split(source)
	parent, name := path.Split(strings.TrimSuffix(folder, "/"))
	return cutTo(path.Join(path.Base(parent), name, file), cutText)
}

// NewServerErrors is what an HTTP server reports to.
func NewServerErrors(to *zap.Logger) *log.Logger {
	return log.New(serverErrors{to.Named("http").WithOptions(zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, libraryWindow, 10*libraryFirst, 0)
	}))}, "", 0)
}

// serverErrors gets the lines of an HTTP server: connections that fail, and panics.
type serverErrors struct{ to *zap.Logger }

// Write writes a line. Of a panic that is where it was and what the runtime has found;
// the value of another one may be something that a request has brought.
func (w serverErrors) Write(line []byte) (int, error) {
	text := strings.TrimSpace(string(line))
	head, stack, panicked := strings.Cut(text, "\ngoroutine ")
	if !panicked {
		w.to.Warn("HTTP server reports a problem", zap.String("error", cutTo(text, cutText)))
		return len(line), nil
	}
	who, value, _ := strings.Cut(strings.TrimPrefix(head, "http: panic serving "), ": ")
	if !strings.HasPrefix(value, "runtime error: ") && !strings.HasPrefix(value, "interface conversion: ") {
		value = "withheld, " + strconv.Itoa(len(value)) + " bytes"
	}
	w.to.Error("a request has panicked", zap.String("client", cutTo(who, cutText)), zap.String("panic", cutTo(value, cutText)),
		zap.String("stack", cutTo("goroutine "+stack, maxEntry/2)))
	return len(line), nil
}
