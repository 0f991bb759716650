package admin

import (
	"context"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/admin/subscriptions"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/stream"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/members"
)

type senderList struct{ Body v1.SenderList }

type sendersRequest struct {
	Subscription string `query:"subscription" maxLength:"63" doc:"Only those that make the deliveries of this subscription, the one with the best claim first."`
}

// senders is the operation of the senders, who register themselves: see package members.
type senders struct {
	js     jetstream.JetStream
	layout stream.Layout
	keep   *subscriptions.Keeper
}

func (s *senders) register(api *httpapi.API) {
	httpapi.Register(api, huma.Operation{
		OperationID: "list-senders", Method: http.MethodGet, Path: "/v1/senders", Tags: []string{"Senders"},
		Summary:     "List the senders that are alive",
		Description: "Each subscription belongs to as many of them as its delivery.senders says. The list is whole, and that of one moment; while senders come and go, they may already do what the next one says.",
	}, s.list)
}

func (s *senders) list(ctx context.Context, in *sendersRequest) (*senderList, error) {
	snapshot, err := s.keep.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	set, err := members.Read(ctx, s.js, s.layout)
	if err != nil {
		return nil, err
	}
	owned := make(map[string]int)
	for _, sub := range snapshot.All() {
		if sub.State != subscription.Active {
			continue
		}
		for _, id := range set.Owners(sub) {
			owned[id]++
		}
	}
	list := &senderList{}
	list.Body.Items = []v1.Sender{}
	for _, m := range set.All() {
		list.Body.Items = append(list.Body.Items, v1.Sender{
			ID: m.ID, Host: m.Host, Version: m.Version, Started: m.Started, LastSeen: m.LastSeen.UTC(), Draining: m.Draining,
			Subscriptions: owned[m.ID],
		})
	}
	if in.Subscription == "" {
		return list, nil
	}
	sub, err := s.keep.Find(ctx, in.Subscription)
	if err != nil {
		return nil, err
	}
	var owners []string
	if sub.State == subscription.Active {
		owners = set.Owners(sub)
	}
	claim := func(s v1.Sender) int { return slices.Index(owners, s.ID) }
	list.Body.Items = slices.DeleteFunc(list.Body.Items, func(s v1.Sender) bool { return claim(s) < 0 })
	slices.SortFunc(list.Body.Items, func(a, b v1.Sender) int { return claim(a) - claim(b) })
	return list, nil
}
