package main

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// openTerminal returns both ends of a terminal.
func openTerminal(t *testing.T) (master, terminal *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	terminal, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = terminal.Close() })
	return master, terminal
}

// The program itself, on a real terminal: what goes to a pipe as it is, errors, and tables
// with colours.
func TestTerminalGetsNothingHostile(t *testing.T) {
	t.Parallel()
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v1/events/git/1":
			_, _ = io.WriteString(w, `{"domain":"git","sequence":1,"event":{"datacontenttype":"text/plain","data":"data `+hostileWire+`"}}`)
		case "/v1/audit/export":
			_, _ = io.WriteString(w, "export "+hostile+"\xff\xe2")
		case "/v1/subscriptions/ci/secret":
			_, _ = io.WriteString(w, `{"secrets":["secret `+hostileWire+`"]}`)
		case "/v1/senders":
			_, _ = w.Write(spoilt([]byte(answers()["/v1/senders"])))
		default:
			http.Error(w, "error "+hostile, http.StatusInternalServerError)
		}
	}))
	t.Cleanup(api.Close)
	for _, c := range []struct{ args, want string }{
		{"events show git/1 --data", `data \u007f\u0080\u009b31m`},
		{"audit export", `export \u007f\u0080\u009b31m`},
		{"subscription secret ci", `secret \u007f\u0080\u009b31m`},
		{"senders", `\u007f\u0080\u009b31m`},
		{"senders -o yaml", `\x9B31m\u202a\u202e`},
		{"storage", `error \u007f\u0080\u009b31m`},
		{"no\u009bsuch", `no\u009bsuch`},
	} {
		master, terminal := openTerminal(t)
		read := make(chan string, 1)
		go func() {
			all, err := io.ReadAll(master)
			if err != nil && !errors.Is(err, syscall.EIO) { // which is how Linux says that all is read
				all = append(all, err.Error()...)
			}
			read <- string(all)
		}()
		command := exec.CommandContext(t.Context(), self(t), append(strings.Fields(c.args), "--server", api.URL, "--token", "t")...)
		command.Env = programEnv(t.TempDir(), "TERM=xterm")
		command.Stdin, command.Stdout, command.Stderr = terminal, terminal, terminal
		err := command.Run()
		if _, failed := errors.AsType[*exec.ExitError](err); err != nil && !failed {
			t.Fatal(err)
		}
		_ = terminal.Close()
		text := strings.ReplaceAll(<-read, "\r\n", "\n") // as terminals have it
		if !strings.Contains(text, c.want) {
			t.Errorf("%s: %q is not in %q", c.args, c.want, text)
		}
		for _, own := range []string{"\x1b[0m", "\x1b[1m", "\x1b[32m", "\x1b[33m"} {
			text = strings.ReplaceAll(text, own, "")
		}
		if i := strings.IndexFunc(text, obeyed); i >= 0 {
			t.Errorf("%s: the terminal gets %q", c.args, text[max(0, i-60):min(len(text), i+60)])
		}
	}
}
