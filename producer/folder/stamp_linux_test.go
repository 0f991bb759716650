package folder

import (
	"os"
	"sync"
	"testing"
)

func TestBeingWritten(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.write("a", "a")
	reader, err := os.OpenFile(f.path("a"), openFlags, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if beingWritten(reader) {
		t.Error("no process writes")
	}
	writer, err := os.OpenFile(f.path("a"), os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if !beingWritten(reader) {
		t.Error("a process writes")
	}
	writer.Close()
	if beingWritten(reader) {
		t.Error("no process writes any more")
	}

	// Looking does not get in the way of those who open the file at that moment.
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		defer close(done)
		for range 2000 {
			w, err := os.OpenFile(f.path("a"), os.O_WRONLY, 0)
			if err != nil {
				t.Error(err)
				return
			}
			w.Close()
		}
	})
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
			beingWritten(reader)
		}
	}
	wg.Wait()
}
