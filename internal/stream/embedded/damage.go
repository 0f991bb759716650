package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"time"

	"go.uber.org/zap"
)

// What the server says when it finds files damaged. It passes over a stream whose
// description it cannot read, and over a consumer whose state it cannot read, and leaves
// their files where they are: there they are in the way of every later start, and of a
// consumer that is made anew.
var (
	damageWords      = regexp.MustCompile(`(?i)corrupt|malformed|checksum|bad message|inconsisten|detected skew`)
	damageConsumer   = regexp.MustCompile(`'[^' ]+ > ([^' ]+) > [^' ]+'`)
	damageStore      = regexp.MustCompile(`Filestore \[([^\]]+)\]`)
	damagedMeta      = regexp.MustCompile(`Stream metafile "([^"]+)": checksums do not match`)
	damagedMetaSum   = regexp.MustCompile(`Error reading Stream metafile checksum "([^"]+)"`)
	consumerNotAdded = regexp.MustCompile(`Error adding consumer '[^' ]+ > ([^' ]+) > ([^' ]+)': error creating store`)
	// unable is why a file cannot be read that is whole. What the server cannot understand
	// although its checksum is right is whole, too: a later version has written it.
	unable = regexp.MustCompile(`too many open files|no space left|permission denied|cannot allocate memory`)
)

// damagedStream is the stream of which a line of the server's log says that its messages
// are damaged; empty when it says no such thing.
func damagedStream(line string) string {
	if !damageWords.MatchString(line) {
		return ""
	}
	for _, pattern := range []*regexp.Regexp{damageConsumer, damageStore} {
		if found := pattern.FindStringSubmatch(line); found != nil {
			return found[1]
		}
	}
	return ""
}

// noticed does about a line of the server's log what can be done.
func (s *Server) noticed(line string) {
	if unable.MatchString(line) {
		return
	}
	found := damagedMeta.FindStringSubmatch(line)
	if found == nil {
		found = damagedMetaSum.FindStringSubmatch(line)
	}
	if found != nil {
		dir := filepath.Dir(found[1])
		if inStreams, err := filepath.Rel(filepath.Join(s.cfg.Dir, "jetstream"), dir); err == nil && filepath.IsLocal(inStreams) && filepath.Base(filepath.Dir(dir)) == "streams" {
			s.setAside(filepath.Base(dir)+"-meta.inf", filepath.Join(dir, "meta.inf"))
			s.setAside(filepath.Base(dir)+"-meta.sum", filepath.Join(dir, "meta.sum"))
		}
		return
	}
	if found := consumerNotAdded.FindStringSubmatch(line); found != nil && s.cfg.DiscardConsumer != nil && s.cfg.DiscardConsumer(found[1], found[2]) {
		s.setAside(found[1]+"-"+found[2], filepath.Join(streamsDir(s.cfg.Dir), found[1], "obs", found[2]))
		if s.cfg.Discarded != nil {
			s.cfg.Discarded(found[1], found[2])
		}
		return
	}
	if name := damagedStream(line); name != "" && s.cfg.Damaged != nil {
		s.cfg.Damaged(name)
	}
}

// AsideDir is the folder in a data directory with damaged files that were set aside.
func AsideDir(dir string) string { return filepath.Join(dir, "damaged") }

// KeepsMessages reports whether a data directory has messages of a stream, also of one
// that the server has left out because it cannot read its description.
func KeepsMessages(dir, stream string) bool {
	blocks, err := filepath.Glob(filepath.Join(streamsDir(dir), stream, "msgs", "*.blk"))
	return err == nil && slices.ContainsFunc(blocks, func(path string) bool {
		info, err := os.Stat(path)
		return err == nil && info.Size() > 0
	})
}

// streamsDir is where the server keeps streams.
func streamsDir(dir string) string { return filepath.Join(dir, "jetstream", "$G", "streams") }

// setAside moves a file or folder out of the way of the server. Nothing is deleted.
func (s *Server) setAside(as, path string) {
	if _, err := os.Lstat(path); err != nil {
		return // it is not there
	}
	dir := AsideDir(s.cfg.Dir)
	to := filepath.Join(dir, as+"-"+strconv.FormatInt(time.Now().UnixNano(), 36))
	err := os.MkdirAll(dir, 0o700)
	if err == nil {
		err = os.Rename(path, to)
	}
	if err != nil {
		s.log.Error("cannot set a damaged file aside: move it away by hand, and restart", zap.String("file", path), zap.Error(err))
		return
	}
	s.log.Error(fmt.Sprintf("a file of NATS is damaged, and was set aside: %s", filepath.Base(path)), zap.String("file", path), zap.String("to", to))
}
