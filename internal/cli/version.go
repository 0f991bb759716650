package cli

import (
	"fmt"
	"runtime"

	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
)

// versionCmd is `jetpost version`.
type versionCmd struct {
	output.Flag
}

// Help is the long text of --help.
func (c *versionCmd) Help() string {
	return `  jetpost version
  jetpost version -o json | jq -r .version`
}

// Run prints what this program is made of.
func (c *versionCmd) Run(e *terminal.Env) error {
	about := struct {
		Version  string `json:"version"`
		Go       string `json:"go"`
		Platform string `json:"platform"`
	}{e.Version, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
	return c.Show(e, about, func() error {
		_, err := fmt.Fprintf(e.Stdout, "jetpost %s (%s, %s)\n", about.Version, about.Go, about.Platform)
		return err
	})
}
