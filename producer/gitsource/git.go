package gitsource

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// git runs the git program. Arguments are fixed words of this package; names and
// ids that come from a push reach git by standard input only, so that none of
// them can be taken for an option.
type git struct {
	dir string
	env []string
}

// localVariables belong to one repository ("git rev-parse --local-env-vars").
// With a folder given explicitly they would point git to another one.
func localVariables() []string {
	return []string{
		"GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_CONFIG", "GIT_CONFIG_COUNT",
		"GIT_CONFIG_PARAMETERS", "GIT_DIR", "GIT_GRAFT_FILE", "GIT_IMPLICIT_WORK_TREE",
		"GIT_INDEX_FILE", "GIT_INTERNAL_SUPER_PREFIX", "GIT_NAMESPACE", "GIT_NO_REPLACE_OBJECTS",
		"GIT_OBJECT_DIRECTORY", "GIT_PREFIX", "GIT_QUARANTINE_PATH", "GIT_REPLACE_REF_BASE",
		"GIT_SHALLOW_FILE", "GIT_WORK_TREE",
	}
}

func newGit(cfg Config) git {
	drop := []string{"LC_ALL", "LANGUAGE", "GIT_OPTIONAL_LOCKS", "GIT_TERMINAL_PROMPT", "GIT_LITERAL_PATHSPECS"}
	if cfg.Dir != "" {
		drop = append(drop, localVariables()...)
	}
	env := slices.DeleteFunc(slices.Clone(cfg.Env), func(entry string) bool {
		name, _, _ := strings.Cut(entry, "=")
		return slices.Contains(drop, name)
	})
	return git{dir: cfg.Dir, env: append(env, "LC_ALL=C", "GIT_OPTIONAL_LOCKS=0", "GIT_TERMINAL_PROMPT=0")}
}

// at returns g for the repository in that folder, wherever the settings that led
// there came from. All working trees share what this sees: the refs, the hooks.
func (g git) at(commonDir string) git {
	env := slices.DeleteFunc(slices.Clone(g.env), func(entry string) bool {
		return strings.HasPrefix(entry, "GIT_DIR=") || strings.HasPrefix(entry, "GIT_WORK_TREE=")
	})
	return git{dir: commonDir, env: append(env, "GIT_DIR="+commonDir)}
}

// read runs git, writes in to its standard input and lets consume read its
// standard output. If consume fails, git is stopped and its own error, which is
// then only a broken pipe, is not reported.
func (g git) read(ctx context.Context, in io.Reader, consume func(io.Reader) error, args ...string) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Replacement refs and grafts change what a commit looks like; what was
	// pushed is the commit itself.
	cmd := exec.CommandContext(ctx, "git", append([]string{"--no-replace-objects"}, args...)...)
	cmd.Dir, cmd.Env, cmd.Stdin = g.dir, g.env, in
	cmd.WaitDelay = time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("git %s: %w", args[0], err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("git %s: %w", args[0], err)
	}
	if err := consume(out); err != nil {
		cancel()
		_ = cmd.Wait()
		return fmt.Errorf("read git %s: %w", args[0], err)
	}
	if err := cmd.Wait(); err != nil {
		line, _, _ := strings.Cut(strings.TrimSpace(stderr.String()), "\n")
		if line == "" {
			return fmt.Errorf("git %s: %w", args[0], err)
		}
		return fmt.Errorf("git %s: %w: %s", args[0], err, line)
	}
	return nil
}

// output returns all that git prints, without the final newline.
func (g git) output(ctx context.Context, args ...string) (string, error) {
	var out []byte
	err := g.read(ctx, nil, func(r io.Reader) (err error) {
		out, err = io.ReadAll(r)
		return err
	}, args...)
	return strings.TrimSuffix(string(out), "\n"), err
}

// commonDir returns the absolute path of the repository's own folder, the one
// that all its working trees share.
func (g git) commonDir(ctx context.Context) (string, error) {
	dir, err := g.output(ctx, "rev-parse", "--git-common-dir")
	if err != nil {
		return "", err
	}
	if !filepath.IsAbs(dir) {
		dir = filepath.Join(g.dir, dir)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(dir)
}
