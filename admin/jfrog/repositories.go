package jfrog

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/jetpost/jetpost/internal/repository"
)

const (
	repositoriesPath = "/artifactory/api/repositories"
	textNoRepository = "Repository does not exist"
)

// actionPutOrigin is what the audit trail has from this package itself.
const actionPutOrigin = "base_url.put"

// repositoriesAPI serves the registry of repositories.
type repositoriesAPI struct {
	registry *repository.Registry
	change   func(ctx context.Context, key string, change repository.Change) (*repository.Repository, error)
}

// repositoryRoutes are those of the registry: what clients write comes back, and of all
// of it jetpost uses the key, the class and the package type.
func (a *repositoriesAPI) register(mux *http.ServeMux, handle func(mux *http.ServeMux, pattern string, do func(context.Context, *http.Request) (answer, error))) {
	handle(mux, "GET "+repositoriesPath, a.listRepositories)
	handle(mux, "GET "+repositoriesPath+"/{key}", a.getRepository) // and HEAD
	handle(mux, "PUT "+repositoriesPath+"/{key}", a.putRepository)
	handle(mux, "POST "+repositoriesPath+"/{key}", a.postRepository)
	handle(mux, "DELETE "+repositoriesPath+"/{key}", a.deleteRepository)
}

// A listedRepository is an entry of the list.
type listedRepository struct {
	Key         string `json:"key"`
	Type        string `json:"type"`
	PackageType string `json:"packageType,omitempty"`
}

func (a *repositoriesAPI) listRepositories(ctx context.Context, _ *http.Request) (answer, error) {
	table, err := a.registry.Sync(ctx)
	if err != nil {
		return answer{}, err
	}
	listed := []listedRepository{}
	for _, r := range table.All() {
		listed = append(listed, listedRepository{r.Key, strings.ToUpper(string(r.Class)), r.PackageType})
	}
	slices.SortFunc(listed, func(a, b listedRepository) int { return strings.Compare(a.Key, b.Key) })
	return answer{status: http.StatusOK, json: encode(listed)}, nil
}

func (a *repositoriesAPI) getRepository(ctx context.Context, r *http.Request) (answer, error) {
	table, err := a.registry.Sync(ctx)
	if err != nil {
		return answer{}, err
	}
	found, ok := table.Get(r.PathValue("key"))
	if !ok {
		return answer{}, repository.ErrNotFound
	}
	return answer{status: http.StatusOK, json: showRepository(&found)}, nil
}

// showRepository is what the client has sent, with what every repository has, and every
// remote one: Terraform's provider cannot end an apply that leaves shareConfiguration unknown.
func showRepository(r *repository.Repository) []byte {
	sent, _ := members(r.Document, nil) // it was read before
	shown := []member{{Name: "key", Value: encode(r.Key)}, {Name: "rclass", Value: encode(r.Class)}}
	if r.PackageType != "" {
		shown = append(shown, member{Name: "packageType", Value: encode(r.PackageType)})
	}
	shares := r.Class != repository.Remote
	for _, m := range sent {
		switch m.Name {
		case "key", "rclass", "packageType":
			continue
		case "shareConfiguration":
			if shares = shares || !isNull(m.Value); !shares {
				continue
			}
		}
		shown = append(shown, m)
	}
	if !shares {
		shown = append(shown, member{Name: "shareConfiguration", Value: encode(false)})
	}
	return object(shown)
}

// readRepository reads what a client sends; what is missing is empty.
func readRepository(body []byte, key string, found *problems) *repository.Repository {
	sent, err := members(body, nil)
	if err != nil {
		found.add("", "the body "+err.Error())
		return nil
	}
	r := &repository.Repository{Key: key, Document: withoutSecrets(object(sent), 0)}
	for _, m := range sent {
		switch m.Name {
		case "key":
			if given := text(m.Value, m.Name, found); given != "" && given != key {
				found.add("key", "is '"+clip(given)+"', but the path names '"+clip(key)+"'")
			}
		case "rclass":
			r.Class = repository.Class(strings.ToLower(text(m.Value, m.Name, found)))
		case "packageType":
			r.PackageType = text(m.Value, m.Name, found)
		case "url":
			var address string
			if json.Unmarshal(m.Value, &address) == nil && hasUser(address) {
				found.add("url", "must not have a user name or password: it would be shown to everybody who may read")
			}
		}
	}
	return r
}

// putRepository creates, as clients do; again with the same class it replaces, so that
// a repeated request is answered like the first.
func (a *repositoriesAPI) putRepository(ctx context.Context, r *http.Request) (answer, error) {
	key := r.PathValue("key")
	created, err := a.writeRepository(ctx, key, bodyOf(r), true)
	if err != nil {
		return answer{}, err
	}
	if !created {
		return answer{status: http.StatusOK, text: "Repository " + key + " update successfully.\n"}, nil
	}
	return answer{status: http.StatusOK, text: "Successfully created repository '" + key + "' \n"}, nil
}

func (a *repositoriesAPI) postRepository(ctx context.Context, r *http.Request) (answer, error) {
	key := r.PathValue("key")
	if _, err := a.writeRepository(ctx, key, bodyOf(r), false); err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, text: "Repository " + key + " update successfully.\n"}, nil
}

// writeRepository stores what a client sends. Changes name only what is to be another:
// the rest of the document stays.
func (a *repositoriesAPI) writeRepository(ctx context.Context, key string, body []byte, create bool) (created bool, err error) {
	var found problems
	sent := readRepository(body, key, &found)
	if err := found.err(); err != nil {
		return false, err
	}
	_, err = a.change(ctx, key, func(old *repository.Repository) (*repository.Repository, error) {
		created = old == nil
		if old == nil {
			if !create {
				return nil, repository.ErrNotFound
			}
			return sent, nil
		}
		next := *sent
		if next.Class == "" {
			next.Class = old.Class
		}
		if next.PackageType == "" {
			next.PackageType = old.PackageType
		}
		if next.Class != old.Class && next.Class.Valid() {
			return nil, &refusal{http.StatusBadRequest, "repository '" + key + "' exists and is " + string(old.Class) + ": its class cannot be changed"}
		}
		if !create {
			next.Document = merge(old.Document, next.Document)
		}
		return &next, nil
	})
	return created, err
}

// merge puts the members of changes over those of document.
func merge(document, changes json.RawMessage) json.RawMessage {
	merged, _ := members(document, nil)
	changed, _ := members(changes, nil)
	places := make(map[string]int, len(merged))
	for i, m := range merged {
		places[m.Name] = i
	}
	for _, m := range changed { // whose names are all different
		if i, exists := places[m.Name]; exists {
			merged[i] = m
		} else {
			merged = append(merged, m)
		}
	}
	return object(merged)
}

func (a *repositoriesAPI) deleteRepository(ctx context.Context, r *http.Request) (answer, error) {
	key := r.PathValue("key")
	_, err := a.change(ctx, key, func(*repository.Repository) (*repository.Repository, error) { return nil, nil })
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, text: "Repository " + key + " and all its content have been removed successfully.\n"}, nil
}
