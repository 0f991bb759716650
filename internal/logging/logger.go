// Package logging makes the log of the program, and takes what libraries log.
package logging

import (
	"fmt"
	"io"
	"strings"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"

	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
)

const (
	// maxEntry is how long a line of the log may be, in bytes: what others choose, and an
	// error quotes, must not fill the disk that the log is on. One that is longer is
	// written with its texts cut.
	maxEntry = 16 << 10
	// cutText is what is left of each then.
	cutText = 512
)

// New returns the program's logger and what writes out its last lines.
// Lines are buffered for a moment: one for each request made is many.
func New(w io.Writer, level, format string) (log *zap.Logger, flush func()) {
	var at zapcore.Level
	if err := at.UnmarshalText([]byte(level)); err != nil {
		at = zapcore.InfoLevel // kong has checked it
	}
	cfg := zap.NewProductionEncoderConfig()
	cfg.TimeKey, cfg.EncodeTime, cfg.EncodeDuration = "time", zapcore.RFC3339NanoTimeEncoder, zapcore.StringDurationEncoder
	encoder := zapcore.NewJSONEncoder(cfg)
	if format == "console" || format == "auto" && terminal.IsTerminal(w) {
		cfg.EncodeTime, cfg.EncodeLevel = zapcore.TimeEncoderOfLayout("15:04:05.000"), zapcore.CapitalColorLevelEncoder
		encoder = linesEncoder{zapcore.NewConsoleEncoder(cfg)}
	}
	buffered := &zapcore.BufferedWriteSyncer{WS: zapcore.AddSync(w), Size: 64 << 10, FlushInterval: 100 * time.Millisecond}
	return zap.New(zapcore.NewCore(boundedEncoder{visibleEncoder{encoder}}, buffered, at)), func() { _ = buffered.Stop() }
}

// boundedEncoder writes no line that is much longer than maxEntry.
type boundedEncoder struct{ zapcore.Encoder }

// Clone keeps the bound.
func (e boundedEncoder) Clone() zapcore.Encoder { return boundedEncoder{e.Encoder.Clone()} }

// EncodeEntry writes a line.
func (e boundedEncoder) EncodeEntry(entry zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	line, err := e.Encoder.EncodeEntry(entry, fields)
	if err != nil || line.Len() <= maxEntry {
		return line, err
	}
	line.Free()
	entry.Message, entry.Stack = cutTo(entry.Message, cutText), cutTo(entry.Stack, cutText)
	cut := make([]zapcore.Field, 0, len(fields))
	for _, field := range fields {
		switch field.Type { //nolint:exhaustive // all others may be as long as they like
		case zapcore.StringType:
			field.String = cutTo(field.String, cutText)
		case zapcore.BoolType, zapcore.DurationType, zapcore.Float64Type, zapcore.Int64Type, zapcore.Int32Type, zapcore.Uint64Type, zapcore.Uint32Type, zapcore.TimeType:
		default:
			field = zap.String(field.Key, cutTo(fmt.Sprint(field.Interface), cutText))
		}
		cut = append(cut, field)
	}
	return e.Encoder.EncodeEntry(entry, cut)
}

// visibleEncoder escapes what a terminal would obey: a log is read on one, be it years
// later. JSON stays JSON with the same values.
type visibleEncoder struct{ zapcore.Encoder }

// Clone goes on escaping.
func (e visibleEncoder) Clone() zapcore.Encoder { return visibleEncoder{e.Encoder.Clone()} }

// EncodeEntry writes a line.
func (e visibleEncoder) EncodeEntry(entry zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	line, err := e.Encoder.EncodeEntry(entry, fields)
	if err != nil {
		return line, err
	}
	// Styled, for the colour of the level. An escape is longer than what it stands for.
	if escaped := plain.Styled(line.Bytes()); len(escaped) != line.Len() {
		line.Reset()
		_, _ = line.Write(escaped)
	}
	return line, nil
}

// linesEncoder keeps a message in its line and without colours of its own: the console
// form has it as it is. Its fields are JSON.
type linesEncoder struct{ zapcore.Encoder }

// Clone is one of these too.
func (e linesEncoder) Clone() zapcore.Encoder { return linesEncoder{e.Encoder.Clone()} }

// EncodeEntry writes a line.
func (e linesEncoder) EncodeEntry(entry zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	entry.Message, entry.LoggerName, entry.Stack = plain.Line(entry.Message), plain.Line(entry.LoggerName), plain.Escape(entry.Stack)
	return e.Encoder.EncodeEntry(entry, fields)
}

func cutTo(text string, size int) string {
	if len(text) <= size {
		return text
	}
	return strings.ToValidUTF8(text[:size], "") + "…"
}
