package replacefile_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/jetpost/jetpost/internal/replacefile"
)

// A reader that has opened the file goes on reading the old content, a new one reads the
// new content, the mode does not stay wider than wanted, and nothing else is left behind.
func TestWrite(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "nats.url")
	if err := os.WriteFile(path, []byte("old"), 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o666); err != nil {
		t.Fatal(err)
	}
	before, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS == "windows" { // where an open file cannot be replaced
		_ = before.Close()
		before = nil
	}
	if err := replacefile.Write(path, []byte("new one"), 0o600); err != nil {
		t.Fatal(err)
	}
	if before != nil {
		got, err := io.ReadAll(before)
		if err := errors.Join(err, before.Close()); err != nil || string(got) != "old" {
			t.Errorf("who had it open read %q, %v", got, err)
		}
	}
	wantAlone(t, path, "new one", 0o600)
}

// A mode that the umask would narrow is the one that was asked for.
func TestWriteMode(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "post-receive")
	if err := replacefile.Write(path, []byte("#!/bin/sh\n"), 0o777); err != nil {
		t.Fatal(err)
	}
	wantAlone(t, path, "#!/bin/sh\n", 0o777)
}

// What fails half-way leaves the old file and no other.
func TestWriteFromFails(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.ndjson")
	if err := replacefile.Write(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("it broke off")
	err := replacefile.WriteFrom(path, 0o600, func(w io.Writer) error {
		_, err := io.WriteString(w, "half")
		return errors.Join(err, broken)
	})
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	wantAlone(t, path, "old", 0o600)
	if err := replacefile.Write(filepath.Join(path, "below"), nil, 0o600); err == nil {
		t.Error("a file below a file was written")
	}
}

// What stands in the way of the name leaves no other file either.
func TestWriteOverFolder(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "folder")
	if err := os.MkdirAll(filepath.Join(path, "full"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := replacefile.Write(path, []byte("new"), 0o600); err == nil {
		t.Error("a folder was replaced")
	}
	if left, err := os.ReadDir(filepath.Dir(path)); err != nil || len(left) != 1 {
		t.Errorf("left %v, %v; want the folder alone", left, err)
	}
}

func wantAlone(t *testing.T, path, content string, mode fs.FileMode) {
	t.Helper()
	got, err := os.ReadFile(path)
	if err != nil || string(got) != content {
		t.Errorf("got %q, %v; want %q", got, err, content)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm() != mode {
		t.Errorf("mode %v, want %v", info.Mode().Perm(), mode)
	}
	if files, err := os.ReadDir(filepath.Dir(path)); err != nil || len(files) != 1 {
		t.Errorf("the folder has %v, %v; want one file", files, err)
	}
}
