package admin

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/delivery"
	"github.com/jetpost/jetpost/internal/keyring"
	"github.com/jetpost/jetpost/internal/stream/inventory"
	"github.com/jetpost/jetpost/internal/subscription"
	"github.com/jetpost/jetpost/internal/subscription/filter"
)

// What answers show is, byte for byte, what is stored, with every field set and with
// none.
func TestShownAsStored(t *testing.T) {
	t.Parallel()
	shownAs(t, func(s *subscription.Subscription) any { return showSubscription(s) })
	shownAs(t, func(a *delivery.Attempt) any { return showAttempt(a) })
	shownAs(t, func(l *delivery.DeadLetter) any { return showLetter(l) })
	shownAs(t, func(e *audit.Entry) any { return showEntry(e) })
	shownAs(t, func(h *audit.Head) any { return v1.AuditPlace(*h) })
	shownAs(t, func(l *inventory.Loss) any { return showLoss(l) })
	shownAs(t, func(u *inventory.Unowned) any { return showUnowned(u) })
	shownAs(t, func(c *filter.Clause) any { return showClause(c) })
	shownAs(t, func(s *delivery.Selection) any {
		return v1.SelectionOptions{
			Subscription: s.Subscription, Reasons: showAll(s.Reasons, func(r *delivery.Reason) v1.Reason { return v1.Reason(*r) }),
			Types: s.Types, From: s.From, To: s.To, Sequences: s.Sequences,
		}
	})
	for _, stored := range []string{
		`{"exact":{"subject":"<main> & \"more\"","data.x":"ü\u2028"}}`, `{"prefix":{"subject":"m"}}`, `{"suffix":{"subject":"n"}}`, `{"glob":{"subject":"{a,b}*"}}`,
		`{"ant":{"data.path":"org/**/*.jar"}}`, `{"sql":"subject LIKE 'a<b%' AND id > 'x'"}`,
		`{"all":[{"not":{"exact":{"subject":"<x>"}}},{"any":[{"exact":{"type":"a"}},{"sql":"id < 'b'"}]}]}`,
	} {
		var f filter.Filter
		if err := json.Unmarshal([]byte(stored), &f); err != nil {
			t.Fatal(err)
		}
		sub := subscription.Subscription{Filters: []filter.Filter{f}}
		sameJSON(t, &sub, showSubscription(&sub))
	}
	for _, took := range []time.Duration{0, 1, time.Microsecond, 1234567 * time.Nanosecond, time.Second, 90 * time.Minute, 30*time.Second + 7*time.Microsecond} {
		a := delivery.Attempt{Duration: delivery.Millis(took), Outcome: delivery.Gone}
		sameJSON(t, &a, showAttempt(&a))
	}
	for outcome, want := range map[delivery.Outcome]v1.Outcome{
		delivery.Delivered: v1.Delivered, delivery.Retry: v1.Retry, delivery.Gone: v1.Gone, delivery.Rejected: v1.Rejected, delivery.Exhausted: v1.Exhausted,
	} {
		if got := showAttempt(&delivery.Attempt{Outcome: outcome}).Outcome; got != want {
			t.Errorf("%s is shown as %s", outcome, got)
		}
	}
}

func shownAs[T any](t *testing.T, show func(*T) any) {
	t.Helper()
	full, bare := new(T), new(T)
	fill(reflect.ValueOf(full).Elem(), 1, 3)
	if a, ok := any(bare).(*delivery.Attempt); ok {
		a.Outcome = delivery.Retry // there is always one
	}
	sameJSON(t, full, show(full))
	sameJSON(t, bare, show(bare))
}

func sameJSON(t *testing.T, stored, shown any) {
	t.Helper()
	var want, got bytes.Buffer
	if err := encodeAnswer(&want, stored); err != nil {
		t.Fatal(err)
	}
	if err := encodeAnswer(&got, shown); err != nil {
		t.Fatal(err)
	}
	if got.String() != want.String() {
		t.Errorf("%T is stored as\n%sand shown as\n%s", stored, &want, &got)
	}
}

// fill sets every field to another value. Lists and maps get one item, to a depth.
func fill(v reflect.Value, n int64, depth int) {
	switch x := v.Addr().Interface().(type) {
	case *time.Time:
		*x = time.Date(2026, 1, 2, 3, 4, 5, int(n)*1000, time.UTC)
		return
	case *keyring.Secret:
		*x = keyring.NewSecret("swordfish")
		return
	case *filter.Filter:
		*x = filter.Exact(map[string]string{"subject": "main"})
		return
	case *json.RawMessage:
		*x = json.RawMessage(`{"a": "<b>"}`)
		return
	case *delivery.Outcome:
		*x = delivery.Exhausted
		return
	}
	switch v.Kind() { //nolint:exhaustive // the others are not in what is stored
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				fill(v.Field(i), n+int64(i), depth)
			}
		}
	case reflect.Slice:
		if depth > 0 {
			v.Set(reflect.MakeSlice(v.Type(), 1, 1))
			fill(v.Index(0), n, depth-1)
		}
	case reflect.Map:
		value := reflect.New(v.Type().Elem()).Elem()
		fill(value, n, depth)
		v.Set(reflect.MakeMap(v.Type()))
		v.SetMapIndex(reflect.ValueOf("name"), value)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n, depth)
	case reflect.String:
		v.SetString("<text>")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(float64(n) / 8)
	case reflect.Int, reflect.Int64:
		v.SetInt(n)
	case reflect.Uint64:
		v.SetUint(uint64(n))
	default:
		panic("no value for a " + v.Kind().String())
	}
}

// The path to a field that has the wrong type is that of JSON, also in what is embedded.
func TestWrongTypeField(t *testing.T) {
	t.Parallel()
	for body, field := range map[string]string{`{"subscription":5}`: "subscription", `{"sequences":"x"}`: "sequences", `{"rate":"x"}`: "rate"} {
		var options v1.RedriveOptions
		err := decodeOptions([]byte(body), &options)
		if p, ok := err.(*problem); !ok || len(p.Errors) != 1 || p.Errors[0].Field != field { //nolint:errorlint // it is that itself
			t.Errorf("%s: got %v", body, err)
		}
	}
}
