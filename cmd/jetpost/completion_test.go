package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/internal/cli"
	"github.com/jetpost/jetpost/internal/cli/terminal"
)

func TestComplete(t *testing.T) {
	t.Parallel()
	parser, err := newParser(&terminal.Env{}, &commandLine{})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, line string // words, of which the last one is typed
		want       []string
	}{
		{"a command", "subscr", []string{"subscription"}},
		{"commands of a command, by its alias", "sub re", []string{"resume", "reconcile"}},
		{"a flag", "subscription list --st", []string{"--state"}},
		{"a negated flag", "subscription create --no", []string{"--no-ordered", "--no-retries"}},
		{"an enum", "subscription list --state ", []string{"active", "paused", "disabled"}},
		{"an enum behind =", "subscription list --state=p", []string{"--state=paused"}},
		{"an enum by a short flag", "attempts -o ", []string{"table", "json", "yaml"}},
		{"an enum of a list", "deadletters list --reason exhausted,r", []string{"exhausted,rejected"}},
		{"an argument", "subscription get c", []string{"asked subscription c of"}},
		{"an argument after flags", "attempts -n 3 -f ", []string{"asked subscription  of"}},
		{"no second argument", "subscription get ci c", nil},
		{"one of several arguments", "subscription delete ci c", []string{"asked subscription c of"}},
		{"an argument of the default command", "deadletters x", []string{"asked subscription x of"}},
		{"what follows --", "subscription get -- -", []string{"asked subscription - of"}},
		{"the server that is given", "attempts --server http://x ", []string{"asked subscription  of http://x"}},
		{"types in a list", "subscription create --types git.push,x", []string{"git.push,x.type"}},
		{"a profile", "subscription create --profile jfrog", []string{"jfrog", "jfrog-custom"}},
		{"a file", "apply -f ", []string{":files"}},
		{"a folder", "schemas push ", []string{":dirs"}},
		{"nothing known", "subscription create --url ", nil},
		{"a shell", "completion ", []string{"bash", "zsh", "fish"}},
		{"an unknown flag", "subscription list --nope=", nil},
	}
	for _, tt := range tests {
		c := &cli.Completer{Ask: func(flags map[string]string, kind, prefix string) []string {
			if kind == "type" {
				return []string{"x.type", "y.type"}
			}
			return []string{prefix + "\x00" + strings.TrimSpace("asked "+kind+" "+prefix+" of "+flags["server"])}
		}}
		var got []string
		for _, line := range c.Complete(parser.Model.Node, strings.Split(tt.line, " ")) {
			text, _, _ := strings.Cut(line, "\t")
			if _, asked, ok := strings.Cut(text, "\x00"); ok {
				text = asked
			}
			got = append(got, text)
		}
		if diff := cmp.Diff(tt.want, got); diff != "" {
			t.Errorf("%s: %q (-want +got):\n%s", tt.name, tt.line, diff)
		}
	}
}

// The scripts work in the shells themselves: bash, and the others where they are
// installed.
func TestCompletionInShells(t *testing.T) {
	t.Parallel()
	s := newAPIServer(t)
	for _, id := range []string{"ci", "circle", "docs"} {
		s.cli("subscription", "create", "--id", id, "--types", "git.push", "--url", "http://127.0.0.1:9000/").ok()
	}
	bin := t.TempDir()
	if err := os.Symlink(self(t), filepath.Join(bin, "jetpost")); err != nil {
		t.Fatal(err)
	}
	script := func(shell, text string) []string {
		command := exec.CommandContext(t.Context(), shell, "-c", text)
		command.Env = programEnv(t.TempDir(), "JETPOST_SERVER="+s.url, "JETPOST_TOKEN="+apiToken, "PATH="+bin+":"+os.Getenv("PATH"))
		command.Dir = t.TempDir()
		if err := os.WriteFile(filepath.Join(command.Dir, "subs.yaml"), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		out, err := command.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", shell, err, out)
		}
		lines := strings.Split(strings.TrimSpace(string(out)), "\n")
		for i := range lines {
			lines[i], _, _ = strings.Cut(lines[i], "\t")
		}
		return lines
	}
	const bash = `source <(jetpost completion bash)
complete -p jetpost >/dev/null || exit 1
COMP_WORDS=(jetpost %) COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
_jetpost
printf '%s\n' "${COMPREPLY[@]}"`
	tests := []struct {
		words, line string // as bash splits them, as they are typed
		want        []string
	}{
		{"subscr", "subscr", []string{"subscription"}},
		{"subscription get c", "subscription get c", []string{"ci", "circle"}},
		{"subscription get ''", "subscription get ", []string{"ci", "circle", "docs"}},
		{"attempts --output = y", "attempts --output=y", []string{"yaml"}},
		{"subscription create --types = git.push,git.pull_request_", "subscription create --types=git.push,git.pull_request_", []string{"git.push,git.pull_request_comment"}},
		{"apply -f s", "apply -f s", []string{"subs.yaml"}},
	}
	for _, tt := range tests {
		if got := script("bash", strings.Replace(bash, "%", tt.words, 1)); !slices.Equal(got, tt.want) {
			t.Errorf("bash: %q completes to %q, want %q", tt.words, got, tt.want)
		}
		if _, err := exec.LookPath("fish"); err == nil {
			got := script("fish", `jetpost completion fish | source; complete -C "jetpost `+tt.line+`"`)
			for i := range got {
				_, value, found := strings.Cut(got[i], "=")
				if found {
					got[i] = value
				}
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("fish: %q completes to %q, want %q", tt.line, got, tt.want)
			}
		}
	}
	if _, err := exec.LookPath("zsh"); err == nil { // what needs no line editor
		if got := script("zsh", "source <(jetpost completion zsh) 2>/dev/null; whence -w _jetpost"); !slices.Equal(got, []string{"_jetpost: function"}) {
			t.Errorf("zsh: %q", got)
		}
	}
}

// Without a server, or with one that does not answer, completion is silent and quick.
func TestCompletionWithoutServer(t *testing.T) {
	t.Parallel()
	var out, notices strings.Builder
	e := &terminal.Env{Ctx: t.Context(), Stdout: &out, Stderr: &notices}
	if err := run(e, []string{"__complete", "bash", "--", "attempts", "--server", "=", "http://127.0.0.1:1", ""}); err != nil || out.Len() != 0 || notices.Len() != 0 {
		t.Errorf("got %q, %q, %v", out.String(), notices.String(), err)
	}
}
