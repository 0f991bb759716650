package wire

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/tidwall/gjson"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/subscription"
)

// ErrNotJSON is returned for an event whose data a JSON body cannot carry.
var ErrNotJSON = errors.New("its data is not JSON, and this profile carries nothing else: use profile cloudevents or cloudevents-binary")

// JSON returns the data of e, as it was published, if it is JSON; null if there is
// none. Otherwise the error is ErrNotJSON.
func JSON(e *event.Event) ([]byte, error) {
	if len(e.Data) == 0 && event.IsJSON(e.DataContentType) {
		return []byte("null"), nil
	}
	if !event.IsJSON(e.DataContentType) || !gjson.ValidBytes(e.Data) || !utf8.Valid(e.Data) {
		return nil, ErrNotJSON
	}
	return e.Data, nil
}

// CheckJSON reports a filter that asks for data that is not JSON: the subscription
// of a profile that carries nothing else would get dead letters only. Most other
// subscriptions show what they get no earlier than at delivery.
func CheckJSON(sub *subscription.Subscription) []subscription.Problem {
	var found []subscription.Problem
	for i, f := range sub.Filters {
		if kind := f.Values["datacontenttype"]; f.Dialect == "exact" && kind != "" && !event.IsJSON(kind) {
			found = append(found, subscription.Problem{
				Field:   fmt.Sprintf("filters[%d].exact.datacontenttype", i),
				Message: fmt.Sprintf("asks for %q, and the profile %s carries JSON only: use profile cloudevents or cloudevents-binary", kind, sub.Profile),
			})
		}
	}
	return found
}

// SplitType returns what stands before and after the last dot of an event type:
// the domain and the event, as ecosystems name them that have no prefixes. ok is
// false if one of them would be empty.
func SplitType(eventType string) (domain, event string, ok bool) {
	dot := strings.LastIndexByte(eventType, '.')
	if dot <= 0 || dot == len(eventType)-1 {
		return "", "", false
	}
	return eventType[:dot], eventType[dot+1:], true
}

// UUID is a delivery id in the form of a UUID of version 4, for receivers that
// read one: the same id yields the same UUID, on every attempt and replay.
func UUID(deliveryID string) string {
	sum := sha256.Sum256([]byte(deliveryID))
	sum[6] = sum[6]&0x0f | 0x40 // version 4 (RFC 9562, section 5.4)
	sum[8] = sum[8]&0x3f | 0x80 // variant
	var text [36]byte
	hex.Encode(text[0:8], sum[0:4])
	hex.Encode(text[9:13], sum[4:6])
	hex.Encode(text[14:18], sum[6:8])
	hex.Encode(text[19:23], sum[8:10])
	hex.Encode(text[24:36], sum[10:16])
	text[8], text[13], text[18], text[23] = '-', '-', '-', '-'
	return string(text[:])
}

// DropOwn takes jetpost's own headers away, for receivers that must see nothing
// but what the original sends.
func DropOwn(h http.Header) {
	delete(h, HeaderSubscription)
	delete(h, HeaderAttempt)
}

// Set puts a header in the letter case in which its ecosystem writes it, which is
// not always that of net/http. What the user may have set under the name goes.
func Set(h http.Header, name, value string) {
	delete(h, http.CanonicalHeaderKey(name))
	h[name] = []string{value}
}
