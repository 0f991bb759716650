package delivery

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetpost/jetpost/internal/stream"
)

// Remade is the message of a delivery that was lost, and is put on its queue again. name
// says on which occasion: however often it is published for the same one within
// stream.Dedupe, it is stored once.
func (d *Delivery) Remade(subject, expected, name string) *nats.Msg {
	return d.message(subject, expected, d.Origin+":remade:"+name)
}

// Since calls each with the attempts of a subscription that were recorded at a time or
// later, oldest first.
func (l *Log) Since(ctx context.Context, subscription string, from time.Time, each func(*Attempt)) error {
	r := stream.Range{Subject: l.layout.AttemptSubject(subscription), FromTime: from}
	for message, err := range stream.Read(ctx, l.js, l.layout.Attempts(), r) {
		if err != nil {
			return err
		}
		records, err := decodeAttempts(&message)
		for n := range records {
			each(&records[n])
		}
		if err != nil {
			return err
		}
	}
	return ctx.Err()
}

// CompleteSince is since when the log has all attempts of a subscription: since ever
// (zero), since it was made, or since the oldest that has not made room for newer ones.
func (l *Log) CompleteSince(ctx context.Context, subscription string) (time.Time, error) {
	shape, err := stream.ReadShape(ctx, l.js, l.layout.Attempts())
	if err != nil {
		return time.Time{}, err
	}
	since := shape.Created
	counts, err := stream.SubjectCounts(ctx, l.js, l.layout.Attempts(), l.layout.AttemptSubject(subscription))
	if err != nil {
		return time.Time{}, err
	}
	full := counts[l.layout.AttemptSubject(subscription)] >= stream.MaxRecorded
	if !full && shape.First <= 1 {
		return since, nil
	}
	r := stream.Range{}
	if full {
		r.Subject = l.layout.AttemptSubject(subscription)
	}
	for message, err := range stream.Read(ctx, l.js, l.layout.Attempts(), r) { // the oldest
		if err == nil && message.Time.After(since) {
			since = message.Time
		}
		return since, err
	}
	return since, ctx.Err()
}
