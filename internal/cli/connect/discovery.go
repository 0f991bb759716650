package connect

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/jetpost/jetpost/internal/replacefile"
)

// A server publishes its address to the commands on its machine, by two small files:
//
//	<data>/server.url               its URL, beside the admin.token
//	<config>/jetpost/server.json    the same of the server that was started last
const (
	serverURLFile = "server.url"
	TokenFile     = "admin.token"
	defaultData   = "data"
	defaultServer = "http://127.0.0.1:8080"
)

// A discovered is a server that may be running on this machine.
type discovered struct {
	URL       string `json:"url"`
	TokenFile string `json:"token_file"`
}

// WriteDiscovery publishes to the commands on this machine that the server with that
// data directory answers at address. A machine without a place for the second
// file, such as a container, goes without.
func WriteDiscovery(dataDir, address string) error {
	dir, err := filepath.Abs(dataDir)
	if err != nil {
		return fmt.Errorf("write the address of the server for clients: %w", err)
	}
	found := discovered{URL: reachable(address), TokenFile: filepath.Join(dir, TokenFile)}
	err = replacefile.Write(filepath.Join(dir, serverURLFile), []byte(found.URL+"\n"), 0o600)
	if pointer := pointerFile(); pointer != "" {
		text, marshalErr := json.Marshal(found)
		if marshalErr != nil {
			return marshalErr
		}
		err = errors.Join(err, os.MkdirAll(filepath.Dir(pointer), 0o700), replacefile.Write(pointer, append(text, '\n'), 0o600))
	}
	if err != nil {
		return fmt.Errorf("write the address of the server for clients: %w", err)
	}
	return nil
}

// RemoveDiscovery removes what WriteDiscovery has written, unless another server
// has replaced it since.
func RemoveDiscovery(dataDir string) {
	dir, err := filepath.Abs(dataDir)
	if err != nil {
		return
	}
	_ = os.Remove(filepath.Join(dir, serverURLFile)) // a wrong hint costs a client a moment
	if pointer := pointerFile(); pointer != "" {
		if found, err := readPointer(pointer); err == nil && found.TokenFile == filepath.Join(dir, TokenFile) {
			_ = os.Remove(pointer)
		}
	}
}

// reachable turns the address of a server that listens everywhere into one that
// can be called.
func reachable(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	if ip := net.ParseIP(u.Hostname()); ip != nil && ip.IsUnspecified() {
		u.Host = net.JoinHostPort("127.0.0.1", u.Port())
		if ip.To4() == nil {
			u.Host = net.JoinHostPort("::1", u.Port())
		}
	}
	return u.String()
}

// pointerFile is where the server started last is written down; empty where there
// is no place for it.
func pointerFile() string {
	config, err := os.UserConfigDir()
	if err != nil {
		return ""
	}
	return filepath.Join(config, "jetpost", "server.json")
}

func readPointer(path string) (discovered, error) {
	var found discovered
	text, err := os.ReadFile(path)
	if err != nil {
		return found, err
	}
	if err := json.Unmarshal(text, &found); err != nil || found.URL == "" {
		return found, fmt.Errorf("%s is not what a server writes", path)
	}
	return found, nil
}

// places are where a client looks for servers.
type places struct {
	dataDirs []string // data directories
	pointer  string   // empty: none
}

// usualPlaces are the data directory of the environment, the default one below the
// current folder, and what the server started last has written down.
func usualPlaces() places {
	p := places{pointer: pointerFile()}
	if dir := os.Getenv("JETPOST_DATA"); dir != "" {
		p.dataDirs = append(p.dataDirs, dir)
	}
	p.dataDirs = append(p.dataDirs, defaultData)
	return p
}

// servers are those that the places name, and at last the default address.
func (p places) servers() []discovered {
	var found []discovered
	for _, dir := range p.dataDirs {
		abs, err := filepath.Abs(dir)
		if err != nil {
			continue
		}
		text, err := os.ReadFile(filepath.Join(abs, serverURLFile))
		token := filepath.Join(abs, TokenFile)
		switch {
		case err == nil:
			found = append(found, discovered{strings.TrimSpace(string(text)), token})
		case errors.Is(err, fs.ErrNotExist) && exists(token): // not started, or of a version that wrote none
			found = append(found, discovered{defaultServer, token})
		}
	}
	if p.pointer != "" {
		if pointed, err := readPointer(p.pointer); err == nil {
			found = append(found, pointed)
		}
	}
	return append(found, discovered{URL: defaultServer})
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
