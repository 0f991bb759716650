package jfrog

import (
	"cmp"
	"crypto/sha256"
	"errors"
	"strconv"
	"strings"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/internal/profile/wire"
	"github.com/jetpost/jetpost/internal/subscription"
)

// errType is for events that no subscription can ask for by a checked type.
var errType = errors.New("its type has no dot between a domain and an event type, and the body needs both")

// An envelope is the body of a predefined webhook, but for what each event brings.
// The platform writes its keys in one order, as compact JSON:
//
//	{"domain","event_type","data":{…},"subscription_key","jpd_origin"?,"source","userContext"?}
type envelope struct {
	key, origin, source string
	user                bool
	userID, userRealm   string
	fixed               []byte // ,"subscription_key":…,"jpd_origin":…
}

func newEnvelope(sub *subscription.Subscription) *envelope {
	e := &envelope{
		key:    cmp.Or(sub.Settings[SettingSubscriptionKey], sub.ID),
		origin: sub.Settings[SettingOrigin],
		source: sub.Settings[SettingSource],
		user:   sub.Settings[SettingUserContext] == "true",
		userID: sub.Settings[SettingUserID], userRealm: cmp.Or(sub.Settings[SettingUserRealm], "internal"),
	}
	e.fixed = event.AppendJSONString([]byte(`,"subscription_key":`), e.key)
	if e.origin != "" {
		e.fixed = event.AppendJSONString(append(e.fixed, `,"jpd_origin":`...), e.origin)
	}
	return e
}

// body is the envelope around the data of event. An event without data has an
// empty object.
func (e *envelope) body(from *event.Event) ([]byte, error) {
	domain, name, ok := wire.SplitType(from.Type)
	if !ok {
		return nil, errType
	}
	data, err := dataOf(from)
	if err != nil {
		return nil, err
	}
	b := make([]byte, 0, len(data)+len(e.fixed)+len(from.Type)+192)
	b = event.AppendJSONString(append(b, `{"domain":`...), domain)
	b = event.AppendJSONString(append(b, `,"event_type":`...), name)
	b = appendCompact(append(b, `,"data":`...), data)
	b = append(b, e.fixed...)
	b = event.AppendJSONString(append(b, `,"source":`...), e.sourceOf(from))
	if e.user {
		if user := e.userOf(from); user != nil {
			b = append(append(b, `,"userContext":`...), user...)
		}
	}
	return append(b, '}'), nil
}

// dataOf is the data of an event as JSON; receivers expect an object even where an
// event has no data.
func dataOf(from *event.Event) ([]byte, error) {
	data, err := wire.JSON(from)
	if err == nil && len(from.Data) == 0 {
		data = []byte("{}")
	}
	return data, err
}

// appendCompact appends JSON without the white space outside its strings, and
// otherwise byte for byte: key order, escapes and digits stay. data must be valid.
func appendCompact(dst, data []byte) []byte {
	begin := 0 // of what is not yet appended
	for i := 0; i < len(data); i++ {
		switch data[i] {
		case ' ', '\t', '\r', '\n':
			dst = append(dst, data[begin:i]...)
			begin = i + 1
		case '"':
			for i++; i < len(data) && data[i] != '"'; i++ {
				if data[i] == '\\' {
					i++
				}
			}
		}
	}
	return append(dst, data[begin:]...)
}

// sourceOf is the source of an event in the platform's form.
func (e *envelope) sourceOf(from *event.Event) string { return Source(from.Source, e.source) }

// Source is what the body of a delivery has as its source, for an event with this source
// attribute and a subscription with this SettingSource.
func Source(attribute, setting string) string {
	switch {
	case validSource(attribute):
		return attribute
	case setting != "":
		return setting
	default:
		return syntheticSource(attribute)
	}
}

// validSource reports whether source is jfrog/<service>@<id>.
func validSource(source string) bool {
	rest, ok := strings.CutPrefix(source, "jfrog/")
	service, id, found := strings.Cut(rest, "@")
	return ok && found && isWord(service) && isWord(id)
}

func isWord(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' {
			return false
		}
	}
	return s != ""
}

// syntheticSource stands for a source attribute of another form. Every subscription
// and every replica makes the same one of it: the id has the 26 characters of a
// lower-case ULID and comes from the attribute's SHA-256.
func syntheticSource(source string) string {
	const alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
	sum := sha256.Sum256([]byte(source))
	b := []byte("jfrog/jfrt@")
	b = append(b, alphabet[sum[0]>>5]) // 128 bits are 3 and 25 times 5
	bits, n := uint(sum[0]&0x1f), 5
	for i := 1; len(b) < len("jfrog/jfrt@")+26; {
		if n < 5 {
			bits, n = bits<<8|uint(sum[i]), n+8
			i++
		}
		n -= 5
		b = append(b, alphabet[bits>>n&0x1f])
	}
	return string(b)
}

// userOf is the user who caused an event, as JSON; nil if unknown.
func (e *envelope) userOf(from *event.Event) []byte {
	id, _ := from.Attribute("authid")
	kind, _ := from.Attribute("authtype")
	if id = cmp.Or(id, e.userID); id == "" {
		return nil
	}
	b := event.AppendJSONString([]byte(`{"id":`), id)
	b = strconv.AppendBool(append(b, `,"isToken":`...), kind == "api_key")
	return append(event.AppendJSONString(append(b, `,"realm":`...), e.userRealm), '}')
}
