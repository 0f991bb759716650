package filter

import (
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// A document is a value in JSON data, and what is inside it once that was asked for: each
// object and array that is looked into is read once, however many values are looked up.
// One value is found faster by reading the data from its beginning; with many that would
// be work for each of them.
type document struct {
	raw     string
	read    bool
	members map[string][]*document // of an object: a key may be there more than once
	items   []*document            // of an array
}

// find looks a path up as gjson does: of members with the same key the first that leads
// to a value counts, nil when none does.
func (d *document) find(keys []string) *document {
	if len(keys) == 0 {
		return d
	}
	if !d.read {
		d.readMembers()
	}
	for _, member := range d.members[keys[0]] {
		if found := member.find(keys[1:]); found != nil {
			return found
		}
	}
	if d.items == nil {
		return nil
	}
	at, err := strconv.ParseUint(keys[0], 10, 64)
	if err != nil || at >= uint64(len(d.items)) {
		return nil
	}
	return d.items[at].find(keys[1:])
}

func (d *document) readMembers() {
	d.read = true
	value := gjson.Parse(d.raw)
	switch {
	case value.IsObject():
		d.members = make(map[string][]*document)
		value.ForEach(func(key, member gjson.Result) bool {
			d.members[key.Str] = append(d.members[key.Str], &document{raw: member.Raw})
			return true
		})
	case value.IsArray():
		value.ForEach(func(_, item gjson.Result) bool {
			d.items = append(d.items, &document{raw: item.Raw})
			return true
		})
	}
}

// pathKeys are the keys of a path in gjson's syntax, as parseDataPath writes it.
func pathKeys(path string) []string {
	var keys []string
	var key strings.Builder
	for i := 0; i < len(path); i++ {
		switch {
		case path[i] == '.':
			keys = append(keys, key.String())
			key.Reset()
		case path[i] == '\\' && i+1 < len(path):
			i++
			fallthrough
		default:
			key.WriteByte(path[i])
		}
	}
	return append(keys, key.String())
}
