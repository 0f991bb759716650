package bench

import (
	"runtime"
	"time"

	"golang.org/x/sys/windows"
)

// cpuTime is what this process has used.
func cpuTime() time.Duration {
	var created, ended, kernel, user windows.Filetime
	if err := windows.GetProcessTimes(windows.CurrentProcess(), &created, &ended, &kernel, &user); err != nil {
		return 0
	}
	spent := func(t windows.Filetime) time.Duration { // not a point in time, so not by its Nanoseconds
		return time.Duration(int64(t.HighDateTime)<<32|int64(t.LowDateTime)) * 100
	}
	return spent(kernel) + spent(user)
}

// peakMemory is the largest size that the Go runtime has had, in bytes: golang.org/x/sys
// does not ask Windows for the largest working set.
func peakMemory() int64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.Sys) //nolint:gosec // far below
}
