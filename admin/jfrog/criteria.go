package jfrog

import (
	"encoding/json"
	"slices"

	profile "github.com/jetpost/jetpost/internal/profile/jfrog"
)

// defaultOf is what clients need to find under a criterion that was not sent; nil where
// they need nothing. A missing list of patterns crashes some.
func defaultOf(key string) json.RawMessage {
	switch key {
	case "anyLocal", "anyRemote", "anyFederated", "anyBuild", "anyReleaseBundle":
		return json.RawMessage("false")
	case "selectedReleaseBundles":
		return json.RawMessage(`{"` + bundlesRepository + `":[]}`)
	case "projectKey":
		return nil
	default:
		return json.RawMessage("[]")
	}
}

// bundlesRepository is where release bundles v2 are, unless a client says otherwise.
const bundlesRepository = "release-bundles-v2"

// hasCriteria reports whether documents of a domain show an object as their criteria.
// Clients expect one for all domains but two, which have null: Terraform's provider 12.1.0
// panics there when the member is missing, and when it is an object.
func hasCriteria(domain string) bool { return domain != "user" && domain != "artifact_lifecycle" }

// completeCriteria are the criteria of a document as clients read them: with all of
// the domain's booleans and lists, and otherwise as sent; null for a domain without.
func completeCriteria(domain string, raw json.RawMessage) json.RawMessage {
	if !hasCriteria(domain) {
		return json.RawMessage("null")
	}
	keys := profile.CriteriaKeys(domain)
	var sent []member
	if !isNull(raw) {
		sent, _ = members(raw, keys) // they were compiled before
	}
	var shown []member
	for _, key := range keys {
		value := defaultOf(key)
		for _, m := range sent {
			if m.Name == key && !isNull(m.Value) {
				value = m.Value
				if key == "selectedReleaseBundles" {
					value = completeBundles(m.Value)
				}
			}
		}
		if value != nil {
			shown = append(shown, member{Name: key, Value: value})
		}
	}
	for _, m := range sent {
		if !slices.Contains(keys, m.Name) && !isNull(m.Value) {
			shown = append(shown, m)
		}
	}
	return object(shown)
}

func completeBundles(raw json.RawMessage) json.RawMessage {
	repositories, _ := members(raw, nil)
	for i := range repositories {
		if isNull(repositories[i].Value) {
			repositories[i].Value = json.RawMessage("[]")
		}
	}
	if len(repositories) == 0 {
		return defaultOf("selectedReleaseBundles")
	}
	return object(repositories)
}
