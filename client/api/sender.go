package api

import "time"

// A Sender is a process that makes deliveries.
type Sender struct {
	ID            string    `json:"id" doc:"Made when it starts, and new each time. In its log it is the member."`
	Host          string    `json:"host" doc:"The name of its machine."`
	Version       string    `json:"version" doc:"Of jetpost."`
	Started       time.Time `json:"started" doc:"When it did."`
	LastSeen      time.Time `json:"last_seen" doc:"The time of its last heartbeat, which it sends every few seconds."`
	Draining      bool      `json:"draining" doc:"It is stopping: it finishes its deliveries in flight, and takes no more."`
	Subscriptions int       `json:"subscriptions" doc:"For how many active subscriptions it makes the deliveries."`
}

// A SenderList is the senders that are alive.
type SenderList struct {
	Items []Sender `json:"items"`
}
