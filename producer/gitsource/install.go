package gitsource

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/replacefile"
)

// hookMark is how a hook is recognized as ours.
const hookMark = "# Installed by jetpost"

// chainedSuffix is added to the name of a hook that was there before ours.
const chainedSuffix = ".before-jetpost"

// ErrHookConflict is wrapped when a hook cannot be installed without losing one
// that another program has put there.
var ErrHookConflict = errors.New("there are two other hooks already")

// An Installation says what Install or Uninstall has done.
type Installation struct {
	Path    string   // of the post-receive hook
	Chained string   // the hook that was there before and is run after ours; empty if none
	Changed bool     // false if everything was as wanted already
	Advice  []string // sentences for the person who installs
}

// Install makes command, a program and its arguments, part of the repository's
// post-receive hook, where git looks for it: in core.hooksPath if that is set. A
// hook that is there already is kept and runs after ours with the same input and
// its own exit status. Installing again only brings the command up to date. A source that
// no event can have is refused.
func Install(ctx context.Context, cfg Config, command []string) (Installation, error) {
	if len(command) == 0 || strings.Contains(strings.Join(command, ""), "\x00") {
		return Installation{}, errors.New("install hook: the command is empty or has a NUL in it")
	}
	if cfg.Source != "" { // otherwise it is made of the name
		if err := event.CheckSource(cfg.Source); err != nil {
			return Installation{}, fmt.Errorf("install hook: %w", err)
		}
	}
	g := newGit(cfg)
	in, err := locate(ctx, g)
	if err != nil {
		return in, fmt.Errorf("install hook: %w", err)
	}
	if err := in.install(hookScript(command)); err != nil {
		return in, fmt.Errorf("install hook: %w", err)
	}
	in.Advice = advice(ctx, g, in)
	return in, nil
}

// Uninstall removes the hook that Install has made and puts the one that was
// there before back. A hook that is not ours is left alone.
func Uninstall(ctx context.Context, cfg Config) (Installation, error) {
	in, err := locate(ctx, newGit(cfg))
	if err != nil {
		return in, fmt.Errorf("uninstall hook: %w", err)
	}
	current, err := os.ReadFile(in.Path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !isOurs(current) {
		return in, nil
	}
	if err != nil {
		return in, fmt.Errorf("uninstall hook: %w", err)
	}
	if in.Chained != "" {
		err = os.Rename(in.Chained, in.Path)
	} else {
		err = os.Remove(in.Path)
	}
	if err != nil {
		return in, fmt.Errorf("uninstall hook: %w", err)
	}
	in.Chained, in.Changed = "", true
	return in, nil
}

// locate finds the hook. Git runs it in the repository's own folder, and it is
// there that a relative core.hooksPath begins.
func locate(ctx context.Context, g git) (Installation, error) {
	dir, err := g.commonDir(ctx)
	if err != nil {
		return Installation{}, err
	}
	hooks, err := g.at(dir).output(ctx, "rev-parse", "--git-path", "hooks")
	if err != nil {
		return Installation{}, err
	}
	if !filepath.IsAbs(hooks) {
		hooks = filepath.Join(dir, hooks)
	}
	in := Installation{Path: filepath.Join(hooks, "post-receive")}
	if _, err := os.Lstat(in.Path + chainedSuffix); err == nil {
		in.Chained = in.Path + chainedSuffix
	}
	return in, nil
}

func (in *Installation) install(script []byte) error {
	current, err := os.ReadFile(in.Path)
	// A link to nowhere cannot be read, but it is there.
	if _, statErr := os.Lstat(in.Path); err != nil && (!errors.Is(err, fs.ErrNotExist) || statErr == nil) {
		return err
	}
	missing := err != nil
	if !missing && bytes.Equal(current, script) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(in.Path), 0o755); err != nil {
		return err
	}
	if !missing && !isOurs(current) {
		if in.Chained != "" {
			return fmt.Errorf("%w: %s and %s", ErrHookConflict, in.Path, in.Chained)
		}
		in.Chained = in.Path + chainedSuffix
		if err := os.Rename(in.Path, in.Chained); err != nil {
			return err
		}
	}
	in.Changed = true
	// A push in this moment runs the old hook or the new one, not half of one.
	return replacefile.Write(in.Path, script, 0o755)
}

func isOurs(script []byte) bool {
	return bytes.HasPrefix(script, []byte("#!/bin/sh\n"+hookMark))
}

// hookScript runs the command, then a hook that was there before. Both get the
// same input, and a hook that does not read it is not disturbed. A command that
// fails or is no longer there does not stop the hook behind it.
func hookScript(command []string) []byte {
	return []byte(`#!/bin/sh
` + hookMark + `. Do not edit: installing again overwrites this file.
# It announces each push. A hook that was here before is kept beside this one
# under the name post-receive` + chainedSuffix + ` and runs afterwards.
input=$(cat && echo .) || exit
input=${input%.}
feed() { printf %s "$input" 2>/dev/null; }
feed | ` + shellQuote(command) + ` || :
if [ -x "$0` + chainedSuffix + `" ]; then
	feed | "$0` + chainedSuffix + `" "$@"
fi
`)
}

// shellQuote makes one shell command of a program and its arguments.
func shellQuote(command []string) string {
	quoted := make([]string, len(command))
	for i, word := range command {
		quoted[i] = "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	return strings.Join(quoted, " ")
}

// advice lists settings that make a push fail or keep the hook from running.
func advice(ctx context.Context, g git, in Installation) []string {
	var advice []string
	dir, err := g.commonDir(ctx)
	if err != nil {
		return nil
	}
	if rel, err := filepath.Rel(dir, in.Path); err != nil || strings.HasPrefix(rel, "..") {
		advice = append(advice, "core.hooksPath puts the hook into "+filepath.Dir(in.Path)+
			": it announces the pushes to every repository that uses this folder.")
	}
	if bare, err := g.output(ctx, "rev-parse", "--is-bare-repository"); err != nil || bare == "true" {
		return advice
	}
	advice = append(advice, "The hook runs on a push to this repository, not on a commit in it.")
	// No setting is an error for git, and means refuse for a push.
	setting, _ := g.output(ctx, "config", "--get", "receive.denyCurrentBranch")
	switch strings.ToLower(setting) {
	case "updateinstead", "warn", "ignore", "false", "no", "off", "0":
	default:
		advice = append(advice, "Git refuses pushes to the branch that is checked out here. "+
			"Push to a bare repository or to another branch, or run: git config receive.denyCurrentBranch updateInstead")
	}
	return advice
}
