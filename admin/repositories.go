package admin

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sort"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/jetpost/jetpost/admin/httpapi"
	"github.com/jetpost/jetpost/admin/precondition"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/audit"
	"github.com/jetpost/jetpost/internal/repository"
)

// The actions of the audit trail: docs/audit.md lists them.
const (
	actionPutRepository = "repository.put"
	actionDelRepository = "repository.delete"
)

// repositoriesPath is where the repositories are that events can be about.
const repositoriesPath = "/v1/repositories"

var errNoRepositories = errors.New("this server has no registry of repositories")

func showRepository(r *repository.Repository) v1.Repository {
	return v1.Repository{Key: r.Key, Class: v1.Class(r.Class), PackageType: r.PackageType, Revision: r.Revision()}
}

// NamedRepository is a request for one repository.
type NamedRepository struct {
	Key string `path:"key" maxLength:"64" doc:"The key of the repository: 1 to 64 letters, digits, dashes, underscores and dots." example:"libs-release"`
}

type listRepositoriesRequest struct {
	httpapi.Paged
	Class       string `query:"class" enum:"local,remote,virtual,federated" doc:"Only repositories of this class."`
	PackageType string `query:"package_type" maxLength:"64" doc:"Only repositories that hold this." example:"docker"`
	Query       string `query:"q" maxLength:"64" doc:"Only repositories with this text in their key, in whatever case."`
}

type putRepositoryRequest struct {
	NamedRepository
	httpapi.RawJSON
}

type repositoryPage struct{ Body v1.Page[v1.Repository] }

type oneRepository struct {
	ETag string `header:"ETag" doc:"The revision, for If-Match."`
	Body v1.Repository
}

type storedRepository struct {
	Status int
	ETag   string `header:"ETag" doc:"The revision, for If-Match."`
	Body   v1.Repository
}

// repositories are the operations of the registry of repositories, which the JFrog
// Platform's API keeps as well.
type repositories struct {
	registry *repository.Registry // nil: none can be registered or seen
	trail    *audit.Trail
}

func (r *repositories) register(api *httpapi.API) {
	tags := []string{"Repositories"}
	httpapi.Register(api, huma.Operation{
		OperationID: "list-repositories", Method: http.MethodGet, Path: repositoriesPath, Tags: tags,
		Summary:     "List the repositories that are registered",
		Description: "By key. Payloads do not say of what class a repository is: filters of JFrog's criteria such as anyRemote, and jetpost watch, ask this registry.",
	}, r.list)
	httpapi.Register(api, huma.Operation{
		OperationID: "get-repository", Method: http.MethodGet, Path: repositoriesPath + "/{key}", Tags: tags,
		Summary: "Show a repository",
	}, r.get)
	httpapi.RegisterBody[v1.RepositoryOptions](api, huma.Operation{
		OperationID: "put-repository", Method: http.MethodPut, Path: repositoriesPath + "/{key}", Tags: tags,
		Summary: "Register a repository, or say what it holds", Responses: map[string]*huma.Response{"201": {Description: "It is new; as 200."}},
		Description: "Events that are published afterwards are of its class. What the JFrog Platform's API has stored of it beside stays as it is.",
	}, true, r.put)
	httpapi.Register(api, huma.Operation{
		OperationID: "delete-repository", Method: http.MethodDelete, Path: repositoriesPath + "/{key}", Tags: tags,
		Summary: "Take a repository from the registry", DefaultStatus: http.StatusNoContent,
		Description: "Events of a repository that is not registered count as those of a local one.",
	}, r.delete)
}

// change makes of a repository of the registry what change says, with a record
// on the audit trail. It is the one way to change the registry, for compatible APIs too.
// The errors are those of Registry.ChangeWithin, and audit.ErrNotRecorded.
func (r *repositories) change(ctx context.Context, key string, change repository.Change) (*repository.Repository, error) {
	if r.registry == nil {
		return nil, errNoRepositories
	}
	return r.registry.ChangeWithin(ctx, key, change, func(before, after *repository.Repository, write func() error) error {
		record := audit.Record{Action: actionPutRepository, Target: "repositories/" + key, Before: repositoryState(before), After: repositoryState(after)}
		switch {
		case after == nil:
			record.Action = actionDelRepository
		case before != nil && before.PackageType != after.PackageType:
			record.Changed = []string{"package_type"} // and that of the document is seen by its hash
		}
		return r.trail.Around(ctx, record, write)
	})
}

// repositoryState is a repository as a record shows it. The document of a compatible API
// is left to that: of it there is the hash, so that a change shows.
func repositoryState(r *repository.Repository) json.RawMessage {
	if r == nil {
		return nil
	}
	state := struct {
		Key         string           `json:"key"`
		Class       repository.Class `json:"class"`
		PackageType string           `json:"package_type,omitempty"`
		Document    string           `json:"document,omitempty"`
	}{r.Key, r.Class, r.PackageType, ""}
	if len(r.Document) > 0 {
		state.Document = audit.Hash(r.Document)
	}
	return audit.State(state)
}

func (r *repositories) table(ctx context.Context) (*repository.Table, error) {
	if r.registry == nil {
		return nil, errNoRepositories
	}
	return r.registry.Sync(ctx)
}

func (r *repositories) list(ctx context.Context, in *listRepositoriesRequest) (*repositoryPage, error) {
	if in.Cursor != "" && !repository.ValidKey(in.Cursor) {
		return nil, httpapi.BadCursor()
	}
	table, err := r.table(ctx)
	if err != nil {
		return nil, err
	}
	all := table.All()
	sort.Slice(all, func(i, j int) bool { return all[i].Key < all[j].Key })
	all = all[sort.Search(len(all), func(i int) bool { return all[i].Key > in.Cursor }):]
	out := &repositoryPage{}
	out.Body.Items = []v1.Repository{}
	for i := range all {
		if !in.wants(&all[i]) {
			continue
		}
		if len(out.Body.Items) == in.Limit {
			out.Body.NextCursor = out.Body.Items[in.Limit-1].Key
			break
		}
		out.Body.Items = append(out.Body.Items, showRepository(&all[i]))
	}
	return out, nil
}

func (in *listRepositoriesRequest) wants(r *repository.Repository) bool {
	return (in.Class == "" || string(r.Class) == in.Class) && (in.PackageType == "" || r.PackageType == in.PackageType) &&
		strings.Contains(strings.ToLower(r.Key), strings.ToLower(in.Query))
}

func (r *repositories) get(ctx context.Context, in *NamedRepository) (*oneRepository, error) {
	table, err := r.table(ctx)
	if err != nil {
		return nil, err
	}
	found, ok := table.Get(in.Key)
	if !ok {
		return nil, noRepository(in.Key)
	}
	return &oneRepository{repositoryTag(&found), showRepository(&found)}, nil
}

func (r *repositories) put(ctx context.Context, in *putRepositoryRequest) (*storedRepository, error) {
	var options v1.RepositoryOptions
	if err := httpapi.Decode(in.RawBody, &options); err != nil {
		return nil, err
	}
	class := repository.Class(options.Class)
	switch {
	case !repository.ValidKey(in.Key):
		return nil, httpapi.Invalid("key", "use 1 to 64 letters, digits, dashes, underscores and dots")
	case options.Class == "":
		return nil, httpapi.Invalid("class", "is missing: use local, remote, virtual or federated")
	case !class.Valid():
		return nil, httpapi.Invalid("class", strconv.Quote(httpapi.Clip(string(options.Class)))+" is not a class: use local, remote, virtual or federated")
	case options.PackageType != nil && len(*options.PackageType) > 64:
		return nil, httpapi.Invalid("package_type", "has more than 64 bytes")
	}
	created := false
	stored, err := r.change(ctx, in.Key, func(old *repository.Repository) (*repository.Repository, error) {
		if err := mayChangeRepository(ctx, in.Key, old); err != nil {
			return nil, err
		}
		next := &repository.Repository{Class: class}
		if created = old == nil; !created {
			next.PackageType, next.Document = old.PackageType, old.Document
		}
		if options.PackageType != nil {
			next.PackageType = *options.PackageType
		}
		return next, nil
	})
	if err != nil {
		return nil, err
	}
	out := &storedRepository{http.StatusOK, repositoryTag(stored), showRepository(stored)}
	if created {
		out.Status = http.StatusCreated
	}
	return out, nil
}

func (r *repositories) delete(ctx context.Context, in *NamedRepository) (*struct{}, error) {
	_, err := r.change(ctx, in.Key, func(old *repository.Repository) (*repository.Repository, error) {
		if old == nil {
			return nil, noRepository(in.Key)
		}
		return nil, mayChangeRepository(ctx, in.Key, old)
	})
	return nil, err
}

func noRepository(key string) error {
	return httpapi.NewProblem(http.StatusNotFound, "repository "+strconv.Quote(key)+" is not registered: GET "+repositoriesPath+" lists those that are")
}

func repositoryTag(r *repository.Repository) string {
	return httpapi.RevisionTag(r.Revision())
}

// mayChangeRepository says why a repository, nil if it is not registered, must not be
// changed.
func mayChangeRepository(ctx context.Context, key string, r *repository.Repository) error {
	if r == nil {
		return httpapi.MayChange(ctx, "the repository "+key+" (it is not registered)", precondition.Current{})
	}
	return httpapi.MayChange(ctx, "the repository "+key, precondition.Current{Exists: true, ETag: repositoryTag(r)})
}
