package main

import (
	"fmt"
	"runtime"
)

// versionCmd is `jetpost version`.
type versionCmd struct {
	outputFlag
}

// Run prints what this program is made of.
func (c *versionCmd) Run(e *env) error {
	if c.json() {
		return printJSON(e.stdout, map[string]string{
			"version": version, "go": runtime.Version(), "platform": runtime.GOOS + "/" + runtime.GOARCH,
		})
	}
	_, err := fmt.Fprintf(e.stdout, "jetpost %s (%s, %s/%s)\n", version, runtime.Version(), runtime.GOOS, runtime.GOARCH)
	return err
}
