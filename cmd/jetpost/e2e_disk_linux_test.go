package main

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// mountDisk mounts a file system of so many bytes, for the test alone and the processes
// that it starts. The test's thread ends with it.
func mountDisk(t *testing.T, size string) string {
	t.Helper()
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	runtime.LockOSThread()
	err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS)
	if err == nil {
		err = unix.Mount("", "/", "", unix.MS_PRIVATE|unix.MS_REC, "")
	}
	if err == nil {
		err = unix.Mount("tmpfs", disk, "tmpfs", 0, "size="+size)
	}
	if errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOSYS) {
		t.Skipf("a file system cannot be mounted here (%v): run as root, or with CAP_SYS_ADMIN", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(disk, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return disk
}

// fillDisk writes to a file until there is no room, and returns what makes room again.
func fillDisk(t *testing.T, disk string) (empty func()) {
	t.Helper()
	path := filepath.Join(disk, "of-another-program")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for block := make([]byte, 1<<20); len(block) > 0; {
		if _, err = f.Write(block); errors.Is(err, unix.ENOSPC) {
			block = block[:len(block)/2]
		} else if err != nil {
			t.Fatal(err)
		}
	}
	return func() {
		t.Helper()
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
	}
}

// The disk is full to the last byte, by another program. Publishers receive errors, what was
// requested is not requested again; and when there is room and the process was started
// again everything that was acknowledged is delivered.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	disk := mountDisk(t, "48m")
	s := startServerIn(t, filepath.Join(disk, "data"), "--allow-target", "127.0.0.0/8", "--schemas", shopDomain(t))
	release := make(chan struct{})
	c := startCatcher(t, func(w http.ResponseWriter, r *http.Request, _ *arrival) {
		select {
		case <-release:
			w.WriteHeader(http.StatusNoContent)
		case <-r.Context().Done():
		}
	})
	const inFlight = 4
	s.subscribe(t, "hook", c.URL, []string{"shop.wanted"}, object{"delivery": object{"max_in_flight": inFlight}})
	ids := numbered("wanted", 20)
	for _, id := range ids {
		s.publish(t, happened("wanted", id, 10))
	}
	c.waitFor(t, inFlight)
	empty := fillDisk(t, disk)
	fillers, r := s.refused(t, "filler", "filler", 100<<10)
	wantUnavailable(t, r, "after an error of its disk")
	s.awaitReady(t, "EVENTS_shop") // and others by now
	s.awaitReady(t, "after an error of the disk: see to the disk, and restart")
	close(release)
	s.awaitReady(t, "stopped writing to ATTEMPTS")
	if got := c.count(); got != inFlight {
		t.Errorf("%d requests were made, want those that were under way: %d", got, inFlight)
	}
	s.kill()

	empty()
	s.restart(t)
	s.awaitReady(t, "")
	c.wantAll(t, ids, inFlight)
	found := 0
	for _, e := range pages[eventLine](t, s, "/v1/events") {
		if e.Event.Type == "shop.filler" {
			found++
		}
	}
	if found < fillers {
		t.Errorf("%d fillers were acknowledged; got %d", fillers, found)
	}
	s.publish(t, happened("wanted", "after", 10))
	c.wantAll(t, append(ids, "after"), inFlight)
	eventually(t, "each is recorded", func() bool { return len(s.attempts(t, "hook")) >= len(ids)+1 })
}

type eventLine struct{ Event struct{ Type string } }
