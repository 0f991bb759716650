package admin

import (
	"context"
	"sort"
	"strconv"
	"strings"

	"github.com/jetpost/jetpost/subscription"
)

// Paged is a request for a part of a list.
type Paged struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"50" doc:"The most items to answer with."`
	Cursor string `query:"cursor" maxLength:"4096" doc:"The next_cursor of the page before this one."`
}

type listRequest struct {
	Paged
	State string   `query:"state" enum:"active,paused,disabled" doc:"Only subscriptions in this state."`
	Label []string `query:"label,explode" doc:"Only subscriptions with this label: name, or name=value. Can be repeated; all must match."`
}

// subscriptionPage is a part of all subscriptions.
type subscriptionPage struct {
	Items      []shown        `json:"items"`
	NextCursor string         `json:"next_cursor,omitempty" doc:"For the next page; missing in the last one."`
	Broken     []brokenRecord `json:"broken,omitempty" doc:"Records in this part of the list that cannot be read. Nothing of them is matched or delivered; they can be deleted."`
}

// A brokenRecord is a stored subscription that cannot be read.
type brokenRecord struct {
	ID    string `json:"id"`
	Error string `json:"error"`
}

type subscriptionList struct{ Body subscriptionPage }

// list answers from the view: a page costs the same wherever it begins.
func (a *Admin) list(ctx context.Context, in *listRequest) (*subscriptionList, error) {
	if in.Cursor != "" && !subscription.ValidID(in.Cursor) {
		return nil, badCursor()
	}
	for _, label := range in.Label {
		if name, _, _ := strings.Cut(label, "="); name == "" {
			return nil, invalid("label", strconv.Quote(label)+" has no name: write name or name=value")
		}
	}
	snapshot, err := a.view.Sync(ctx)
	if err != nil {
		return nil, err
	}
	all := snapshot.All()
	first := sort.Search(len(all), func(i int) bool { return all[i].ID > in.Cursor })
	page := subscriptionPage{Items: []shown{}}
	for _, sub := range all[first:] {
		if !in.wants(sub) {
			continue
		}
		if len(page.Items) == in.Limit {
			page.NextCursor = page.Items[in.Limit-1].ID
			break
		}
		page.Items = append(page.Items, shown{Subscription: *sub})
	}
	for _, broken := range snapshot.Broken() {
		if broken.ID > in.Cursor && (page.NextCursor == "" || broken.ID <= page.NextCursor) {
			page.Broken = append(page.Broken, brokenRecord{broken.ID, broken.Err.Error()})
		}
	}
	return &subscriptionList{Body: page}, nil
}

func (in *listRequest) wants(sub *subscription.Subscription) bool {
	if in.State != "" && string(sub.State) != in.State {
		return false
	}
	for _, label := range in.Label {
		name, want, exact := strings.Cut(label, "=")
		if have, ok := sub.Labels[name]; !ok || exact && have != want {
			return false
		}
	}
	return true
}
