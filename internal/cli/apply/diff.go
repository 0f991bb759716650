package apply

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/aymanbagabas/go-udiff"
	"github.com/tidwall/gjson"

	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/plain"
	"github.com/jetpost/jetpost/internal/subscription"
)

// A difference is a field that would be changed. Before or After is missing where
// there is no such field. Secrets are placeholders in both.
type difference struct {
	Field  string          `json:"field"`
	Before json.RawMessage `json:"before,omitempty"`
	After  json.RawMessage `json:"after,omitempty"`
	Secret bool            `json:"secret,omitempty"`
}

// differences are those of a step.
func (s *step) differences() []difference {
	found := []difference{}
	switch s.does {
	case applyCreated:
		for _, field := range s.fields() {
			found = append(found, difference{Field: field, After: rawAt(s.after, field), Secret: isSecret(field)})
		}
	case applyChanged:
		for _, field := range s.changes {
			found = append(found, fieldDifferences(field, rawAt(s.before, field), rawAt(s.after, field))...)
		}
	}
	return found
}

// fields are those that the file of a new subscription has, as far as the server's
// answer shows them.
func (s *step) fields() []string {
	var fields []string
	for _, field := range []string{
		"description", "types", "filters", "endpoint.url", "endpoint.query", "endpoint.method", "endpoint.headers", "endpoint.secret_headers",
		"endpoint.timeout", "endpoint.proxy", "endpoint.tls", "profile", "settings", "template.payload", "template.secrets", "handshake.mode", "handshake.rate",
		"delivery.max_in_flight", "delivery.ordered", "delivery.rate", "delivery.senders", "delivery.retry.schedule", "delivery.retry.jitter",
		"delivery.max_age", "delivery.breaker.mode", "delivery.breaker.failures", "delivery.breaker.disable_after", "state", "labels", "secrets",
	} {
		_, given := s.wanted.lines[field]
		given = given || field == "endpoint.query" || field == "state" && s.withState() // from the URL, and by --without-secrets
		if field == "secrets" {
			given = s.signedByFile()
		}
		if given && rawAt(s.after, field) != nil {
			fields = append(fields, field)
		}
	}
	return fields
}

// signedByFile reports whether the file has the signing secrets of a new subscription,
// or it needs none: otherwise the server makes one.
func (s *step) signedByFile() bool {
	return s.wanted == nil || len(s.wanted.sub.Secrets) > 0 && !s.wanted.sub.Secrets[0].Secret.IsPlaceholder() || rawAt(s.after, "secrets") == nil
}

func (s *step) withState() bool {
	return string(rawAt(s.after, "state")) != `"`+string(subscription.Active)+`"`
}

// isSecret reports whether a field holds secrets.
func isSecret(field string) bool {
	return slices.Contains([]string{"secrets", "endpoint.query", "endpoint.secret_headers", "template.secrets"}, field) || secretField.MatchString(field)
}

// rawAt is the JSON of a field; nil where there is none.
func rawAt(object json.RawMessage, field string) json.RawMessage {
	for _, secrets := range []string{"endpoint.secret_headers.", "template.secrets."} {
		if name, ok := strings.CutPrefix(field, secrets); ok { // which may have any characters
			if found, ok := gjson.GetBytes(object, strings.TrimSuffix(secrets, ".")).Map()[name]; ok {
				return json.RawMessage(found.Raw)
			}
			return nil
		}
	}
	found := gjson.GetBytes(object, field)
	if !found.Exists() {
		return nil
	}
	return json.RawMessage(found.Raw)
}

// fieldDifferences takes maps apart: each of their entries is a field.
func fieldDifferences(field string, before, after json.RawMessage) []difference {
	secret := isSecret(field)
	b, a := gjson.ParseBytes(before), gjson.ParseBytes(after)
	if field == "secrets" || !b.IsObject() && !a.IsObject() {
		return []difference{{Field: field, Before: before, After: after, Secret: secret}}
	}
	was, is := b.Map(), a.Map()
	var found []difference
	for _, name := range slices.Sorted(maps.Keys(union(was, is))) {
		one := difference{Field: field + "." + name, Secret: secret}
		if v, ok := was[name]; ok {
			one.Before = json.RawMessage(v.Raw)
		}
		if v, ok := is[name]; ok {
			one.After = json.RawMessage(v.Raw)
		}
		if string(one.Before) != string(one.After) {
			found = append(found, one)
		}
	}
	return found
}

func union[V any](a, b map[string]V) map[string]bool {
	all := map[string]bool{}
	for name := range a {
		all[name] = true
	}
	for name := range b {
		all[name] = true
	}
	return all
}

// print prints a difference as the lines that go and those that come:
//
//   - delivery.rate: 5
//   - delivery.rate: 10
//     ~ endpoint.query: another secret, which is not shown
func (d *difference) print(w io.Writer) {
	s := output.StyleOf(w)
	line := func(sign, colour, text string) {
		_, _ = fmt.Fprintln(w, s.Paint("    "+sign+" "+text, colour))
	}
	name := plain.Shown(d.Field, plain.FieldLimit)
	switch before, after := readable(d.Before), readable(d.After); {
	case d.Secret && d.Before != nil && d.After != nil && d.Field == "secrets":
		line("~", output.Yellow, name+": other signing secrets, which are not shown")
	case d.Secret && d.Before != nil && d.After != nil:
		line("~", output.Yellow, name+": another secret, which is not shown")
	case d.Secret && d.Field == "secrets" && d.Before == nil:
		line("+", output.Green, name+": "+keyring.Placeholder)
	case d.Secret && d.Field == "secrets" && d.After == nil:
		line("-", output.Red, name+": "+keyring.Placeholder)
	case strings.Contains(before+after, "\n"):
		line("~", output.Yellow, name+":")
		for _, change := range lineChanges(before, after) {
			colour := map[byte]string{'-': output.Red, '+': output.Green}[change[0]]
			line("    "+change[:1], colour, plain.Shown(change[1:], s.Limit(plain.LineLimit)))
		}
	default:
		if d.Before != nil {
			line("-", output.Red, name+": "+plain.Shown(before, s.Limit(plain.LineLimit)))
		}
		if d.After != nil {
			line("+", output.Green, name+": "+plain.Shown(after, s.Limit(plain.LineLimit)))
		}
	}
}

// readable is a text as it is, and anything else in JSON.
func readable(raw json.RawMessage) string {
	if v := gjson.ParseBytes(raw); v.Type == gjson.String {
		return v.String()
	}
	return string(raw)
}

// maxDiffLines bounds the work for a text that has been replaced by another one.
const maxDiffLines = 1000

// lineChanges are the lines of two texts, those that are only in one of them marked,
// with one line of what both have around them.
func lineChanges(before, after string) []string {
	if was, is := strings.Count(before, "\n")+1, strings.Count(after, "\n")+1; was > maxDiffLines || is > maxDiffLines {
		return []string{fmt.Sprintf("-%d lines", was), fmt.Sprintf("+%d lines", is)}
	}
	// With an end for the last line, which is none for the library otherwise.
	before, after = before+"\n", after+"\n"
	diff, err := udiff.ToUnifiedDiff("", "", before, udiff.Lines(before, after), 1)
	if err != nil { // its own edits do not fit
		return []string{"-" + err.Error()}
	}
	var changes []string
	signs := map[udiff.OpKind]string{udiff.Delete: "-", udiff.Insert: "+", udiff.Equal: " "}
	for _, hunk := range diff.Hunks {
		for _, line := range hunk.Lines {
			changes = append(changes, signs[line.Kind]+strings.TrimSuffix(line.Content, "\n"))
		}
	}
	return changes
}
