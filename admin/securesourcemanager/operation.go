package securesourcemanager

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jetpost/jetpost/internal/profile/securesourcemanager"
	"github.com/jetpost/jetpost/internal/subscription"
)

// An operation is what a change of a hook is answered with. It is done when it is
// answered. It is stored nowhere: its id says which change it was, and the hook whether
// that is so:
//
//	operation-<base64url of: verb, 1 byte; time in ms, 6 bytes; uid, 16 bytes; repository/hook>
//
// So it can be read after a restart and from every admin: the creation and the changes
// of a hook for as long as it exists, with the hook as it is by then; its deletion
// without end.
type operation struct {
	Name     string            `json:"name"`
	Metadata operationMetadata `json:"metadata"`
	Done     bool              `json:"done"`
	Response any               `json:"response"`
}

type operationMetadata struct {
	Type       string    `json:"@type"`
	CreateTime timestamp `json:"createTime"`
	EndTime    timestamp `json:"endTime"`
	Target     string    `json:"target"`
	Verb       string    `json:"verb"`
	APIVersion string    `json:"apiVersion"`
}

type empty struct {
	Type string `json:"@type,omitempty"`
}

type operationList struct {
	Operations    []*operation `json:"operations,omitempty"`
	NextPageToken string       `json:"nextPageToken,omitempty"`
}

// A verb is what was done to a hook.
type verb byte

const (
	created verb = 'c'
	updated verb = 'u'
	deleted verb = 'd'
)

func (v verb) String() string {
	switch v {
	case created:
		return "create"
	case updated:
		return "update"
	case deleted:
		return "delete"
	}
	return ""
}

// A change is what an operation's id says.
type change struct {
	verb verb
	at   time.Time
	uid  string
	hook string // full name
}

const (
	operationPrefix = "operation-"
	typePrefix      = "type.googleapis.com/google.cloud.securesourcemanager.v1."
)

func (c change) id() string {
	b := []byte{byte(c.verb)}
	b = append(b, binary.BigEndian.AppendUint64(nil, uint64(c.at.UnixMilli()))[2:]...) //nolint:gosec // after 1970
	uid, _ := hex.DecodeString(strings.ReplaceAll(c.uid, "-", ""))
	b = append(b, append(uid, make([]byte, 16)...)[:16]...)
	parent, hook := splitHook(c.hook)
	_, repository, _ := strings.Cut(parent, "/repositories/")
	return operationPrefix + base64.RawURLEncoding.EncodeToString(append(b, repository+"/"+hook...))
}

// parseChange reads an id of an operation of a location.
func parseChange(location, id string) (c change, ok bool) {
	encoded, ok := strings.CutPrefix(id, operationPrefix)
	b, err := base64.RawURLEncoding.Strict().DecodeString(encoded)
	if !ok || err != nil || len(b) < 23 {
		return change{}, false
	}
	c.verb = verb(b[0])
	c.at = time.UnixMilli(int64(binary.BigEndian.Uint64(append([]byte{0, 0}, b[1:7]...)))).UTC() //nolint:gosec // 48 bits
	uid := hex.EncodeToString(b[7:23])
	c.uid = uid[:8] + "-" + uid[8:12] + "-" + uid[12:16] + "-" + uid[16:20] + "-" + uid[20:]
	repository, hook, _ := strings.Cut(string(b[23:]), "/")
	parent := location + "/repositories/" + repository
	c.hook = hookName(parent, hook)
	return c, c.verb.String() != "" && securesourcemanager.ValidRepository(parent) && hookIDPattern.MatchString(hook)
}

// operation is what a change is answered with; h is nil for a deletion.
func (c change) operation(h *hook) *operation {
	location, _, _ := strings.Cut(c.hook, "/repositories/")
	o := &operation{
		Name: location + "/operations/" + c.id(), Done: true,
		Metadata: operationMetadata{
			Type: typePrefix + "OperationMetadata", CreateTime: timestamp{c.at}, EndTime: timestamp{c.at},
			Target: c.hook, Verb: c.verb.String(), APIVersion: "v1",
		},
		Response: empty{"type.googleapis.com/google.protobuf.Empty"},
	}
	if h != nil {
		h.Type = typePrefix + "Hook"
		o.Response = h
	}
	return o
}

// changesOf are those that a hook tells of: that it was created, and the last update.
func changesOf(sub *subscription.Subscription) (_ []change, _ *document, err error) {
	d, err := documentOf(sub)
	if err != nil {
		return nil, nil, err
	}
	changes := []change{{created, sub.CreatedAt, d.UID, sub.Managed.Name}}
	if !d.Changed.IsZero() {
		changes = append(changes, change{updated, d.Changed, d.UID, sub.Managed.Name})
	}
	return changes, d, nil
}

// lastOperation is the one of the change that was just made.
func lastOperation(ctx context.Context, sub *subscription.Subscription) (*operation, error) {
	changes, _, err := changesOf(sub)
	if err != nil {
		return nil, err
	}
	h, err := shown(ctx, sub)
	if err != nil {
		return nil, err
	}
	return changes[len(changes)-1].operation(h), nil
}

func (a *API) deleteHook(ctx context.Context, r *request) (any, error) {
	name, err := hookOf(r.Request)
	if err != nil {
		return nil, err
	}
	sub, err := a.find(ctx, name)
	if err != nil {
		return nil, err
	}
	d, err := documentOf(sub)
	if err != nil {
		return nil, err
	}
	if _, err := a.subscriptions.Remove(ctx, manager, sub.ID, ""); err != nil {
		return nil, err
	}
	return change{deleted, after(time.Now(), sub.CreatedAt), d.UID, name}.operation(nil), nil
}

func locationOf(r *http.Request) (string, error) {
	location := "projects/" + r.PathValue("project") + "/locations/" + r.PathValue("location")
	if !securesourcemanager.ValidRepository(location + "/repositories/any") {
		return "", badField("INVALID_PARENT", "name", "\"{location}\" is not the name of a location: write projects/*/locations/*, with letters, digits and . _ : - in each part.", "location", location)
	}
	return location, nil
}

func (a *API) listOperations(ctx context.Context, r *request) (any, error) {
	location, err := locationOf(r.Request)
	if err != nil {
		return nil, err
	}
	if r.query["filter"] != "" {
		return nil, badField("INVALID_FILTER", "filter", "is not supported: leave it out.")
	}
	p, err := pageOf("operations of "+location, r.query)
	if err != nil {
		return nil, err
	}
	subs, err := a.kept(ctx, func(name string) bool { return strings.HasPrefix(name, location+"/repositories/") })
	if err != nil {
		return nil, err
	}
	all, err := operationsOf(ctx, p, subs)
	if err != nil {
		return nil, err
	}
	list := &operationList{}
	list.Operations, list.NextPageToken = cut(p, all)
	return list, nil
}

// operationsOf are those of a page, and one more if there is a next one. Hooks that are
// on other pages are not read.
func operationsOf(ctx context.Context, p page, subs []item[*subscription.Subscription]) ([]item[*operation], error) {
	for i := range subs {
		subs[i].key += "/" // which sorts behind a dash: the order is that of the operations
	}
	slices.SortFunc(subs, func(a, b item[*subscription.Subscription]) int { return cmp.Compare(a.key, b.key) })
	var found []item[*operation]
	for _, sub := range subs {
		if len(found) > p.size {
			break
		}
		if sub.key+updated.String() <= p.after { // the last that it can have
			continue
		}
		changes, _, err := changesOf(sub.value)
		if err != nil {
			return nil, err
		}
		for _, c := range changes {
			key := sub.key + c.verb.String()
			if key <= p.after {
				continue
			}
			h, err := shown(ctx, sub.value)
			if err != nil {
				return nil, err
			}
			found = append(found, item[*operation]{key, c.operation(h)})
		}
	}
	return found, nil
}

func (a *API) getOperation(ctx context.Context, r *request) (any, error) {
	location, err := locationOf(r.Request)
	if err != nil {
		return nil, err
	}
	id := r.PathValue("operation")
	missing := notFound(location + "/operations/" + id)
	c, ok := parseChange(location, id)
	if !ok || c.at.After(time.Now().Add(time.Minute)) { // clocks of admins differ
		return nil, missing
	}
	sub, err := a.subscriptions.Find(ctx, subscriptionID(c.hook))
	switch {
	case isMissing(err) || err == nil && !keeps(sub, c.hook):
		if c.verb == deleted {
			return c.operation(nil), nil
		}
		return nil, missing
	case err != nil:
		return nil, err
	}
	changes, d, err := changesOf(sub)
	if err != nil {
		return nil, err
	}
	first, last := changes[0], changes[len(changes)-1]
	switch {
	case c.verb == deleted && d.UID != c.uid: // this one was made after it
		return c.operation(nil), nil
	case d.UID != c.uid,
		c.verb == deleted,
		c.verb == created && c.id() != first.id(),
		c.verb == updated && (last.verb != updated || !c.at.After(first.at) || c.at.After(last.at)):
		return nil, missing
	}
	h, err := shown(ctx, sub)
	if err != nil {
		return nil, err
	}
	return c.operation(h), nil
}

// dismissOperation answers those that are not interested in an operation any more, or
// want one to end that has ended: there is nothing to do.
func (a *API) dismissOperation(ctx context.Context, r *request) (any, error) {
	if r.Method == http.MethodPost {
		id, cancel := strings.CutSuffix(r.PathValue("operation"), ":cancel")
		if !cancel {
			return nil, noMethod(r.Request)
		}
		r.SetPathValue("operation", id)
	}
	if _, err := a.getOperation(ctx, r); err != nil {
		return nil, err
	}
	return empty{}, nil
}
