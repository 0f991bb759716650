package securesourcemanager

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
)

const (
	defaultPage = 30
	maxPage     = 100
)

// A page is a part of a list: up to size items whose keys come after a key. Keys do not
// change, so that pages do not shift while items come and go.
type page struct {
	of    string // what is listed, with its parent: tokens of others are refused
	size  int
	after string
}

func pageOf(of string, query map[string]string) (page, error) {
	p := page{of: of, size: defaultPage}
	if text := query["pageSize"]; text != "" {
		size, err := strconv.ParseInt(text, 10, 32)
		if err != nil || size < 0 {
			return p, badField("INVALID_PAGE_SIZE", "pageSize", "\"{pageSize}\" is not a size: use 1 to {maximum}, or 0 for {default}.",
				"pageSize", text, "maximum", strconv.Itoa(maxPage), "default", strconv.Itoa(defaultPage))
		}
		if size > 0 {
			p.size = int(min(size, maxPage))
		}
	}
	if token := query["pageToken"]; token != "" {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(token)
		after, found := strings.CutPrefix(string(raw), p.mark())
		if err != nil || !found || after == "" {
			return p, badField("INVALID_PAGE_TOKEN", "pageToken", "is not the nextPageToken of a page of this list.")
		}
		p.after = after
	}
	return p, nil
}

// mark is the beginning of the tokens of a list.
func (p page) mark() string {
	sum := sha256.Sum256([]byte(p.of))
	return string(sum[:9])
}

// An item of a list, by its key.
type item[T any] struct {
	key   string
	value T
}

// cut returns the items of a page and the token of the next one, which is empty for
// the last.
func cut[T any](p page, items []item[T]) (values []T, next string) {
	slices.SortFunc(items, func(a, b item[T]) int { return cmp.Compare(a.key, b.key) })
	first, found := slices.BinarySearchFunc(items, p.after, func(i item[T], key string) int { return cmp.Compare(i.key, key) })
	if found {
		first++
	}
	items = items[first:]
	if len(items) > p.size {
		items = items[:p.size]
		next = base64.RawURLEncoding.EncodeToString([]byte(p.mark() + items[p.size-1].key))
	}
	for _, i := range items {
		values = append(values, i.value)
	}
	return values, next
}
