package securesourcemanager

import (
	"slices"
	"strings"
)

// patchOf returns what a PATCH does to a wish, by its update mask and its body:
//
//	none, or empty   the fields of the body that are not empty
//	*                all fields, those that the body does not have are cleared
//	paths            these, those that the body does not have are cleared
func patchOf(mask string, b *body) (func(*wish), error) {
	mask = strings.TrimSpace(mask)
	if mask == "" {
		return b.fill, nil
	}
	var paths []string
	for path := range strings.SplitSeq(mask, ",") {
		known, err := pathOf(strings.TrimSpace(path), mask)
		if err != nil {
			return nil, err
		}
		paths = append(paths, known...)
	}
	if slices.Contains(paths, pathTarget) && b.TargetURI == "" {
		return nil, badField("MISSING_TARGET_URI", "hook.targetUri", "is required, so it cannot be cleared: give it, or leave it out of updateMask.")
	}
	return func(w *wish) {
		for _, path := range paths {
			b.put(w, path)
		}
	}, nil
}

// pathOf returns the fields that an element of a mask stands for. Those that are
// output only are none.
func pathOf(path, mask string) ([]string, error) {
	if path == "*" && mask == path {
		return []string{pathTarget, pathDisabled, pathEvents, pathBranch, pathQuery}, nil
	}
	parts := strings.Split(path, ".")
	for i, part := range parts {
		parts[i] = spelling(part)
	}
	switch name := strings.Join(parts, "."); name {
	case pathTarget, pathDisabled, pathEvents, pathBranch, pathQuery:
		return []string{name}, nil
	case pathPush:
		return []string{pathBranch}, nil
	default:
		if slices.Contains(outputOnly(), name) {
			return nil, nil
		}
	}
	return nil, badField("INVALID_UPDATE_MASK", "updateMask", "\"{path}\" is not a field of a hook that can be changed: use targetUri, disabled, events, pushOption, pushOption.branchFilter, sensitiveQueryString, or * alone.", "path", path)
}

// put overwrites one field.
func (b *body) put(w *wish, path string) {
	switch path {
	case pathTarget:
		w.TargetURI = b.TargetURI
	case pathDisabled:
		w.Disabled = b.Disabled
	case pathEvents:
		w.Events = b.Events
	case pathBranch:
		w.BranchFilter = b.BranchFilter
	case pathQuery:
		w.SensitiveQuery = b.SensitiveQuery
	}
}

// fill overwrites what the body has. A client that cannot know the sensitive query
// string, and writes back what it has read, does not lose it. An empty push option is
// a value: it is the message without its field.
func (b *body) fill(w *wish) {
	if b.TargetURI != "" {
		w.TargetURI = b.TargetURI
	}
	if b.Disabled {
		w.Disabled = true
	}
	if len(b.Events) > 0 {
		w.Events = b.Events
	}
	if b.has[pathPush] {
		w.BranchFilter = b.BranchFilter
	}
	if b.SensitiveQuery != "" {
		w.SensitiveQuery = b.SensitiveQuery
	}
}
