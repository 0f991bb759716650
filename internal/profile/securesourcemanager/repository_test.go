package securesourcemanager_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/profile/securesourcemanager"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/filter"
)

func TestValidRepository(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"projects/p/locations/l/repositories/r":                              true,
		"projects/123456789/locations/us-central1/repositories/my-repo":      true,
		"projects/example.com:my-project/locations/l/repositories/My_Repo.x": true,
		"projects/p/locations/l/repositories/" + strings.Repeat("r", 100):    true,
		"projects/p/locations/l/repositories/" + strings.Repeat("r", 101):    false,
		"": false, "projects/p/locations/l/repositories/": false, "projects//locations/l/repositories/r": false,
		"projects/-/locations/-/repositories/-": false, "projects/p/locations/l/repositories/r/hooks/h": false,
		"/projects/p/locations/l/repositories/r": false, "projects/p/locations/l/repositories/ü": false,
		"projects/p/locations/l/repositories/r\n": false, "projects/*/locations/l/repositories/r": false,
	} {
		if got := securesourcemanager.ValidRepository(name); got != want {
			t.Errorf("%q: got %t", name, got)
		}
	}
}

// An event is of the repository that its source names, else of the one that its data
// names, and of no other.
func TestRepositoryFilter(t *testing.T) {
	t.Parallel()
	name := func(project, location, repository string) string {
		return "projects/" + project + "/locations/" + location + "/repositories/" + repository
	}
	tug := name("harbor", "north", "tug")
	all := []string{
		tug, name("harbor", "north", "tug2"), name("harbor", "north", "2tug"), name("harbor", "south", "tug"), name("old-harbor", "north", "tug"),
		name("1234", "north", "tug"), name("my-project", "us-central1", "my-repo"),
	}
	var subs []*subscription.Subscription
	for i, repository := range all {
		subs = append(subs, &subscription.Subscription{
			ID: fmt.Sprintf("s%d", i), Types: []string{"git.*"}, State: subscription.Active,
			Filters: []filter.Filter{securesourcemanager.RepositoryFilter(repository)},
		})
	}
	table, err := filter.NewTable(subs...)
	if err != nil {
		t.Fatal(err)
	}
	vendor, err := os.ReadFile(filepath.Join("..", "..", "..", "schemas", "testdata", "facts", "ssm_push.json"))
	if err != nil {
		t.Fatal(err)
	}
	api := func(name string) string {
		data, err := json.Marshal(map[string]any{"repository": map[string]any{"full_name": "harbor/tug", "uris": map[string]string{"api": name}}})
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	for _, tt := range []struct{ source, data, want string }{
		{"/git/" + tug, `{}`, tug},
		{tug, `{}`, tug},
		{"//securesourcemanager.googleapis.com/" + tug, `{}`, tug},
		{"https://git.example.com/v1/" + tug, api("https://x/v1/" + all[1]), tug}, // the source counts
		{"/git/tug", api("https://x-api.north.sourcemanager.dev/v1/" + tug), tug},
		{"/git/tug", api("https://x-api.north.sourcemanager.dev/v1/" + all[3]), all[3]},
		{"https://ci.example.com", string(vendor), all[6]},
		{"/git/" + tug + "/hooks/h", api("https://x/v1/" + tug), ""}, // the source is of something else there
		{"/git/" + name("unknown", "north", "tug"), api("https://x/v1/" + tug), ""},
		{"/git/tug", api(""), ""},
		{"/git/tug", `{"repository":{"full_name":"harbor/tug","uris":null}}`, ""},
		{"/git/" + strings.ToUpper(tug), `{}`, ""},
		{"/gitprojects/harbor/locations/north/repositories/tug", `{}`, ""},
	} {
		var got []string
		for _, kind := range []string{"git.push", "git.pull_request", "git.pull_request_comment"} {
			for _, sub := range table.Match("git", &event.Event{ID: "1", Source: tt.source, Type: kind, DataContentType: "application/json", Data: []byte(tt.data)}, nil) {
				var i int
				if _, err := fmt.Sscanf(sub.ID, "s%d", &i); err != nil {
					t.Fatal(err)
				}
				got = append(got, all[i])
			}
		}
		want := strings.TrimSpace(strings.Repeat(tt.want+" ", 3))
		if strings.Join(got, " ") != want {
			t.Errorf("source %s, data %.100s: got %v, want %s", tt.source, tt.data, got, tt.want)
		}
	}
}
