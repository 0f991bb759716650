package interop_test

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// A sample is a delivery and what it was signed with, for npm/verify.mjs.
type sample struct {
	Profile string   `json:"profile"`
	Secret  string   `json:"secret"`
	Type    string   `json:"type"`
	Request *capture `json:"request"`
}

// npm lets JavaScript libraries verify what has arrived.
func npm(t *testing.T, samples []sample) {
	t.Helper()
	node, err := exec.LookPath("node")
	if err != nil {
		t.Log("NOT RUN: there is no node here, so no JavaScript library has verified anything")
		return
	}
	manager, err := exec.LookPath("npm")
	if err != nil {
		t.Log("NOT RUN: there is no npm here, so no JavaScript library has verified anything")
		return
	}
	dir := t.TempDir()
	for _, name := range []string{"package.json", "package-lock.json", ".npmrc", "verify.mjs"} {
		text, err := os.ReadFile(filepath.Join("npm", name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	install := exec.CommandContext(t.Context(), manager, "ci", "--ignore-scripts", "--prefer-offline")
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		t.Fatalf("npm ci: %v\n%s", err, out)
	}
	input, err := json.Marshal(map[string]any{"samples": samples, "publicKey": public})
	if err != nil {
		t.Fatal(err)
	}
	verify := exec.CommandContext(t.Context(), node, "verify.mjs")
	verify.Dir, verify.Stdin = dir, bytes.NewReader(input)
	var stderr bytes.Buffer
	verify.Stderr = &stderr
	out, err := verify.Output()
	if err != nil {
		t.Fatalf("verify.mjs: %v\n%s%s", err, out, stderr.String())
	}
	var results []struct{ Library, Profile, Error string }
	if err := json.Unmarshal(out, &results); err != nil {
		t.Fatalf("verify.mjs says %q: %v", out, err)
	}
	seen := make(map[string]int)
	for _, r := range results {
		seen[r.Library]++
		if r.Error != "" {
			t.Errorf("%s, profile %s: %s", r.Library, r.Profile, r.Error)
		}
	}
	for _, library := range []string{"standardwebhooks", "cloudevents", "@octokit/webhooks-methods", "http-message-signatures", "node:crypto"} {
		if seen[library] == 0 {
			t.Errorf("%s has verified nothing", library)
		}
	}
	t.Logf("verified: %v", seen)
}
