package embedded

import (
	"fmt"
	"regexp"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// serverLog passes on what the server reports. Its notices are details to the
// process around it. Of its warnings and errors, which may come with every request
// of a client, only the first in a while are written.
type serverLog struct {
	log   *zap.Logger
	fatal atomic.Pointer[string] // the first reason why the server gave up

	noticed func(line string) // called for warnings and errors; may be nil
	rebuilt atomic.Bool       // that streams are read again was said
}

// rebuilding is what the server says of every stream that was written to when it was
// killed. What it knew of them is older than their messages, so it reads these: nothing is
// wrong with that, and to say it once is enough.
var rebuilding = regexp.MustCompile(`state (is )?outdated`)

const (
	sampleWindow = 10 * time.Second
	sampleFirst  = 10    // lines of one level in a window are written
	sampleEvery  = 1_000 // and one of so many after that
)

func newServerLog(log *zap.Logger, noticed func(line string)) *serverLog {
	sample := zap.WrapCore(func(core zapcore.Core) zapcore.Core {
		return zapcore.NewSamplerWithOptions(core, sampleWindow, sampleFirst, sampleEvery)
	})
	return &serverLog{log: log.Named("nats").WithOptions(sample), noticed: noticed}
}

func (l *serverLog) Noticef(format string, v ...any) { l.write(zapcore.DebugLevel, format, v) }
func (l *serverLog) Debugf(format string, v ...any)  { l.write(zapcore.DebugLevel, format, v) }
func (l *serverLog) Tracef(string, ...any)           {}

func (l *serverLog) Warnf(format string, v ...any) {
	l.notice(format, v)
	if rebuilding.MatchString(format) {
		if !l.rebuilt.Swap(true) {
			l.log.Warn("the NATS server was killed before: it reads again the streams that were written to then, which may take a moment")
		}
		l.write(zapcore.DebugLevel, format, v)
		return
	}
	l.write(zapcore.WarnLevel, format, v)
}

func (l *serverLog) Errorf(format string, v ...any) {
	l.notice(format, v)
	l.write(zapcore.ErrorLevel, format, v)
}

// Fatalf keeps the reason for Start, and does not end the process as the
// server's own logger would.
func (l *serverLog) Fatalf(format string, v ...any) {
	text := fmt.Sprintf(format, v...)
	if !l.fatal.CompareAndSwap(nil, &text) {
		l.log.Error(text)
	}
}

// notice passes on a line that may be about damaged files.
func (l *serverLog) notice(format string, v []any) {
	if l.noticed != nil {
		l.noticed(fmt.Sprintf(format, v...))
	}
}

func (l *serverLog) write(level zapcore.Level, format string, v []any) {
	if !l.log.Core().Enabled(level) {
		return
	}
	// Sampled by level, not by text: the server puts the client's address into it,
	// so that no two are the same.
	if entry := l.log.Check(level, "nats"); entry != nil {
		entry.Message = fmt.Sprintf(format, v...)
		entry.Write()
	}
}
