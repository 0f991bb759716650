package audit

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A Break is where a trail is not what it was when it was written.
type Break struct {
	// Sequence of the record that is missing, or does not fit.
	Sequence uint64 `json:"sequence"`
	// Reason says what is wrong.
	Reason string `json:"reason"`
}

// String has both.
func (b *Break) String() string {
	return "record " + strconv.FormatUint(b.Sequence, 10) + " " + b.Reason
}

// A Report says what a Verifier has found.
type Report struct {
	// Records is how many there are.
	Records uint64 `json:"records"`
	// First and Last are their first and last sequence.
	First uint64 `json:"first"`
	Last  uint64 `json:"last"`
	// FirstAt and LastAt are when those were written.
	FirstAt time.Time `json:"first_at,omitzero"`
	LastAt  time.Time `json:"last_at,omitzero"`
	// Hash is that of the last record: with Last the head, to be published.
	Hash string `json:"hash"`
	// Confirmed are the sequences of the given heads that hold, Unchecked of those
	// whose records lie before First.
	Confirmed []uint64 `json:"confirmed,omitempty"`
	Unchecked []uint64 `json:"unchecked,omitempty"`
	// Break is the first place that is wrong. Nil: none is.
	Break *Break `json:"break,omitempty"`
}

// A Verifier checks a trail, record by record and oldest first: that each one carries
// the hash of the one before it and the next sequence. So the trail up to its last
// record is what it was when it was written, if that last record is. Heads that were
// written down elsewhere show that.
type Verifier struct {
	heads  map[uint64]string
	report Report
}

// NewVerifier returns a verifier that also checks heads.
func NewVerifier(heads ...Head) *Verifier {
	v := &Verifier{heads: make(map[uint64]string, len(heads))}
	for _, h := range heads {
		if known, twice := v.heads[h.Sequence]; twice && known != h.Hash {
			v.wrong(h.Sequence, "has two hashes among the heads that were given")
		}
		v.heads[h.Sequence] = h.Hash
	}
	return v
}

// ParseHead reads a head as people write it down: sequence, colon, hash.
func ParseHead(text string) (Head, error) {
	number, hash, _ := strings.Cut(strings.TrimSpace(text), ":")
	sequence, err := strconv.ParseUint(number, 10, 64)
	if err != nil || sequence == 0 || !hashPattern.MatchString(hash) {
		return Head{}, fmt.Errorf("%q is not a head: write SEQUENCE:HASH, with the 64 hexadecimal digits of a SHA-256", clip(text))
	}
	return Head{Sequence: sequence, Hash: hash}, nil
}

// String is what ParseHead reads.
func (h Head) String() string { return strconv.FormatUint(h.Sequence, 10) + ":" + h.Hash }

func (v *Verifier) wrong(sequence uint64, format string, args ...any) bool {
	if v.report.Break == nil {
		v.report.Break = &Break{sequence, fmt.Sprintf(format, args...)}
	}
	return false
}

// Add checks the next record, as it is stored. It reports whether all is well so far;
// when it is not, what follows says nothing any more.
func (v *Verifier) Add(stored []byte) bool {
	at := &v.report
	if at.Break != nil {
		return false
	}
	r, err := Decode(stored)
	switch {
	case err != nil:
		return v.wrong(at.Last+1, "cannot be read: %v", err)
	case at.Records == 0 && r.Sequence == 1 && r.Previous != "":
		return v.wrong(1, "names one before it, and is the first")
	case at.Records > 0 && r.Sequence <= at.Last:
		return v.wrong(r.Sequence, "stands behind record %d: it is out of order, or there twice", at.Last)
	case at.Records > 0 && r.Sequence > at.Last+1:
		return v.wrong(at.Last+1, "is missing: record %d stands behind record %d", r.Sequence, at.Last)
	case at.Records > 0 && r.Previous != at.Hash:
		return v.wrong(r.Sequence, "does not fit the one before it: it was written behind one with the hash %s, and record %d has %s: one of the two was altered or put in",
			shownHash(r.Previous), at.Last, shownHash(at.Hash))
	}
	hash := Hash(stored)
	if want, given := v.heads[r.Sequence]; given {
		if want != hash {
			return v.wrong(r.Sequence, "has the hash %s, and the head that was given %s: it, or one before it, was altered", shownHash(hash), shownHash(want))
		}
		at.Confirmed = append(at.Confirmed, r.Sequence)
	}
	if at.Records == 0 {
		at.First, at.FirstAt = r.Sequence, r.At
	}
	at.Records++
	at.Last, at.LastAt, at.Hash = r.Sequence, r.At, hash
	return true
}

func shownHash(hash string) string {
	if hash == "" {
		return "of none"
	}
	return hash
}

// Report ends the check. Heads behind the last record are a break: their records are
// missing.
func (v *Verifier) Report() Report {
	for _, sequence := range slices.Sorted(maps.Keys(v.heads)) {
		switch {
		case sequence > v.report.Last:
			v.wrong(v.report.Last+1, "is missing: there is a head of record %d", sequence)
		case sequence < v.report.First:
			v.report.Unchecked = append(v.report.Unchecked, sequence)
		}
	}
	return v.report
}
