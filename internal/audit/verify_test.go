package audit_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/jetpost/jetpost/internal/audit"
)

// chain makes records of a trail, from sequence first to last.
func chain(t *testing.T, first, last uint64) [][]byte {
	t.Helper()
	var lines [][]byte
	previous := ""
	if first > 1 {
		previous = audit.Hash([]byte("the one before"))
	}
	for n := first; n <= last; n++ {
		r := record(int(n))
		r.Sequence, r.At, r.Actor, r.Previous = n, time.Unix(1_770_000_000+int64(n), 0).UTC(), "tok_1", previous
		line, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		lines, previous = append(lines, line), audit.Hash(line)
	}
	return lines
}

func headOf(t *testing.T, line []byte) audit.Head {
	t.Helper()
	return audit.Head{Sequence: decode(t, line).Sequence, Hash: audit.Hash(line)}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	whole := chain(t, 1, 5)
	aged := chain(t, 40, 45)
	end := headOf(t, whole[4])
	other := chain(t, 1, 9)
	other[2] = bytes.ReplaceAll(other[2], []byte("tok_1"), []byte("tok_2"))
	for _, test := range []struct {
		name  string
		lines [][]byte
		heads []audit.Head
		want  *audit.Break
	}{
		{"nothing", nil, nil, nil},
		{"all is well", whole, nil, nil},
		{"and its head is known", whole, []audit.Head{end, headOf(t, whole[1])}, nil},
		{"the first ones have aged out", aged, []audit.Head{headOf(t, whole[1]), headOf(t, aged[0])}, nil},
		{"one is missing", slices.Concat(whole[:2], whole[3:]), nil, &audit.Break{Sequence: 3, Reason: "is missing: record 4 stands behind record 2"}},
		{"two are swapped", [][]byte{whole[0], whole[2], whole[1]}, nil, &audit.Break{Sequence: 2, Reason: "is missing: record 3 stands behind record 1"}},
		{"one is there twice", [][]byte{whole[0], whole[1], whole[1]}, nil, &audit.Break{Sequence: 2, Reason: "stands behind record 2: it is out of order, or there twice"}},
		{"one was altered", slices.Concat(whole[:2], other[2:3], whole[3:]), nil, &audit.Break{Sequence: 4, Reason: "does not fit the one before it: it was written behind one with the hash " +
			audit.Hash(whole[2]) + ", and record 3 has " + audit.Hash(other[2]) + ": one of the two was altered or put in"}},
		{"the last one was altered, without a head to compare", slices.Concat(whole[:2], other[2:3]), nil, nil},
		{"the last one was altered, with a head to compare", slices.Concat(whole[:2], other[2:3]), []audit.Head{headOf(t, whole[2])}, &audit.Break{
			Sequence: 3, Reason: "has the hash " + audit.Hash(other[2]) + ", and the head that was given " + audit.Hash(whole[2]) + ": it, or one before it, was altered",
		}},
		{"the end is cut off", whole[:3], []audit.Head{end}, &audit.Break{Sequence: 4, Reason: "is missing: there is a head of record 5"}},
		{"everything is gone", nil, []audit.Head{end}, &audit.Break{Sequence: 1, Reason: "is missing: there is a head of record 5"}},
		{"one cannot be read", slices.Concat(whole[:1], [][]byte{[]byte("{}")}), nil, &audit.Break{Sequence: 2, Reason: "cannot be read: it is not an audit record: it has no sequence"}},
		{"the first one is not the first", [][]byte{bytes.Replace(aged[0], []byte(`"sequence":40`), []byte(`"sequence":1`), 1)}, nil, &audit.Break{Sequence: 1, Reason: "names one before it, and is the first"}},
		{"heads that contradict each other", whole, []audit.Head{end, {Sequence: 5, Hash: strings.Repeat("0", 64)}}, &audit.Break{Sequence: 5, Reason: "has two hashes among the heads that were given"}},
	} {
		got := verify(test.lines, test.heads...)
		if diff := cmp.Diff(test.want, got.Break); diff != "" {
			t.Errorf("%s: break differs (-want +got):\n%s", test.name, diff)
		}
	}
	got := verify(aged, headOf(t, whole[1]), headOf(t, aged[0]))
	want := audit.Report{
		Records: 6, First: 40, Last: 45, FirstAt: time.Unix(1_770_000_040, 0).UTC(), LastAt: time.Unix(1_770_000_045, 0).UTC(),
		Hash: audit.Hash(aged[5]), Confirmed: []uint64{40}, Unchecked: []uint64{2},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("report differs (-want +got):\n%s", diff)
	}
}

func TestParseHead(t *testing.T) {
	t.Parallel()
	want := audit.Head{Sequence: 12, Hash: strings.Repeat("0a", 32)}
	if got, err := audit.ParseHead(" " + want.String() + "\n"); err != nil || got != want {
		t.Errorf("got %+v and error %v", got, err)
	}
	for _, text := range []string{"", "12", ":", "0:" + want.Hash, "12:" + want.Hash[1:], "12:" + strings.ToUpper(want.Hash), "x:" + want.Hash, "-1:" + want.Hash} {
		if got, err := audit.ParseHead(text); err == nil {
			t.Errorf("%q: got %+v", text, got)
		}
	}
}

// Every change of the records is detected with the head.
func TestEveryChangeIsFound(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // a test
	for range 500 {
		whole := chain(t, 1+random.Uint64N(3), 4+random.Uint64N(10))
		head := headOf(t, whole[len(whole)-1])
		lines := slices.Clone(whole)
		at := random.IntN(len(lines))
		what := tamper(t, random, &lines, at)
		if slices.EqualFunc(lines, whole, bytes.Equal) {
			continue
		}
		if got := verify(lines, head); got.Break == nil {
			if what == "cut off the beginning" && got.First > decode(t, whole[0]).Sequence {
				continue // that is said, see Report.First
			}
			t.Fatalf("seed %d: %s at %d is not found: %+v\n%s", seed, what, at, got, bytes.Join(lines, []byte("\n")))
		}
	}
}

func tamper(t *testing.T, random *rand.Rand, lines *[][]byte, at int) string {
	t.Helper()
	all := *lines
	switch random.IntN(7) {
	case 0:
		if at == 0 {
			*lines = all[1:]
			return "cut off the beginning"
		}
		*lines = slices.Delete(all, at, at+1)
		return "delete"
	case 1:
		other := random.IntN(len(all))
		all[at], all[other] = all[other], all[at]
		return "swap"
	case 2:
		*lines = slices.Insert(all, at, all[random.IntN(len(all))])
		return "repeat"
	case 3:
		changed := slices.Clone(all[at])
		changed[random.IntN(len(changed))] ^= 1 << random.IntN(8)
		all[at] = changed
		return "flip a bit"
	case 4:
		*lines = all[:at]
		return "cut off the end"
	case 5: // a record that is made as well as can be
		r := decode(t, all[at])
		r.Target = "subscriptions/other" + strconv.Itoa(random.IntN(10))
		forged, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		all[at] = forged
		return "forge"
	default: // and all behind it as well
		r := decode(t, all[at])
		r.Actor = "another actor"
		for i := at; i < len(all); i++ {
			if i > at {
				previous := audit.Hash(all[i-1])
				r = decode(t, all[i])
				r.Previous = previous
			}
			forged, err := r.Encode()
			if err != nil {
				t.Fatal(err)
			}
			all[i] = forged
		}
		return "forge it and all behind it"
	}
}
