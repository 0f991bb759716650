package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/alecthomas/kong"
	"go.uber.org/zap"
	"go.yaml.in/yaml/v3"

	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/logging"
	"github.com/jetpost/jetpost/internal/testkit"
)

const (
	// hostileWire is what a stranger writes, as it may be in a JSON string: characters that
	// a terminal obeys, some as they are and some escaped, and a byte that is no text.
	hostileWire = "\u007f\u0080\u009b31m\u202a\u202e\u2066\u2069\u200e\u200f\u061c\u2028\u2029\ufeff\U000e0041" +
		"\xff" + `\u0000\u0007\u001b[2J\u001b]0;x\u0007\r\u0085\u202dEND\nFORGED`
	// hostile is the same for readers of the JSON.
	hostile = "\u007f\u0080\u009b31m\u202a\u202e\u2066\u2069\u200e\u200f\u061c\u2028\u2029\ufeff\U000e0041" +
		"\ufffd\x00\x07\x1b[2J\x1b]0;x\x07\r\u0085\u202dEND\nFORGED"
)

// obeyed are the characters that a terminal must never get.
func obeyed(r rune) bool {
	return r < 0x20 && r != '\n' && r != '\t' || r >= 0x7f && r <= 0x9f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 ||
		r == 0x200e || r == 0x200f || r == 0x061c || r == 0x2028 || r == 0x2029
}

func checkTerminal(t *testing.T, what, text string) {
	t.Helper()
	if i := strings.IndexFunc(text, obeyed); i >= 0 {
		t.Errorf("%s prints %q", what, text[max(0, i-60):min(len(text), i+60)])
	}
	if !utf8.ValidString(text) {
		t.Errorf("%s prints invalid UTF-8: %q", what, text)
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "FORGED") {
			t.Errorf("%s prints a line of a stranger's own: %q", what, text)
		}
	}
}

// typedText matches what commands read as something else than text.
var typedText = regexp.MustCompile(`^([0-9]{4}-[0-9]{2}-[0-9]{2}T.*|[0-9.]+[smhµn].*|[0-9a-f]{64})$`)

// spoilt is an answer with something hostile behind every text in it.
func spoilt(answer []byte) []byte {
	dec := json.NewDecoder(bytes.NewReader(answer))
	dec.UseNumber()
	var v any
	if dec.Decode(&v) != nil {
		return append(answer, hostile...)
	}
	var spoil func(name string, v any) any
	spoil = func(name string, v any) any {
		switch v := v.(type) {
		case string:
			if v == "" || name == "next_cursor" || name == "outcome" || typedText.MatchString(v) {
				return v
			}
			return v + "HOSTILE"
		case []any:
			for i := range v {
				v[i] = spoil("", v[i])
			}
		case map[string]any:
			for _, member := range slices.Collect(maps.Keys(v)) {
				value := spoil(member, v[member])
				if name == "labels" || name == "attributes" || name == "data" { // names that anybody chooses
					delete(v, member)
					member += "HOSTILE"
				}
				v[member] = value
			}
		}
		return v
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(spoil("", v)); err != nil {
		return nil
	}
	return bytes.ReplaceAll(bytes.TrimSpace(b.Bytes()), []byte("HOSTILE"), []byte(hostileWire))
}

// answers are those that this server, which delivers nothing, has nothing for.
func answers() map[string]string {
	const letter = `{"sequence":7,"delivery_id":"dlv_7","subscription_id":"ci","reason":"exhausted","at":"2026-11-30T06:00:00Z","status":500,"error":"e","attempts":1,
		"response_body":"no","event":{"id":"1","source":"/s","type":"git.push","subject":"main"},"attributes":{"id":"1","type":"git.push"},"headers":{"a":["b"]},"data":"text"}`
	const job = `{"id":"job1","state":"done","total":2,"done":1,"failed":1,"failures":[{"sequence":7,"error":"gone"}],"error":"x","started_at":"2026-11-30T06:00:00Z","ended_at":"2026-11-30T06:00:01Z","by_reason":{"exhausted":1},"by_subscription":{"ci":1}}`
	return map[string]string{
		"/v1/dead-letters":               `{"items":[` + letter + `]}`,
		"/v1/dead-letters/7":             letter,
		"/v1/redrives":                   `{"items":[` + job + `]}`,
		"/v1/redrives/job1":              job,
		"/v1/redrives/job1/cancel":       job,
		"/v1/dead-letters/7/redrive":     `{"delivery_id":"dlv_7","subscription_id":"ci","state":"paused"}`,
		"/v1/senders":                    `{"items":[{"id":"s1","host":"h","version":"v","started":"2026-11-30T06:00:00Z","last_seen":"2026-11-30T06:00:00Z","subscriptions":1}]}`,
		"/v1/storage":                    `{"installation":"i","losses":[{"stream":"S","detail":"d","found":"2026-11-30T06:00:00Z"}],"unowned_queues":[{"stream":"Q","subscription":"x","messages":1}]}`,
		"/v1/backlogs":                   `{"items":[{"subscription_id":"ci","state":"active","breaker":"open","waiting":1}]}`,
		"/v1/subscriptions/ci/breaker":   `{"state":"open","since":"2026-11-30T06:00:00Z","reason":"r","last_error":"refused"}`,
		"/v1/subscriptions/ci/reconcile": `{"since":"2026-11-30T06:00:00Z","owed":1,"missing":1,"items":[{"domain":"git","sequence":1,"stored":"2026-11-30T06:00:00Z","event_id":"1","event_type":"git.push","delivery_id":"dlv_1"}]}`,
		"/v1/subscriptions/ci/test":      `{"delivery_id":"dlv_t","event_type":"git.push","state":"paused"}`,
		"/v1/deliveries/dlv_1/redeliver": `{"delivery_id":"dlv_1","subscription_id":"ci","state":"paused"}`,
		"/v1/subscriptions/ci/handshake": `{"id":"ci","state":"active","handshake":{"mode":"required","consent":"refused","reason":"r","origin":"o"}}`,
	}
}

// spoil has the server answer with spoilt answers.
func (s *apiServer) spoil() {
	canned := answers()
	s.setIntercept(func(w http.ResponseWriter, r *http.Request) {
		recorded := httptest.NewRecorder()
		if text, ok := canned[r.URL.Path]; ok {
			_, _ = recorded.WriteString(text)
		} else {
			s.pass(recorded, r)
		}
		maps.Copy(w.Header(), recorded.Header())
		w.Header().Del("Content-Length")
		w.WriteHeader(recorded.Code)
		_, _ = w.Write(spoilt(recorded.Body.Bytes()))
	})
}

// No command gives a terminal what a stranger has written for it, in whatever form: each
// is run against a server all of whose texts are hostile.
func TestCommandsDoNotObeyStrangers(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	const data = `{"repo_key":"libs","path":"a/b","name":"b","sha256":"0","size":1}`
	s.recordThree()
	s.cli("publish", "--type", "artifact.deployed", "--source", "/cli", "--id", "e1", "--data", data).ok()
	s.cli("repository", "put", "libs", "--class", "local").ok()
	s.record("ci", "dlv_1", func(a *delivery.Attempt) { a.Error, a.ResponseBody = "refused", "no" })
	event := testkit.File(t, "event.json", `{"specversion":"1.0","id":"e9","source":"/s","type":"artifact.deployed","data":`+data+`}`)
	file := testkit.File(t, "sub.yaml", "id: new\ntypes: [git.push]\ndescription: d\nlabels: {a: b}\nendpoint: {url: 'http://127.0.0.1:9000/'}\n")
	changed := testkit.File(t, "ci.yaml", "id: ci\ntypes: [git.push]\ndescription: |\n  one\n  two\nendpoint: {url: 'http://127.0.0.1:9000/'}\n")
	datafile := testkit.File(t, "data.json", "{}")
	domain := shopDomain(t)
	s.cli("token", "create", "n", "--role", "operator").ok()
	s.cli("subscription", "create", "--id", "odd", "--types", "git.push", "--url", "http://127.0.0.1:9000/", "--description", "a\u202eb\u2028\u061c", "--label", "x=\u2066").ok()
	for _, format := range []string{"table", "json", "yaml"} { // to read what it exports it has to be right
		r := s.cli("export", "odd", "-o", format).ok(`a\u202eb`, `\u2066`)
		checkTerminal(t, "export -o "+format, r.stdout)
		s.cliWith(t.Context(), r.stdout, "apply", "-f", "-", "--dry-run").ok("1 unchanged")
	}
	s.spoil()

	commands := []string{
		"subscription list", "subscription get ci", "subscription get unknown", "subscription secret ci", "subscription pause ci", "subscription resume ci", "subscription rotate ci",
		"subscription create --id two --types git.push --url http://127.0.0.1:9000/", "subscription create --id two --types no.such --url ftp://x", "subscription update ci --description x",
		"subscription backlog", "subscription backlog ci", "subscription breaker ci", "subscription reconcile ci", "subscription test ci --wait 0s", "subscription handshake ci --wait 0s", "subscription delete two",
		"attempts", "attempts ci", "deadletters", "deadletters show 7", "deadletters redrive 7", "deadletters redrive ci --dry-run", "deadletters jobs", "deadletters jobs job1", "deadletters cancel job1", "deadletters discard 7",
		"redeliver ci dlv_1 --wait 0s", "repository list", "repository show libs", "repository put more --class local", "repository delete more",
		"token create n --role operator", "token list", "token show", "token show unknown", "token update unknown --name m", "token revoke unknown",
		"audit", "audit show 1", "audit head", "audit verify", "storage", "storage accept-loss git --reason x", "senders",
		"schemas list", "schemas show artifact.deployed", "schemas show artifact.deployed --schema", "schemas show artifact.deployed --example", "schemas show no.such",
		"schemas validate artifact.deployed " + datafile, "schemas push " + domain, "schemas delete shop",
		"events list", "events list --data", "events show artifact/1", "events show artifact/1 --story", "events show artifact/1 --story --subscription ci", "events show artifact/99",
		"explain artifact/1", "explain artifact/1 --subscription ci", "explain --event " + event, "publish --type artifact.deployed --id e2 --data " + data, "publish --type no.such --data {}",
		"apply -f " + file + " --dry-run", "apply -f " + changed + " --dry-run", "apply -f " + file, "apply -f " + changed, "events erase artifact/1 --why x",
	}
	run := map[string]bool{}
	for _, command := range commands {
		for _, format := range []string{"table", "json", "yaml"} {
			r := s.cli(append(strings.Fields(command), "-o", format)...)
			what := command + " -o " + format
			if what != "subscription secret ci -o table" { // a program gets the secrets as they are
				checkTerminal(t, what, r.stdout)
			}
			checkTerminal(t, what+" (stderr)", r.stderr)
			if r.err != nil {
				checkTerminal(t, what+" (error)", r.err.Error())
			}
			if strings.Contains(r.stdout, "END") || r.err != nil && strings.Contains(r.err.Error(), "END") {
				run[nameOfCommand(t, command)] = true
			}
			if _, wrong := errors.AsType[terminal.UsageError](r.err); wrong {
				t.Errorf("%s: %v", what, r.err)
			}
			checkValues(t, what, format, r.stdout)
		}
	}
	for args, stdin := range map[string]string{"__complete bash -- subscription get ": "", "publish --ndjson": `{"id":1}` + "\n" + hostile + "\n"} {
		r := s.cliWith(t.Context(), stdin, strings.Split(args, " ")...)
		checkTerminal(t, args, r.stdout)
		checkTerminal(t, args+" (stderr)", r.stderr)
		run[strings.Fields(args)[0]] = true
	}
	// What prints no text of strangers, or prints it to files and to no terminal, or has a
	// test of its own.
	without := []string{
		"serve", "watch", "bench", "completion", "version", "git install", "git uninstall", "git flush", "git hook", "receiver", "audit export",
		"audit follow", "events tail", // TestFollowedDoesNotObeyStrangers
		"audit head", "audit verify", "events erase", "deadletters discard", "subscription delete", // numbers, and the user's own words
		"export", // above
	}
	walkCommands(t, func(command *kong.Node) {
		name := nameOf(command)
		if !run[name] && !slices.Contains(without, name) {
			t.Errorf("%s has printed nothing hostile: run it here", name)
		}
	})
}

// nameOf is a command without its other names.
func nameOf(command *kong.Node) string {
	name := command.Name
	for parent := command.Parent; parent.Parent != nil; parent = parent.Parent {
		name = parent.Name + " " + name
	}
	return name
}

// nameOfCommand is the name of the command of a command line.
func nameOfCommand(t *testing.T, command string) string {
	t.Helper()
	parser, err := newParser(&terminal.Env{Stdout: io.Discard, Stderr: io.Discard}, &commandLine{}, kong.Exit(func(int) {}))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.Parse(strings.Fields(command))
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	return nameOf(parsed.Selected())
}

// checkValues reads what was printed for a program: the texts are those of the server.
func checkValues(t *testing.T, what, format, text string) {
	t.Helper()
	var v any
	switch {
	case format == "table" || !strings.Contains(text, "END"):
		return
	case format == "json":
		if err := json.Unmarshal([]byte(text), &v); err != nil {
			t.Errorf("%s: %v in %s", what, err, text)
			return
		}
	default:
		for dec := yaml.NewDecoder(strings.NewReader(text)); ; {
			var one any
			err := dec.Decode(&one)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Errorf("%s: %v in %s", what, err, text)
				return
			}
			v = []any{v, one}
		}
	}
	var found func(v any) bool
	found = func(v any) bool {
		switch v := v.(type) {
		case string:
			return strings.Contains(v, hostile)
		case []any:
			return slices.ContainsFunc(v, found)
		case map[string]any:
			for name, value := range v {
				if found(name) || found(value) {
					return true
				}
			}
		}
		return false
	}
	if !found(v) {
		t.Errorf("%s has not the text of the server: %s", what, text)
	}
}

// What is followed is printed line by line.
func TestFollowedDoesNotObeyStrangers(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	for path, line := range map[string]string{
		"/v1/audit":    `{"sequence":1,"at":"2026-11-30T06:00:00Z","action":"subscription.pause","target":"t","actor":"a","actor_name":"n","reason":"r","changed":["c"],"failed":"f","of":1}`,
		"/v1/attempts": `{"sequence":1,"delivery_id":"d","subscription_id":"s","attempt":1,"outcome":"retry","at":"2026-11-30T06:00:00Z","status":500,"error":"e","response_body":"b","event":{"id":"1","source":"/s","type":"t"}}`,
		"/v1/events":   `{"domain":"git","sequence":1,"stored_at":"2026-11-30T06:00:00Z","event":{"specversion":"1.0","id":"1","source":"/s","type":"t","subject":"x","data":{"a":"b"}}}`,
	} {
		s.setIntercept(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != path || r.FormValue("follow") == "" {
				s.pass(w, r)
				return
			}
			_, _ = w.Write(append(spoilt([]byte(line)), '\n'))
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		})
		args := map[string][]string{"/v1/audit": {"audit", "follow", "--from-seq", "1"}, "/v1/attempts": {"attempts", "--follow"}, "/v1/events": {"events", "tail", "--data"}}[path]
		for _, format := range []string{"table", "json", "yaml"} {
			f := s.background(append(args, "-o", format)...)
			text := f.until("END")
			_ = f.stop()
			checkTerminal(t, strings.Join(args, " ")+" -o "+format, text)
		}
	}
}

// A log may be read on a terminal, in whatever form it is.
func TestLogDoesNotObeyStrangers(t *testing.T) {
	t.Parallel()
	raw := hostile + "\xff"
	for _, format := range []string{"json", "console"} {
		var out bytes.Buffer
		log, flush := logging.New(&out, "info", format)
		log.Named("n"+raw).With(zap.String("with", raw)).Error("message "+raw, zap.String("text", raw), zap.Error(errors.New(raw)), zap.Strings("list", []string{raw}), zap.Any("any", map[string]string{"k" + raw: raw}), zap.ByteString("bytes", []byte(raw)), zap.String(raw, "name"))
		flush()
		text := out.String()
		if format == "console" {
			for _, own := range []string{"\x1b[31m", "\x1b[0m"} { // the colour of the level
				text = strings.Replace(text, own, "", 1)
			}
		}
		checkTerminal(t, format, text)
		if strings.Count(text, "\n") != 1 {
			t.Errorf("%s: more than one line: %q", format, text)
		}
		var entry struct{ Msg, Text, Error string }
		if format == "json" {
			if err := json.Unmarshal([]byte(text), &entry); err != nil || entry.Msg != "message "+hostile+"\ufffd" || entry.Text != hostile+"\ufffd" || entry.Error != hostile+"\ufffd" {
				t.Errorf("got %v, %+q", err, entry)
			}
		}
	}
}
