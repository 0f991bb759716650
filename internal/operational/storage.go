package operational

import (
	"strconv"
	"time"
)

// A Loss is what a stream of NATS has lost.
type Loss struct {
	Stream          string
	Kind            string // see package inventory
	Detail          string
	Was, Now, Count uint64
	Found           time.Time
}

// StorageLost is the event of a Loss.
func StorageLost(l Loss) Event {
	return newEvent(storageLost, l.Stream+"/"+strconv.FormatInt(l.Found.UnixNano(), 10), l.Stream, struct {
		Stream string    `json:"stream"`
		Kind   string    `json:"kind"`
		Detail string    `json:"detail"`
		Was    uint64    `json:"was"`
		Now    uint64    `json:"now"`
		Count  uint64    `json:"count"`
		Found  time.Time `json:"found"`
	}{l.Stream, l.Kind, clip(l.Detail), l.Was, l.Now, l.Count, l.Found.UTC()})
}
