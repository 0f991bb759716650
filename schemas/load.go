package schemas

import (
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/jetpost/jetpost/internal/stream"
)

// Load reads the shipped domains and those of the extra folders. A folder holds
// one folder per domain, or is itself the folder of one domain. The error is a
// *LoadError with everything that is wrong in all folders; nothing of a broken
// folder is used.
//
// A domain of an extra folder can't take the name or the types of another one,
// shipped or not.
func Load(extra ...fs.FS) (*Catalogue, error) {
	var found problems
	domains := readFolder(shipped, "", &found)
	for _, d := range domains {
		d.Shipped = true
	}
	for _, fsys := range extra {
		label := ""
		if named, ok := fsys.(folder); ok {
			label = named.path
		}
		domains = append(domains, readFolder(fsys, label, &found)...)
	}
	c := assemble(domains, &found)
	if len(found) > 0 {
		return nil, &LoadError{Problems: found}
	}
	return c, nil
}

// Dir is the folder at path, for Load. It differs from os.DirFS in that errors
// name files by their whole path.
func Dir(path string) fs.FS { return folder{os.DirFS(path), path} }

type folder struct {
	fs.FS

	path string
}

// A FileProblem is what is wrong with one file or folder.
type FileProblem struct {
	File    string // its path; "." is the extra folder itself; empty for all files of a domain
	Message string // continues the path, and says what to do
}

// A LoadError lists everything that keeps a catalogue from being loaded.
type LoadError struct {
	Problems []FileProblem
}

// Error puts each problem on a line of its own.
func (e *LoadError) Error() string {
	var b strings.Builder
	b.WriteString("load schemas:")
	for _, p := range e.Problems {
		separator := " "
		if len(e.Problems) > 1 {
			separator = "\n  "
		}
		b.WriteString(separator)
		if p.File != "" {
			b.WriteString(printable(p.File) + ": ")
		}
		b.WriteString(p.Message)
	}
	return b.String()
}

// problems collects all problems of the files, so that one run shows them all.
type problems []FileProblem

func (p *problems) add(file, format string, args ...any) {
	*p = append(*p, FileProblem{File: file, Message: fmt.Sprintf(format, args...)})
}

// A loaded is a domain and the file that defines it.
type loaded struct {
	Domain

	file string
}

// assemble makes the index over all domains and reports where they collide.
func assemble(domains []*loaded, found *problems) *Catalogue {
	c := &Catalogue{types: map[string]*Type{}}
	files := map[string]string{} // of each domain
	for _, d := range domains {
		if other, taken := files[d.Name]; taken {
			found.add(d.file, "the domain %s is already defined by %s: choose another name", d.Name, other)
			continue
		}
		files[d.Name] = d.file
		if d.Shipped {
			files[d.Name] = "jetpost itself"
		}
		d.checkReserved(found)
		if i := slices.IndexFunc(c.domains, func(o *Domain) bool { return o.TypePrefix == d.TypePrefix }); i >= 0 {
			found.add(d.file, "the type_prefix %s already belongs to the domain %s: choose another one", d.TypePrefix, c.domains[i].Name)
			continue
		}
		c.domains = append(c.domains, &d.Domain)
	}
	c.sort()
	for _, d := range c.domains {
		for i := range d.Types {
			t := &d.Types[i]
			// Without this check a domain could take over another one's types by
			// a longer prefix.
			if owner := c.owner(t.Name); owner != d {
				found.add(files[d.Name], "the type %s would belong to the domain %s, whose type_prefix %s is longer: change one of the prefixes",
					t.Name, owner.Name, owner.TypePrefix)
				continue
			}
			c.types[t.Name] = t
		}
	}
	return c
}

// checkReserved keeps others from having types that read like jetpost's own. The
// prefix itself is taken.
func (d *loaded) checkReserved(found *problems) {
	const own = stream.OperationalDomain + "."
	if !d.Shipped && strings.HasPrefix(d.TypePrefix, own) && d.TypePrefix != own {
		found.add(d.file, "has the type_prefix %s: types that begin with %s are jetpost's own, choose another one", d.TypePrefix, own)
	}
}

func (c *Catalogue) sort() {
	slices.SortFunc(c.domains, func(a, b *Domain) int { return strings.Compare(a.Name, b.Name) })
}

// with returns a catalogue that has d as well, in place of a domain that was
// registered under the same name. It reports where d collides with others, which
// keep what they have.
func (c *Catalogue) with(d *loaded, found *problems) *Catalogue {
	next := c.without(d.Name)
	before := len(*found)
	d.checkReserved(found)
	for _, other := range next.domains {
		switch {
		case other.Name == d.Name:
			found.add(d.file, "names the domain %s, which %s: choose another name", d.Name, other.origin())
		case other.TypePrefix == d.TypePrefix:
			found.add(d.file, "has the type_prefix %s, which already belongs to the domain %s: choose another one", d.TypePrefix, other.Name)
		}
	}
	next.domains = append(next.domains, &d.Domain)
	next.sort()
	for i := range d.Types {
		t := &d.Types[i]
		if owner := next.owner(t.Name); owner.Name != d.Name {
			found.add(d.file, "has the type %s, which belongs to the domain %s by its longer type_prefix %s: change the type_prefix", t.Name, owner.Name, owner.TypePrefix)
		}
		next.types[t.Name] = t
	}
	for name, t := range c.types {
		if t.Domain != d.Name && strings.HasPrefix(name, d.TypePrefix) && next.owner(name).Name == d.Name {
			found.add(d.file, "has the type_prefix %s, which would take the type %s from the domain %s: choose another one", d.TypePrefix, name, t.Domain)
		}
	}
	if len(*found) > before {
		return c
	}
	return next
}

// without returns a catalogue of its own that lacks a registered domain.
func (c *Catalogue) without(name string) *Catalogue {
	next := &Catalogue{types: make(map[string]*Type, len(c.types)), broken: c.Broken(), revision: c.revision}
	for _, d := range c.domains {
		if d.Name == name && d.Registered() {
			continue
		}
		next.domains = append(next.domains, d)
		for i := range d.Types {
			next.types[d.Types[i].Name] = &d.Types[i]
		}
	}
	next.broken = slices.DeleteFunc(next.broken, func(b Broken) bool { return b.Domain == name })
	return next
}

// origin says where a domain is from, after "which".
func (d *Domain) origin() string {
	switch {
	case d.Shipped:
		return "comes with jetpost"
	case d.Registered():
		return "is registered"
	default:
		return "is from a folder given with --schemas"
	}
}
