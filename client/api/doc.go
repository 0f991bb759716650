// Package api is the wire format of jetpost's native API: the bodies of requests, the
// answers, and the problem document that says why a request was not done. Package admin
// answers with these types, and package client reads them.
//
// They are plain structs. The tags describe the fields, as the OpenAPI document of a
// server does.
package api

// Placeholder is what answers show instead of a secret. In a change it means: keep the
// secret that is stored.
const Placeholder = "[secret]"

// A Page is a part of a list.
type Page[T any] struct {
	Items      []T    `json:"items"`
	NextCursor string `json:"next_cursor,omitempty" doc:"For the next page; missing in the last one."`
}
