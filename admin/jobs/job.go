// Package jobs has work that outlives requests and processes: it is stored, claimed by one
// process at a time, and taken over by another one when that process ends.
//
//	created ─► stored ─► claimed ─► item, item, … ─► done, failed or cancelled
//	                      ▲  └─ progress every second, over the revision that is known
//	                      └─ by another process, when nothing was written for the lease
//
// The first kind of job redrives dead letters, one after the other, at a rate.
//
// It promises that a job which was answered is finished or cancelled, whatever processes
// end meanwhile, and that at most one process works on it.
package jobs

import (
	"errors"
	"strings"
	"time"

	v1 "github.com/jetpost/jetpost/client/api"
)

// Limits of jobs. A job is one value of the state bucket.
const (
	maxFailures = 5   // that are kept
	maxFailure  = 200 // bytes of one
	keptJobs    = 100 // that have ended
	keptJobsFor = 7 * 24 * time.Hour
)

// The states of a job.
const (
	DryRun    = "dry_run"
	Running   = "running"
	Done      = "done"
	Cancelled = "cancelled"
	Failed    = "failed"
)

// Errors of operations on a job.
var (
	ErrNotFound = errors.New("redrive job not found")
	ErrEnded    = errors.New("the redrive job has ended")
)

// errHopeless ends a job that cannot go on. It is then failed, and has the error.
var errHopeless = errors.New("the job cannot go on")

// A Record is a job as it is stored.
type Record struct {
	v1.RedriveJob

	Next   uint64 `json:"next"`             // items before this one are finished
	Last   uint64 `json:"last"`             // items behind this one are not part of it
	Holder string `json:"holder,omitempty"` // the process that works on it
	Claims int    `json:"claims,omitempty"` // how often a process has begun to

	revision uint64 // of the key
}

func (r *Record) end(state string) {
	now := time.Now().UTC()
	r.State, r.EndedAt = state, &now
}

// shorten cuts a text to n bytes, and not inside a rune.
func shorten(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n-len("…")], "") + "…"
}
