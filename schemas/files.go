package schemas

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/jetpost/jetpost/internal/schema/wording"
	"github.com/jetpost/jetpost/internal/stream"
)

// Files are the JSON files of one domain by their names: domain.json, and beside it
// schemas, examples and definitions, as README.md in this folder describes them.
type Files map[string]json.RawMessage

// A bundle is how files travel together: over HTTP, and in the catalog bucket.
type bundle struct {
	Files Files `json:"files"`
}

// DecodeFiles reads {"files": {"domain.json": {…}, …}}. The error is a *LoadError.
// The content of the files is not checked: see NewDomain.
func DecodeFiles(data []byte) (Files, error) {
	var found problems
	files := decodeFiles(data, &found)
	if len(found) > 0 {
		return nil, &LoadError{Problems: found}
	}
	return files, nil
}

func decodeFiles(data []byte, found *problems) Files {
	if _, f := decode(data); f != nil {
		at := strings.TrimSpace(printable(f.pointer()) + " " + f.message)
		if f.offset >= 0 {
			at += " (" + position(data, f.offset) + ")"
		}
		found.add("", "%s", at)
		return nil
	}
	var b bundle
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&b); err != nil {
		found.add("", "is not {\"files\": {\"domain.json\": {…}, …}}: %s", strings.TrimPrefix(err.Error(), "json: "))
		return nil
	}
	if len(b.Files) == 0 {
		found.add("", "has no files: write {\"files\": {\"domain.json\": {…}, …}}")
	}
	return b.Files
}

// NewDomain makes the domain of that name of its files. The error is a *LoadError
// with everything that is wrong in all of them, among them examples that their own
// schemas refuse.
func NewDomain(name string, files Files) (*Domain, error) {
	var found problems
	d := newDomain(context.Background(), name, files, false, &found)
	if len(found) > 0 {
		return nil, &LoadError{Problems: found}
	}
	return &d.Domain, nil
}

// newDomain ends with ctx; what is found then does not count.
func newDomain(ctx context.Context, name string, files Files, stored bool, found *problems) *loaded {
	before := len(*found)
	s := &source{stored: stored, dir: name, files: map[string][]byte{}, docs: map[string]any{}}
	if len(files) > maxFiles {
		found.add("", "has %d files: use at most %d in a domain", len(files), maxFiles)
		return nil
	}
	if _, ok := files[domainFile]; !ok {
		found.add(domainFile, "is missing: add it with at least {\"name\": %q}", name)
	}
	for _, file := range slices.Sorted(maps.Keys(files)) {
		s.add(file, files[file], found)
	}
	if len(*found) > before {
		return nil
	}
	d := s.build(ctx, found)
	if len(*found) == before {
		d.closed(found)
	}
	return d
}

// add takes the text of a file that is not read from a folder.
func (s *source) add(name string, data []byte, found *problems) {
	if kindOf(name) == unknownFile {
		found.unknownFile(wording.Cut(name))
		return
	}
	if len(data) > maxFile {
		found.add(name, "has %d KiB: use at most %d", len(data)>>10, maxFile>>10)
		return
	}
	var compact bytes.Buffer
	if json.Compact(&compact, data) == nil {
		data = compact.Bytes()
	}
	s.files[name] = data
	s.decode(name, data, found)
}

// A record is a domain in the catalog bucket.
type record struct {
	// Format is raised when older versions of jetpost must not read the record.
	Format  int       `json:"format"`
	Updated time.Time `json:"updated_at"`
	Files   Files     `json:"files"`
}

const recordFormat = 1

// encodeRecord refuses what does not fit into one message.
func encodeRecord(d *Domain) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // the files stay as they are
	if err := encoder.Encode(record{Format: recordFormat, Updated: d.UpdatedAt, Files: d.files}); err != nil {
		return nil, fmt.Errorf("encode domain %s: %w", d.Name, err)
	}
	if b.Len() > stream.MaxDomain {
		var found problems
		largest := slices.MaxFunc(slices.Collect(maps.Keys(d.files)), func(a, b string) int { return len(d.files[a]) - len(d.files[b]) })
		found.add("", "take %d KiB together, a registered domain may have %d; the largest is %s with %d KiB: make examples smaller, or several domains",
			(b.Len()+1023)>>10, stream.MaxDomain>>10, largest, (len(d.files[largest])+1023)>>10)
		return nil, &LoadError{Problems: found}
	}
	return b.Bytes(), nil
}

// decodeRecord reads what encodeRecord has written, here or in another version.
func decodeRecord(name string, value []byte, revision uint64) (*loaded, error) {
	if _, f := decode(value); f != nil {
		return nil, fmt.Errorf("read domain %s: %s", name, strings.TrimSpace("its record "+f.pointer())+" "+f.message)
	}
	var r record
	if err := json.Unmarshal(value, &r); err != nil {
		return nil, fmt.Errorf("read domain %s: %w", name, err)
	}
	if r.Format != recordFormat {
		return nil, fmt.Errorf("read domain %s: its record has the format %d, this version of jetpost reads %d", name, r.Format, recordFormat)
	}
	var found problems
	d := newDomain(context.Background(), name, r.Files, true, &found)
	if len(found) > 0 {
		return nil, fmt.Errorf("read domain %s: %w", name, &LoadError{Problems: found})
	}
	d.Revision, d.UpdatedAt = revision, r.Updated
	return d, nil
}
