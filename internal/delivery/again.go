package delivery

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/jetpost/jetpost/internal/stream"
)

// A Redrive says that a delivery was a dead letter, and has been put back on its
// queue. Its attempts are numbered on, and its schedule begins anew.
type Redrive struct {
	DeadLetter uint64    // sequence of the dead letter
	Before     int       // attempts made before
	At         time.Time // when it was put back
}

// String is the form in which a redrive travels.
func (r Redrive) String() string {
	return strconv.FormatUint(r.DeadLetter, 10) + " " + strconv.Itoa(r.Before) + " " + strconv.FormatInt(r.At.UnixNano(), 10)
}

func parseRedrive(text string) (Redrive, error) {
	parts := strings.Split(text, " ")
	if len(parts) != 3 {
		return Redrive{}, fmt.Errorf("%q has %d parts", text, len(parts))
	}
	deadLetter, err := strconv.ParseUint(parts[0], 10, 64)
	if err != nil {
		return Redrive{}, err
	}
	before, err := strconv.Atoi(parts[1])
	if err != nil || before < 0 {
		return Redrive{}, fmt.Errorf("%q is not a number of attempts", parts[1])
	}
	at, err := strconv.ParseInt(parts[2], 10, 64)
	if err != nil {
		return Redrive{}, err
	}
	return Redrive{DeadLetter: deadLetter, Before: before, At: time.Unix(0, at)}, nil
}

// Name tells r from every other redrive, also from one of another dead letter that has the
// same sequence: the stream of dead letters may lose its end, and use it again.
func (r Redrive) Name() string { return placeName(r.DeadLetter, r.At) }

// Redriven is the message that puts the delivery of a dead letter back on its
// queue. It is stored once, however often it is published within stream.Dedupe.
func (l *StoredDeadLetter) Redriven(subject, expected string, now time.Time) *nats.Msg {
	d := *l.Delivery
	d.Redrive = Redrive{DeadLetter: l.Sequence, Before: l.Attempts, At: now}
	d.Attempt, d.Manual, d.Again = l.Attempts+1, "", false
	return d.message(subject, expected, d.Origin+":redrive:"+placeName(l.Sequence, l.Stored))
}

// ManualRetry is the message that has one attempt of d made, beside those of its
// schedule, which it does not disturb: it has no timer, and leaves no dead letter.
// name is to be a new one each time. It is made although the delivery was made before.
func (d *Delivery) ManualRetry(subject, expected, name string) *nats.Msg {
	one := *d
	one.Attempt, one.Manual, one.Redrive, one.FirstAttempt, one.Again = 1, name, Redrive{}, time.Time{}, false
	return one.message(subject, expected, one.Chain())
}

func (d *Delivery) message(subject, expected, id string) *nats.Msg {
	h := make(nats.Header, 16)
	d.setHeader(h)
	h[stream.HeaderMessageID] = []string{id}
	h[stream.HeaderExpectedStream] = []string{expected}
	return &nats.Msg{Subject: subject, Header: h, Data: d.Event.Data}
}
