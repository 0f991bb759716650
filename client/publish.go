package client

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jetpost/jetpost/client/api"
)

// The content types of PublishJSON.
const (
	ContentTypeEvent = "application/cloudevents+json"
	ContentTypeBatch = "application/cloudevents-batch+json"
)

// Publish stores events, and returns where, in their order. All of them are stored when it
// returns no error; publishing them again is safe, by their sources and ids.
func (c Events) Publish(ctx context.Context, events ...*api.Event) ([]api.Receipt, error) {
	if len(events) == 0 {
		return nil, nil
	}
	contentType, value := ContentTypeBatch, any(events)
	if len(events) == 1 {
		contentType, value = ContentTypeEvent, events[0]
	}
	body, err := json.Marshal(value)
	if err != nil {
		return nil, c.s.cfg.WrapError(fmt.Errorf("encode the event: %w", err))
	}
	receipts, err := c.PublishJSON(ctx, contentType, body)
	if err == nil && len(receipts) != len(events) {
		return nil, c.s.cfg.WrapError(fmt.Errorf("%s has stored %d events of %d", c.s.cfg.URL, len(receipts), len(events)))
	}
	return receipts, err
}

// PublishJSON is Publish with an event, or a batch of them, in the JSON format of
// CloudEvents.
func (c Events) PublishJSON(ctx context.Context, contentType string, body []byte, options ...Option) ([]api.Receipt, error) {
	r := post("events").with(body)
	r.header.Set("Content-Type", contentType)
	r.repeatable = true // the server knows an event that it has by its source and id
	answer, err := call[struct {
		api.Receipt

		Receipts []api.Receipt `json:"receipts"`
	}](ctx, c.s, r, options)
	switch {
	case err != nil:
		return nil, err
	case answer.Receipts != nil:
		return answer.Receipts, nil
	}
	return []api.Receipt{answer.Receipt}, nil
}
