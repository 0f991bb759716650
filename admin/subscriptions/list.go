package subscriptions

import (
	"cmp"
	"context"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/admin/show"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/subscription"
)

type listRequest struct {
	httpapi.Paged
	State   string   `query:"state" enum:"active,paused,disabled" doc:"Only subscriptions in this state."`
	Label   []string `query:"label,explode" doc:"Only subscriptions with this label: name, or name=value. Can be repeated; all must match."`
	Type    string   `query:"type" maxLength:"255" doc:"Only subscriptions whose types have this one, by itself or as <domain>.*; with <domain>.* those that want all of a domain." example:"git.push"`
	Profile string   `query:"profile" maxLength:"63" doc:"Only subscriptions of this profile." example:"standard"`
	Host    string   `query:"host" maxLength:"255" doc:"Only subscriptions whose endpoint is on this host; with a port only on that." example:"ci.example.com"`
	Managed string   `query:"managed" enum:"jfrog,securesourcemanager,none" doc:"Only subscriptions that this API keeps; none: those kept through this one."`
	Query   string   `query:"q" maxLength:"255" doc:"Only subscriptions with this text in their id or description, in whatever case."`

	domain string // that of Type
}

type subscriptionList struct{ Body v1.SubscriptionPage }

// list answers from the view: a page costs the same wherever it begins.
func (o *operations) list(ctx context.Context, in *listRequest) (*subscriptionList, error) {
	if in.Cursor != "" && !subscription.ValidID(in.Cursor) {
		return nil, httpapi.BadCursor()
	}
	for _, label := range in.Label {
		if name, _, _ := strings.Cut(label, "="); name == "" {
			return nil, httpapi.Invalid("label", strconv.Quote(label)+" has no name: write name or name=value")
		}
	}
	if t, err := o.keep.catalogue.Resolve(in.Type); err == nil {
		in.domain = t.Domain
	} else if domain, ok := strings.CutSuffix(in.Type, ".*"); ok {
		if problem := o.keep.catalogue.PrefixProblem(domain); problem != "" { // no subscription has it
			return nil, httpapi.Invalid("type", problem)
		}
	}
	snapshot, err := o.keep.view.Sync(ctx)
	if err != nil {
		return nil, err
	}
	all := snapshot.All()
	first := sort.Search(len(all), func(i int) bool { return all[i].ID > in.Cursor })
	page := v1.SubscriptionPage{Items: []v1.Subscription{}}
	for _, sub := range all[first:] {
		if !in.wants(sub) {
			continue
		}
		if len(page.Items) == in.Limit {
			page.NextCursor = page.Items[in.Limit-1].ID
			break
		}
		page.Items = append(page.Items, show.Subscription(sub))
	}
	for _, broken := range snapshot.Broken() {
		if broken.ID > in.Cursor && (page.NextCursor == "" || broken.ID <= page.NextCursor) {
			page.Broken = append(page.Broken, v1.BrokenRecord{ID: broken.ID, Error: broken.Err.Error()})
		}
	}
	return &subscriptionList{Body: page}, nil
}

func (in *listRequest) wants(sub *subscription.Subscription) bool {
	if in.State != "" && string(sub.State) != in.State || in.Profile != "" && sub.Profile != in.Profile {
		return false
	}
	if in.Managed != "" && cmp.Or(sub.Managed.By, notManaged) != in.Managed {
		return false
	}
	if in.Type != "" && !in.wantsType(sub) || in.Host != "" && !isOn(sub, in.Host) {
		return false
	}
	if q := strings.ToLower(in.Query); q != "" && !strings.Contains(sub.ID, q) && !strings.Contains(strings.ToLower(sub.Description), q) {
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

// notManaged stands for the native API among those that keep subscriptions.
const notManaged = "none"

// wantsType reports whether a subscription has a type in its list, as it is or as all
// of its domain.
func (in *listRequest) wantsType(sub *subscription.Subscription) bool {
	return slices.Contains(sub.Types, in.Type) || in.domain != "" && slices.Contains(sub.Types, in.domain+".*")
}

// isOn reports whether the endpoint of a subscription is on a host.
func isOn(sub *subscription.Subscription, host string) bool {
	u, err := url.Parse(sub.Endpoint.URL)
	return err == nil && (strings.EqualFold(u.Hostname(), host) || strings.EqualFold(u.Host, host))
}
