package embedded

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
)

// What the server says of damage, in its own words.
func TestDamagedStream(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"Received an error looking up message for consumer '$G > Q > c': malformed or corrupt message in 1.blk: invalid checksum": "Q",
		"Filestore [KV_b] indexCacheBuf corrupt record state in /d/1.blk: dlen 1 slen 2 index 0 rl 3 lbuf 4":                      "KV_b",
		"Filestore [KV_b] WriteFullState took 3s (12 bytes)":                                                                      "",
		"Consumer create failed for '$G > Q > c': maximum consumers limit reached":                                                "",
		"127.0.0.1:4222 - cid:5 - Readloop processing time: 2s":                                                                   "",
		"JetStream resource limits exceeded for server":                                                                           "",
	} {
		if got := damagedStream(line); got != want {
			t.Errorf("%q: got %q, want %q", line, got, want)
		}
	}
}

// Files that the server cannot read are set aside, and no others.
func TestSetAside(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := &Server{log: zap.NewNop(), cfg: Config{Dir: dir, DiscardConsumer: func(stream, consumer string) bool { return stream == "Q" && consumer != "router" }}}
	at := func(parts ...string) string {
		return filepath.Join(append([]string{dir, "jetstream", "$G", "streams"}, parts...)...)
	}
	files := []string{
		at("Q", "meta.inf"), at("Q", "meta.sum"), at("Q", "msgs", "1.blk"), at("Q", "obs", "sender", "o.dat"), at("Q", "obs", "router", "o.dat"), at("Q", "obs", "second", "o.dat"),
		at("E", "meta.inf"), at("E", "obs", "sender", "o.dat"), filepath.Join(dir, "meta.inf"),
	}
	for _, name := range files {
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range []string{
		`  Stream metafile "` + at("Q", "meta.inf") + `": checksums do not match "" vs "7d46"`,
		`  Stream metafile "` + filepath.Join(dir, "meta.inf") + `": checksums do not match "" vs "7d46"`,
		`    Error unmarshalling consumer metafile "` + at("E", "obs", "sender", "meta.inf") + `": unexpected end of JSON input`,
		`    Error adding consumer '$G > Q > sender': error creating store for consumer: corrupt state file (10104)`,
		`    Error adding consumer '$G > Q > router': error creating store for consumer: corrupt state file (10104)`,
		// These files are whole.
		`  Error reading Stream metafile checksum "` + at("E", "meta.sum") + `": open meta.sum: too many open files`,
		`  Error unmarshalling stream metafile "` + at("E", "meta.inf") + `": json: unknown field "later"`,
		`    Error adding consumer '$G > Q > router': error creating store for consumer: open o.dat: too many open files (10104)`,
		`    Error adding consumer '$G > Q > second': error creating store for consumer: open o.dat: too many open files (10104)`,
		`    Error adding consumer '$G > E > sender': error creating store for consumer: corrupt state file (10104)`,
	} {
		s.noticed(line)
	}
	removed := []string{files[0], files[1], files[3]}
	for _, name := range files {
		if _, err := os.Stat(name); (err != nil) != slices.Contains(removed, name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	aside, err := os.ReadDir(AsideDir(dir))
	if err != nil || len(aside) != len(removed) || !strings.HasPrefix(aside[0].Name(), "Q-") {
		t.Errorf("set aside: %v, %v", aside, err)
	}
}
