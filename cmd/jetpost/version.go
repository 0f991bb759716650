package main

import (
	"fmt"
	"runtime"
)

// versionCmd is `jetpost version`.
type versionCmd struct {
	outputFlag
}

// Help is the long text of --help.
func (c *versionCmd) Help() string {
	return `  jetpost version
  jetpost version -o json | jq -r .version`
}

// Run prints what this program is made of.
func (c *versionCmd) Run(e *env) error {
	about := struct {
		Version  string `json:"version"`
		Go       string `json:"go"`
		Platform string `json:"platform"`
	}{version, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
	return c.show(e, about, func() error {
		_, err := fmt.Fprintf(e.stdout, "jetpost %s (%s, %s)\n", about.Version, about.Go, about.Platform)
		return err
	})
}
