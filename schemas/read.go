package schemas

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"github.com/jetpost/jetpost/internal/plain"
	"github.com/jetpost/jetpost/internal/stream"
)

// Bounds of a folder, so that a wrong path given for --schemas ends in an error
// and not in an hour of reading.
const (
	maxDomains = 256
	maxFiles   = 1000                // per domain
	maxFile    = stream.MaxEventSize // bytes; an example has to fit into an event
)

// readFolder reads a folder of domains. label goes before the file names of
// problems.
func readFolder(fsys fs.FS, label string, found *problems) []*loaded {
	before := len(*found)
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		found.add(path.Join(label, "."), "cannot be read (%s): give a folder that holds one folder per domain", cause(err))
		return nil
	}
	if exists(fsys, domainFile) {
		return readDomains(fsys, label, []string{"."}, found)
	}
	var dirs []string
	for _, entry := range entries {
		// Hidden folders are those of version control and of mounted volumes.
		if strings.HasPrefix(entry.Name(), ".") || !isDir(fsys, entry.Name()) {
			continue
		}
		switch {
		case exists(fsys, path.Join(entry.Name(), domainFile)):
			dirs = append(dirs, entry.Name())
		case hasJSON(fsys, entry.Name()):
			found.add(path.Join(label, entry.Name()), "has no %s: add one with at least {\"name\": %q}", domainFile, entry.Name())
		}
	}
	if len(dirs) == 0 && len(*found) == before {
		found.add(path.Join(label, "."), "holds no domain: add a folder with a %s for each", domainFile)
	}
	if len(dirs) > maxDomains {
		found.add(path.Join(label, "."), "holds %d domains: use at most %d", len(dirs), maxDomains)
		return nil
	}
	return readDomains(fsys, label, dirs, found)
}

func readDomains(fsys fs.FS, label string, dirs []string, found *problems) []*loaded {
	var domains []*loaded
	for _, dir := range dirs {
		s := &source{dir: dir, label: path.Join(label, dir), files: map[string][]byte{}, docs: map[string]any{}}
		before := len(*found)
		s.read(fsys, found)
		d := s.build(context.Background(), found)
		if len(*found) == before {
			d.closed(found)
		}
		if len(*found) == before {
			domains = append(domains, d)
		}
	}
	return domains
}

// A source is the text of one domain's files, by name.
type source struct {
	// stored: it was registered before, so what is too costly in it is refused when it
	// comes to data, and not here.
	stored bool

	dir   string // the folder's name; "." if the domain's folder was given itself
	label string // path of the folder in problems
	files map[string][]byte
	docs  map[string]any // the same, decoded; what is broken is missing
}

// file is the path of a file in problems.
func (s *source) file(name string) string { return path.Join(s.label, name) }

// intact reports whether a file could be read and decoded. If not, that has been
// reported, and what follows from it need not be.
func (s *source) intact(name string) bool {
	_, ok := s.docs[name]
	return ok
}

// read fills in the files and reports those that can't be used.
func (s *source) read(fsys fs.FS, found *problems) {
	entries, err := fs.ReadDir(fsys, s.dir)
	if err != nil {
		found.add(s.label, "cannot be read (%s)", cause(err))
		return
	}
	if len(entries) > maxFiles {
		found.add(s.label, "holds %d files: use at most %d in a domain", len(entries), maxFiles)
		return
	}
	for _, entry := range entries {
		name := entry.Name()
		full := path.Join(s.dir, name)
		switch {
		case strings.HasPrefix(name, "."):
		case isDir(fsys, full):
			switch {
			case exists(fsys, path.Join(full, domainFile)):
				found.add(s.file(name), "is a domain inside a domain and would not be read: move it out")
			case strings.HasSuffix(name, ".json"):
				found.add(s.file(name), "is a folder: rename or remove it")
			}
		case !strings.HasSuffix(name, ".json"): // notes for people
		case kindOf(name) == unknownFile:
			found.unknownFile(s.file(name))
		default:
			s.readFile(fsys, full, name, found)
		}
	}
}

func (s *source) readFile(fsys fs.FS, full, name string, found *problems) {
	data, err := readLimited(fsys, full)
	if err == nil {
		data, err = plain.Text(data)
	}
	s.files[name] = data
	switch {
	case err != nil:
		found.add(s.file(name), "cannot be read: %s", cause(err))
		return
	case len(data) == 0:
		found.add(s.file(name), "is empty")
		return
	}
	s.decode(name, data, found)
}

// decode adds the value of a file, or reports that it has none.
func (s *source) decode(name string, data []byte, found *problems) {
	doc, f := decode(data)
	switch {
	case f == nil:
		s.docs[name] = doc
	case f.offset < 0:
		found.add(s.file(name), "%s", f.message)
	default:
		found.add(s.file(name), "%s (%s)", strings.TrimSpace(printable(f.pointer())+" "+f.message), position(data, f.offset))
	}
}

func (p *problems) unknownFile(file string) {
	p.add(file, "is none of %s, <event>%s, <event>%s, <event>.<name>%s and <name>%s, in lower-case letters, digits and underscores: rename or remove it",
		domainFile, schemaSuffix, exampleSuffix, exampleSuffix, defsSuffix)
}

var (
	errTooLarge   = fmt.Errorf("it is larger than %d KiB", maxFile>>10)
	errNotRegular = errors.New("it is not a regular file")
)

// readLimited reads a file of bounded size. It looks before it opens, because
// opening a named pipe would wait for a writer.
func readLimited(fsys fs.FS, name string) ([]byte, error) {
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, errTooLarge
	}
	return data, nil
}

// cause is err without the path, which the problem already names.
func cause(err error) error {
	if pathError, ok := errors.AsType[*fs.PathError](err); ok {
		return pathError.Err
	}
	return err
}

// isDir follows links, as do the volumes that containers mount.
func isDir(fsys fs.FS, name string) bool {
	info, err := fs.Stat(fsys, name)
	return err == nil && info.IsDir()
}

// exists is about any kind of file: a folder named domain.json is a mistake to
// report, not a reason to look elsewhere.
func exists(fsys fs.FS, name string) bool {
	_, err := fs.Stat(fsys, name)
	return err == nil
}

func hasJSON(fsys fs.FS, dir string) bool {
	names, err := fs.Glob(fsys, path.Join(dir, "*.json"))
	return err == nil && len(names) > 0
}
