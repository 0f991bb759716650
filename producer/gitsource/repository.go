package gitsource

import (
	"context"
	"net/url"
	"os"
	osuser "os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jetpost/jetpost/internal/plain"
)

// maxDescription in bytes.
const maxDescription = 1024

// A pusher is the author of a push, as far as the hook knows.
type pusher struct{ Login, Name, Email string }

// pusher looks for the name that a git server passes to its hooks: one that was
// authenticated. On the same machine and over plain SSH there is only the user
// of this process; git's own settings then give a name and an address.
func (r *Repository) pusher(ctx context.Context) pusher {
	for _, name := range [...]string{"GIT_PUSHER", "REMOTE_USER", "GL_USERNAME", "GL_USER"} {
		if login := r.env(name); login != "" {
			p := pusher{Login: login, Email: r.env("GIT_PUSHER_EMAIL")}
			if p.Email == "" && strings.Contains(login, "@") {
				p.Email = login
			}
			return p
		}
	}
	var p pusher
	// "Name <address> seconds zone". It fails where git has no name configured.
	if line, err := r.git.output(ctx, "var", "GIT_COMMITTER_IDENT"); err == nil {
		name, rest, _ := strings.Cut(line, " <")
		p.Name = name
		p.Email, _, _ = strings.Cut(rest, "> ")
	}
	if u, err := osuser.Current(); err == nil {
		p.Login = u.Username
	}
	if p.Login == "" {
		p.Login = p.Email
	}
	return p
}

func (r *Repository) env(name string) string {
	for _, entry := range r.cfg.Env {
		if value, found := strings.CutPrefix(entry, name+"="); found {
			return value
		}
	}
	return ""
}

// describe fills in the repository object of the payload. What git does not
// know keeps a neutral value; that is better than no event.
func (r *Repository) describe(ctx context.Context, defaultRef string, empty bool, at time.Time) repository {
	htmlURL, cloneURL := r.addresses()
	fullName := r.cfg.Owner + "/" + r.cfg.Name
	return repository{
		ID:            stableID("repository", r.path),
		Owner:         newUser(r.cfg.Owner, "", ""),
		Name:          r.cfg.Name,
		FullName:      fullName,
		Description:   r.description(),
		Empty:         empty,
		Size:          r.size(ctx),
		HTMLURL:       htmlURL,
		SSHURL:        r.cfg.SSHURL,
		CloneURL:      cloneURL,
		DefaultBranch: strings.TrimPrefix(defaultRef, branchPrefix),
		CreatedAt:     zeroTime,
		UpdatedAt:     at.Format(time.RFC3339),
		Permissions:   permissions{Push: true, Pull: true},
		URIs:          uris{API: r.cfg.APIURL, HTML: htmlURL, GitHTTPS: cloneURL},
	}
}

// addresses returns the repository's web page and where git clones it
// from. Without a web interface there is no page, but there is a place to clone
// from for those on the same machine.
func (r *Repository) addresses() (html, clone string) {
	if base := strings.TrimRight(r.cfg.BaseURL, "/"); base != "" {
		html = base + "/" + url.PathEscape(r.cfg.Owner) + "/" + url.PathEscape(r.cfg.Name)
	}
	switch {
	case r.cfg.CloneURL != "":
		clone = r.cfg.CloneURL
	case html != "":
		clone = html + ".git"
	default:
		clone = (&url.URL{Scheme: "file", Path: filepath.ToSlash(r.path)}).String()
	}
	return html, clone
}

// defaultRef is the branch that HEAD stands on, or empty when it is detached.
func (r *Repository) defaultRef(ctx context.Context) string {
	ref, err := r.git.output(ctx, "symbolic-ref", "--quiet", "HEAD")
	if err != nil {
		return ""
	}
	return ref
}

// empty reports whether the repository has no ref at all.
func (r *Repository) empty(ctx context.Context) bool {
	out, err := r.git.output(ctx, "for-each-ref", "--count=1", "--format=%(objectname)")
	return err == nil && out == ""
}

// size in KiB of the repository's objects, loose and packed.
func (r *Repository) size(ctx context.Context) int64 {
	out, err := r.git.output(ctx, "count-objects", "-v")
	if err != nil {
		return 0
	}
	var total int64
	for line := range strings.Lines(out) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if n, err := strconv.ParseInt(value, 10, 64); err == nil && (name == "size" || name == "size-pack") {
			total += n
		}
	}
	return total
}

// description is the file that gitweb shows, unless it is git's template.
func (r *Repository) description() string {
	f, err := os.Open(filepath.Join(r.path, "description"))
	if err != nil {
		return ""
	}
	defer f.Close()
	b := make([]byte, maxDescription)
	n, _ := f.Read(b)
	content, err := plain.Text(b[:n])
	if err != nil {
		return ""
	}
	text := strings.TrimSpace(string(content))
	if strings.HasPrefix(text, "Unnamed repository") {
		return ""
	}
	return text
}
