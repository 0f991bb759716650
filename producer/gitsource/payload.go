package gitsource

import (
	"bytes"
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jetpost/jetpost/event"
)

// The data of a git.push event: the payload that Google Secure Source Manager
// sends for a push, with its keys in its order. A key that git knows nothing
// about has the value it has in a system without that feature.
type pushData struct {
	Secret     string     `json:"secret"` // always empty
	Ref        string     `json:"ref"`
	Before     string     `json:"before"`
	After      string     `json:"after"`
	CompareURL string     `json:"compare_url"`
	Commits    []commit   `json:"commits"`
	HeadCommit *commit    `json:"head_commit"` // always null
	Repository repository `json:"repository"`
	Pusher     user       `json:"pusher"`
	Sender     user       `json:"sender"`

	// The last two are jetpost's and only there when something was left out to
	// keep the event within its size: commits, the end of a message, files.
	CommitsTotal int  `json:"commits_total,omitempty"`
	Truncated    bool `json:"truncated,omitempty"`
}

type commit struct {
	ID           string   `json:"id"`
	Message      string   `json:"message"`
	URL          string   `json:"url"`
	Author       person   `json:"author"`
	Committer    person   `json:"committer"`
	Verification *string  `json:"verification"` // always null
	Timestamp    string   `json:"timestamp"`    // of the committer
	Added        []string `json:"added"`
	Removed      []string `json:"removed"`
	Modified     []string `json:"modified"`
}

type person struct {
	Name     string `json:"name"`
	Email    string `json:"email"`
	Username string `json:"username"` // the address again
}

type user struct {
	ID         int64  `json:"id"`
	Login      string `json:"login"`
	FullName   string `json:"full_name"`
	Email      string `json:"email"`
	AvatarURL  string `json:"avatar_url"`
	Language   string `json:"language"`
	IsAdmin    bool   `json:"is_admin"`
	LastLogin  string `json:"last_login"`
	Created    string `json:"created"`
	Restricted bool   `json:"restricted"`
	Username   string `json:"username"`
}

type repository struct {
	ID                        int64           `json:"id"`
	Owner                     user            `json:"owner"`
	Name                      string          `json:"name"`
	FullName                  string          `json:"full_name"`
	Description               string          `json:"description"`
	Empty                     bool            `json:"empty"`
	Private                   bool            `json:"private"`
	Fork                      bool            `json:"fork"`
	Template                  bool            `json:"template"`
	Parent                    *repository     `json:"parent"`
	Mirror                    bool            `json:"mirror"`
	Size                      int64           `json:"size"` // KiB
	HTMLURL                   string          `json:"html_url"`
	SSHURL                    string          `json:"ssh_url"`
	CloneURL                  string          `json:"clone_url"`
	OriginalURL               string          `json:"original_url"`
	Website                   string          `json:"website"`
	StarsCount                int             `json:"stars_count"`
	ForksCount                int             `json:"forks_count"`
	WatchersCount             int             `json:"watchers_count"`
	OpenIssuesCount           int             `json:"open_issues_count"`
	OpenPRCounter             int             `json:"open_pr_counter"`
	ReleaseCounter            int             `json:"release_counter"`
	DefaultBranch             string          `json:"default_branch"`
	Archived                  bool            `json:"archived"`
	CreatedAt                 string          `json:"created_at"`
	UpdatedAt                 string          `json:"updated_at"`
	Permissions               permissions     `json:"permissions"`
	HasIssues                 bool            `json:"has_issues"`
	InternalTracker           internalTracker `json:"internal_tracker"`
	HasWiki                   bool            `json:"has_wiki"`
	HasPullRequests           bool            `json:"has_pull_requests"`
	HasProjects               bool            `json:"has_projects"`
	IgnoreWhitespaceConflicts bool            `json:"ignore_whitespace_conflicts"`
	AllowMergeCommits         bool            `json:"allow_merge_commits"`
	AllowRebase               bool            `json:"allow_rebase"`
	AllowRebaseExplicit       bool            `json:"allow_rebase_explicit"`
	AllowSquashMerge          bool            `json:"allow_squash_merge"`
	AvatarURL                 string          `json:"avatar_url"`
	Internal                  bool            `json:"internal"`
	MirrorInterval            string          `json:"mirror_interval"`
	URIs                      uris            `json:"uris"`
}

// permissions are those of the pusher.
type permissions struct {
	Admin bool `json:"admin"`
	Push  bool `json:"push"`
	Pull  bool `json:"pull"`
}

type internalTracker struct {
	EnableTimeTracker                bool `json:"enable_time_tracker"`
	AllowOnlyContributorsToTrackTime bool `json:"allow_only_contributors_to_track_time"`
	EnableIssueDependencies          bool `json:"enable_issue_dependencies"`
}

type uris struct {
	API      string `json:"api"`
	HTML     string `json:"html"`
	GitHTTPS string `json:"git_https"`
}

// zeroTime stands for an unknown time, as in SSM's payloads.
const zeroTime = "0001-01-01T00:00:00Z"

func newPerson(i ident) person {
	return person{Name: i.name, Email: i.email, Username: i.email}
}

func newUser(login, name, email string) user {
	return user{
		ID: stableID("user", login), Login: login, FullName: name, Email: email,
		LastLogin: zeroTime, Created: zeroTime, Username: login,
	}
}

func (d *detail) payload(htmlURL string) commit {
	c := commit{
		ID:        d.id,
		Message:   d.message,
		Author:    newPerson(d.author),
		Committer: newPerson(d.committer),
		Timestamp: timestamp(d.when),
		Added:     []string{}, Removed: []string{}, Modified: []string{},
	}
	if htmlURL != "" {
		c.URL = htmlURL + "/commit/" + d.id
	}
	c.Added = append(c.Added, d.added...)
	c.Removed = append(c.Removed, d.removed...)
	c.Modified = append(c.Modified, d.modified...)
	return c
}

// encode writes v as compact JSON. Text that is not UTF-8, as file names and
// messages may be, gets U+FFFD in its place. Nothing is escaped for HTML.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// newEvent wraps data in a CloudEvent. The subject of a branch is its short
// name, so that a filter can say "main"; that of any other ref is its full name.
// The id is made from the repository, the update and the time of the push: the
// same for every attempt to publish this push, another one when a ref moves from
// a to b once more.
func (r *Repository) newEvent(u Update, at time.Time, data []byte) *event.Event {
	subject, isBranch := u.branch()
	if !isBranch {
		subject = u.Ref
	}
	sum := sha256.Sum256([]byte(strings.Join([]string{
		r.path, u.Ref, u.Before, u.After, strconv.FormatInt(at.UnixNano(), 10),
	}, "\x00")))
	return &event.Event{
		ID:              "push_" + strings.ToLower(base32.HexEncoding.EncodeToString(sum[:])[:26]),
		Source:          r.cfg.Source,
		Type:            EventType,
		Subject:         printable(subject),
		Time:            at.Format(time.RFC3339Nano),
		DataContentType: "application/json",
		Data:            data,
	}
}

// stableID makes a positive number that is always the same for the same thing.
// It fits the signed 32 bits that some receivers keep ids in.
func stableID(kind, name string) int64 {
	sum := sha256.Sum256([]byte(kind + "\x00" + name))
	return int64(binary.BigEndian.Uint32(sum[:])>>1) | 1
}

// printable replaces what CloudEvents does not allow in an attribute.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < 0x20 || c >= 0x7f && c <= 0x9f || c >= 0xfdd0 && c <= 0xfdef || c&0xfffe == 0xfffe {
			return utf8.RuneError
		}
		return c
	}, strings.ToValidUTF8(s, string(utf8.RuneError)))
}
