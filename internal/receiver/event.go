package receiver

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/nats-io/nats.go"

	"github.com/jetpost/jetpost/event"
)

const (
	listedEvents  = 10 // of a batch
	listedCommits = 10 // of a push
	listedFiles   = 8  // of a commit
	shortHash     = 7  // as git abbreviates
)

// readEvents returns the events in a request, in whichever of jetpost's forms they
// are: a CloudEvent in structured, binary or batch mode, the body {type, timestamp,
// data} that Standard Webhooks suggests, that of JFrog, or the data itself beside
// a header that has its type. No event and no error means that it is none of these.
func readEvents(h http.Header, body []byte) ([]*event.Event, error) {
	contentType := strings.ToLower(h.Get("Content-Type"))
	switch {
	case strings.HasPrefix(contentType, "application/cloudevents-batch"):
		return event.ParseBatch(body)
	case strings.HasPrefix(contentType, "application/cloudevents"):
		// What jetpost delivers it has validated, by the rules of when it was stored.
		e, err := event.FromCheckedMessage(nats.Header{"content-type": {contentType}}, body)
		return []*event.Event{e}, err
	case h.Get("Ce-Specversion") != "" || h.Get("Ce-Type") != "":
		e, err := readBinary(h, body)
		return []*event.Event{e}, err
	}
	if name := h.Get(ssmEventHeader) + h.Get(githubEventHeader); name != "" { // a request has one of them
		return []*event.Event{{Type: "git." + name, Data: body}}, nil
	}
	var in struct {
		Type      string          `json:"type"`
		Timestamp string          `json:"timestamp"`
		Domain    string          `json:"domain"`
		EventType string          `json:"event_type"`
		Source    string          `json:"source"`
		Data      json.RawMessage `json:"data"`
	}
	_ = json.Unmarshal(body, &in) // what is not JSON has no data
	switch {
	case in.Data == nil:
	case in.Type != "":
		return []*event.Event{{Type: in.Type, Time: in.Timestamp, Data: in.Data}}, nil
	case in.Domain != "" && in.EventType != "":
		return []*event.Event{{Type: in.Domain + "." + in.EventType, Source: in.Source, Data: in.Data}}, nil
	}
	return nil, nil
}

// readBinary reads what the receiver shows of an event in binary mode (HTTP
// protocol binding 1.0.2, section 3.1): the extensions stay in the headers.
func readBinary(h http.Header, body []byte) (*event.Event, error) {
	if got := h.Get("Ce-Specversion"); got != event.SpecVersion {
		return nil, fmt.Errorf("ce-specversion is %q, not %q", got, event.SpecVersion)
	}
	if h.Get("Ce-Datacontenttype") != "" {
		return nil, errors.New("ce-datacontenttype must not exist: content-type says it")
	}
	e := &event.Event{DataContentType: h.Get("Content-Type"), Data: body}
	for _, attribute := range []struct {
		name string
		to   *string
	}{
		{"ce-id", &e.ID},
		{"ce-source", &e.Source},
		{"ce-type", &e.Type},
		{"ce-subject", &e.Subject},
		{"ce-time", &e.Time},
		{"ce-dataschema", &e.DataSchema},
	} {
		value, err := event.DecodeHeaderValue(h.Get(attribute.name))
		if err != nil {
			return nil, fmt.Errorf("%s %w", attribute.name, err)
		}
		*attribute.to = value
	}
	if e.ID == "" || e.Source == "" || e.Type == "" {
		return e, e.Validate()
	}
	return e, nil
}

// describe puts the data of an event into lines for people. Types it does not
// know, and data that is not as their schema says, have none.
func describe(e *event.Event) []string {
	switch domain, event, _ := strings.Cut(e.Type, "."); {
	case e.Type == "git.push":
		return describePush(e.Data)
	case domain == "artifact":
		return describeArtifact(event, e.Data)
	}
	return nil
}

type pushData struct {
	Ref     string `json:"ref"`
	Before  string `json:"before"`
	After   string `json:"after"`
	Commits []struct {
		ID      string `json:"id"`
		Message string `json:"message"`
		Author  struct {
			Name string `json:"name"`
		} `json:"author"`
		Added    []string `json:"added"`
		Removed  []string `json:"removed"`
		Modified []string `json:"modified"`
	} `json:"commits"`
	Pusher struct {
		Login string `json:"login"`
	} `json:"pusher"`
}

func describePush(data []byte) []string {
	var push pushData
	if json.Unmarshal(data, &push) != nil || push.Ref == "" {
		return nil
	}
	var what string
	switch {
	case noCommit(push.After):
		what = "deleted, was " + abbreviate(push.Before)
	case noCommit(push.Before):
		what = "new at " + abbreviate(push.After)
	default:
		what = abbreviate(push.Before) + ".." + abbreviate(push.After)
	}
	head := push.Ref + "  " + what + "  " + plural(len(push.Commits), "commit")
	if push.Pusher.Login != "" {
		head += " by " + push.Pusher.Login
	}
	lines := []string{head}
	for i := range push.Commits {
		if i == listedCommits {
			lines = append(lines, fmt.Sprintf("  and %d more", len(push.Commits)-i))
			break
		}
		commit := &push.Commits[i]
		subject, _, _ := strings.Cut(strings.TrimSpace(commit.Message), "\n")
		lines = append(lines, "  "+abbreviate(commit.ID)+"  "+subject+"  ("+commit.Author.Name+")")
		var files []string
		for _, group := range []struct {
			letter string
			names  []string
		}{{"A ", commit.Added}, {"M ", commit.Modified}, {"D ", commit.Removed}} {
			for _, name := range group.names {
				files = append(files, group.letter+name)
			}
		}
		if len(files) > listedFiles {
			files = append(files[:listedFiles:listedFiles], fmt.Sprintf("and %d more", len(files)-listedFiles))
		}
		if len(files) > 0 {
			lines = append(lines, strings.Repeat(" ", shortHash+4)+strings.Join(files, "  "))
		}
	}
	return lines
}

// noCommit reports the all-zero name by which git means "nothing".
func noCommit(hash string) bool { return strings.Trim(hash, "0") == "" }

func abbreviate(hash string) string { return hash[:min(len(hash), shortHash)] }

func describeArtifact(event string, data []byte) []string {
	var artifact struct {
		Repository string `json:"repo_key"`
		Path       string `json:"path"`
		SHA256     string `json:"sha256"`
		Size       int64  `json:"size"`
		Source     string `json:"source_repo_path"`
		Target     string `json:"target_repo_path"`
	}
	if json.Unmarshal(data, &artifact) != nil || artifact.Repository == "" {
		return nil
	}
	line := artifact.Repository + "/" + artifact.Path
	if artifact.Source != "" && artifact.Target != "" {
		line = artifact.Source + " -> " + artifact.Target
	}
	line = event + "  " + line + "  " + readableBytes(artifact.Size)
	if artifact.SHA256 != "" {
		line += "  sha256 " + artifact.SHA256[:min(len(artifact.SHA256), 12)]
	}
	return []string{line}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// readableBytes is a size in at most four significant digits.
func readableBytes(n int64) string {
	switch {
	case n < 1<<10:
		return fmt.Sprintf("%d B", n)
	case n < 1<<20:
		return fmt.Sprintf("%.1f KiB", float64(n)/(1<<10))
	case n < 1<<30:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
}
