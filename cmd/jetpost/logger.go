package main

import (
	"io"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// newLogger returns the program's logger and what writes out its last lines.
// Lines are buffered for a moment: one for each request made is many.
func newLogger(w io.Writer, level, format string) (log *zap.Logger, flush func()) {
	var at zapcore.Level
	if err := at.UnmarshalText([]byte(level)); err != nil {
		at = zapcore.InfoLevel // kong has checked it
	}
	cfg := zap.NewProductionEncoderConfig()
	cfg.TimeKey, cfg.EncodeTime, cfg.EncodeDuration = "time", zapcore.RFC3339NanoTimeEncoder, zapcore.StringDurationEncoder
	encoder := zapcore.NewJSONEncoder(cfg)
	if format == "console" || format == "auto" && isTerminal(w) {
		cfg.EncodeTime, cfg.EncodeLevel = zapcore.TimeEncoderOfLayout("15:04:05.000"), zapcore.CapitalColorLevelEncoder
		encoder = zapcore.NewConsoleEncoder(cfg)
	}
	buffered := &zapcore.BufferedWriteSyncer{WS: zapcore.AddSync(w), Size: 64 << 10, FlushInterval: 100 * time.Millisecond}
	return zap.New(zapcore.NewCore(encoder, buffered, at)), func() { _ = buffered.Stop() }
}
