package connect

import (
	"context"
	"encoding/json"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
)

// Subscriptions reads all pages of a list of subscriptions.
func Subscriptions(ctx context.Context, api *Client, f client.SubscriptionFilter) (items []json.RawMessage, broken []v1.BrokenRecord, err error) {
	items, f.PageSize = []json.RawMessage{}, MaxPage
	var answer client.Response
	for page, err := range api.Subscriptions.Pages(ctx, f, client.WithResponse(&answer)) {
		if err != nil {
			return nil, nil, err
		}
		raw, err := RawItems(answer.Body)
		if err != nil {
			return nil, nil, err
		}
		items, broken = append(items, raw...), append(broken, page.Broken...)
	}
	return items, broken, nil
}
