package embedded

import (
	"fmt"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// That streams are read again after a kill is said once, whatever their number, and does
// not take the place of what else is wrong.
func TestRebuildingIsSaidOnce(t *testing.T) {
	t.Parallel()
	core, logged := observer.New(zapcore.DebugLevel)
	var noticed []string
	l := newServerLog(zap.New(core), func(line string) { noticed = append(noticed, line) })
	for n := range 12 {
		l.Warnf("Filestore [%s] Stream state outdated, last block has additional entries, will rebuild", fmt.Sprintf("DELIVERIES_%d", n))
		l.Warnf("Filestore [%s] TTL state is outdated; attempting to recover using linear scan (seq %d to %d)", "RETRIES_00", n, n)
	}
	l.Warnf("Filestore [%s] Stream state checksum did not match", "EVENTS_git")
	var warned []string
	for _, entry := range logged.FilterLevelExact(zapcore.WarnLevel).All() {
		warned = append(warned, entry.Message)
	}
	if len(warned) != 2 || warned[1] != "Filestore [EVENTS_git] Stream state checksum did not match" {
		t.Errorf("warned of %q, want one line about all that are read again, and the other", warned)
	}
	if len(noticed) != 25 {
		t.Errorf("%d lines were looked at for damage, want all 25", len(noticed))
	}
}
