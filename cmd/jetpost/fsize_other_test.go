//go:build !unix

package main

// limitFiles needs a limit that this system does not have.
func limitFiles() {}

// limitDescriptors needs one as well.
func limitDescriptors() {}
