package gitsource

import (
	"bufio"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// maxListed is how many commits of one ref an event lists: the newest.
const maxListed = 250

// A listing is the commits that an update of a ref has brought.
type listing struct {
	commits []listed // at most maxListed, oldest first
	total   int
}

// listed is a commit as it is asked for: its changes are those against the first
// parent, so that a merge shows what it brought to the branch.
type listed struct{ id, parent string }

// listCommits returns for each update the commits that it announces, in the
// order of updates.
//
//   - A branch that existed before announces before..after: what is reachable
//     from the new commit and not from the old one, be it new to the repository
//     or not. After a forced push that is what follows the merge base.
//   - A new branch, and every tag or other ref, announces the commits that no
//     ref had before the push. If several refs of one push bring the same
//     commit, one announces it: a branch that existed before, or else a new
//     branch, the default branch first, or else another ref, in the order of the
//     push.
//   - A deleted ref announces nothing, nor does a ref to a file or a folder.
func (r *Repository) listCommits(ctx context.Context, updates []Update, defaultRef string) ([]listing, error) {
	peeled, err := r.peel(ctx, updates)
	if err != nil {
		return nil, err
	}
	lists := make([]listing, len(updates))
	var ranged, fresh []int // indices of updates
	for i, u := range updates {
		if peeled[u.After] == "" {
			continue
		}
		if _, isBranch := u.branch(); isBranch && peeled[u.Before] != "" {
			ranged = append(ranged, i)
		} else {
			fresh = append(fresh, i)
		}
	}
	for _, i := range ranged {
		if lists[i], err = r.commitRange(ctx, peeled[updates[i].Before], peeled[updates[i].After]); err != nil {
			return nil, err
		}
	}
	if len(fresh) == 0 {
		return lists, nil
	}
	rank := func(i int) int {
		_, isBranch := updates[i].branch()
		switch {
		case updates[i].Ref == defaultRef:
			return 0
		case isBranch:
			return 1
		default:
			return 2
		}
	}
	slices.SortStableFunc(fresh, func(a, b int) int { return rank(a) - rank(b) })
	order := slices.Concat(ranged, fresh)
	tips := make([]string, len(order))
	for at, i := range order {
		tips[at] = peeled[updates[i].After]
	}
	known, err := r.knownBefore(ctx, updates, peeled)
	if err != nil {
		return nil, err
	}
	claims, err := r.claim(ctx, tips, known)
	if err != nil {
		return nil, err
	}
	for at, i := range order[len(ranged):] {
		lists[i] = claims[len(ranged)+at]
	}
	return lists, nil
}

// peel returns the commit that each object id of the updates stands for: of an
// annotated tag, the commit it is on. There is no entry for what is not a commit
// or no longer there.
func (r *Repository) peel(ctx context.Context, updates []Update) (map[string]string, error) {
	var ids []string
	for _, u := range updates {
		for _, id := range [...]string{u.Before, u.After} {
			if !zeroID(id) {
				ids = append(ids, id)
			}
		}
	}
	var in strings.Builder
	for _, id := range ids {
		in.WriteString(id + "^{commit}\n")
	}
	peeled := make(map[string]string, len(ids))
	err := r.git.read(ctx, strings.NewReader(in.String()), func(out io.Reader) error {
		lines := bufio.NewScanner(out)
		for at := 0; lines.Scan() && at < len(ids); at++ {
			if commit, found := strings.CutSuffix(lines.Text(), " commit"); found {
				peeled[ids[at]] = commit
			}
		}
		return lines.Err()
	}, "cat-file", "--batch-check=%(objectname) %(objecttype)")
	return peeled, err
}

// commitRange lists the commits that are reachable from after and not from before.
func (r *Repository) commitRange(ctx context.Context, before, after string) (listing, error) {
	var l listing
	err := r.revList(ctx, after+"\n^"+before+"\n", func(ids []string) error {
		if l.total++; l.total <= maxListed {
			l.commits = append(l.commits, newListed(ids))
		}
		return nil
	})
	slices.Reverse(l.commits)
	return l, err
}

// newListed takes a commit and its parents.
func newListed(ids []string) listed {
	if len(ids) == 1 {
		return listed{id: ids[0]}
	}
	return listed{id: ids[0], parent: ids[1]}
}

// revList calls each for every commit that git lists for the revisions in in,
// with its parents behind it. Children come before their parents,
// otherwise newer commits before older ones.
func (r *Repository) revList(ctx context.Context, in string, each func(ids []string) error) error {
	return r.git.read(ctx, strings.NewReader(in), func(out io.Reader) error {
		br := bufio.NewReader(out)
		for {
			line, err := br.ReadString('\n')
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := each(strings.Fields(line)); err != nil {
				return err
			}
		}
	}, "rev-list", "--date-order", "--parents", "--ignore-missing", "--stdin")
}

// knownBefore returns revisions that exclude all that the repository had before
// the push: what the refs that are not part of it point to, and the old values
// of those that are. Another push at the same time counts as having been before.
func (r *Repository) knownBefore(ctx context.Context, updates []Update, peeled map[string]string) (string, error) {
	pushed := make(map[string]bool, len(updates))
	var known strings.Builder
	for _, u := range updates {
		pushed[u.Ref] = true
		if commit := peeled[u.Before]; commit != "" {
			known.WriteString("^" + commit + "\n")
		}
	}
	err := r.git.read(ctx, nil, func(out io.Reader) error {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			id, ref, _ := strings.Cut(lines.Text(), " ")
			if !pushed[ref] {
				known.WriteString("^" + id + "\n")
			}
		}
		return lines.Err()
	}, "for-each-ref", "--format=%(objectname) %(refname)")
	return known.String(), err
}

// oid is an object id in memory: a push may bring a million of them. SHA-1 ids
// leave the end empty.
type oid [32]byte

// claim gives each commit that is new to the repository to the first of the tips
// that it is reachable from. It walks the new part of the history once, however
// many tips there are.
func (r *Repository) claim(ctx context.Context, tips []string, known string) ([]listing, error) {
	var (
		ids     []oid
		parents [][]oid
		size    int // of an id in bytes
	)
	at := map[oid]int{}
	err := r.revList(ctx, strings.Join(tips, "\n")+"\n"+known, func(line []string) error {
		decoded := make([]oid, len(line))
		for i, id := range line {
			n, err := hex.Decode(decoded[i][:], []byte(id))
			if err != nil {
				return fmt.Errorf("commit %q: %w", id, err)
			}
			size = n
		}
		at[decoded[0]] = len(ids)
		ids = append(ids, decoded[0])
		parents = append(parents, decoded[1:])
		return nil
	})
	if err != nil {
		return nil, err
	}
	listings := make([]listing, len(tips))
	claimed := make([]bool, len(ids))
	for t, tip := range tips {
		var id oid
		if _, err := hex.Decode(id[:], []byte(tip)); err != nil {
			return nil, fmt.Errorf("commit %q: %w", tip, err)
		}
		mine := reach(id, at, parents, claimed)
		slices.Sort(mine)
		listings[t].total = len(mine)
		for _, i := range slices.Backward(mine[:min(len(mine), maxListed)]) {
			l := listed{id: hex.EncodeToString(ids[i][:size])}
			if len(parents[i]) > 0 {
				l.parent = hex.EncodeToString(parents[i][0][:size])
			}
			listings[t].commits = append(listings[t].commits, l)
		}
	}
	return listings, nil
}

// reach returns the indices of the commits reachable from tip that are not yet
// claimed, and claims them. All that a claimed commit reaches is claimed too.
func reach(tip oid, at map[oid]int, parents [][]oid, claimed []bool) []int {
	var mine []int
	stack := []oid{tip}
	for len(stack) > 0 {
		id := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		i, isNew := at[id]
		if !isNew || claimed[i] {
			continue
		}
		claimed[i] = true
		mine = append(mine, i)
		stack = append(stack, parents[i]...)
	}
	return mine
}
