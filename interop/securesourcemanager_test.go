package interop_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/googleapis/gax-go/v2/apierror"
	"google.golang.org/api/googleapi"
	"google.golang.org/api/option"
	"google.golang.org/api/securesourcemanager/v1"
)

// withToken is what authenticates a client here.
type withToken struct{ token string }

func (w withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+w.token)
	return http.DefaultTransport.RoundTrip(r)
}

// The vendor's own client keeps hooks, with nothing changed but the address.
func TestGoogleClient(t *testing.T) {
	t.Parallel()
	p := start(t)
	const parent = "projects/harbor/locations/north/repositories/tug"
	ctx := t.Context()
	client := func(token string) *securesourcemanager.ProjectsLocationsService {
		t.Helper()
		service, err := securesourcemanager.NewService(ctx, option.WithEndpoint(p.url), option.WithHTTPClient(&http.Client{Transport: withToken{token}, Timeout: deadline}))
		if err != nil {
			t.Fatal(err)
		}
		return service.Projects.Locations
	}
	locations := client(p.token)
	hooks := locations.Repositories.Hooks

	// Creating is done when it is answered, and can be read again.
	wanted := &securesourcemanager.Hook{
		TargetUri: "http://127.0.0.1:9/in", Events: []string{"PULL_REQUEST", "PUSH"},
		PushOption: &securesourcemanager.PushOption{BranchFilter: "{main,release*}"}, SensitiveQueryString: "key=hush",
	}
	op, err := hooks.Create(parent, wanted).HookId("ci").Context(ctx).Do()
	if err != nil {
		t.Fatal(err)
	}
	again, err := locations.Operations.Get(op.Name).Do()
	if err != nil || !op.Done || !again.Done || string(again.Response) != string(op.Response) || !strings.Contains(string(op.Metadata), `"verb":"create"`) {
		t.Errorf("the operation is %+v, then %+v, %v", op, again, err)
	}
	name := parent + "/hooks/ci"
	got, err := hooks.Get(name).Do()
	if err != nil || got.Name != name || got.TargetUri != wanted.TargetUri || got.Disabled || !slices.Equal(got.Events, wanted.Events) ||
		got.PushOption == nil || got.PushOption.BranchFilter != wanted.PushOption.BranchFilter || got.SensitiveQueryString != "" || got.CreateTime == "" || len(got.Uid) != 36 {
		t.Errorf("the hook is %+v, %v", got, err)
	}

	// Updates with a mask: what is in it and not in the body is cleared.
	if _, err := hooks.Patch(name, &securesourcemanager.Hook{Disabled: true}).UpdateMask("disabled,pushOption.branchFilter").Do(); err != nil {
		t.Fatal(err)
	}
	if got, err := hooks.Get(name).Do(); err != nil || !got.Disabled || got.PushOption == nil || got.PushOption.BranchFilter != "" || got.TargetUri != wanted.TargetUri {
		t.Errorf("the hook is then %+v, %v", got, err)
	}

	// A list over several pages.
	names := []string{name}
	for i := range 4 {
		id := fmt.Sprintf("page-%d", i)
		if _, err := hooks.Create(parent, &securesourcemanager.Hook{TargetUri: "http://127.0.0.1:9/"}).HookId(id).Do(); err != nil {
			t.Fatal(err)
		}
		names = append(names, parent+"/hooks/"+id)
	}
	var listed []string
	pages := 0
	err = hooks.List(parent).PageSize(2).Pages(ctx, func(page *securesourcemanager.ListHooksResponse) error {
		pages++
		for _, h := range page.Hooks {
			listed = append(listed, h.Name)
		}
		return nil
	})
	if err != nil || pages != 3 || !slices.Equal(listed, names) {
		t.Errorf("listed are %v on %d pages, %v", listed, pages, err)
	}

	// Errors have their details.
	_, err = hooks.Create(parent, &securesourcemanager.Hook{TargetUri: "http://127.0.0.1:9/", PushOption: &securesourcemanager.PushOption{BranchFilter: "a{b"}}).HookId("bad").Do()
	if e := apiError(t, err); !isStatus(err, http.StatusBadRequest) || e.Reason() != "INVALID_BRANCH_FILTER" || e.Domain() != "jetpost" || e.Metadata()["branchFilter"] != "a{b" ||
		e.Details().BadRequest.GetFieldViolations()[0].GetField() != "hook.pushOption.branchFilter" {
		t.Errorf("a bad filter is answered with %v", e)
	}
	_, err = hooks.Create(parent, wanted).HookId("ci").Do()
	if e := apiError(t, err); !isStatus(err, http.StatusConflict) || e.Reason() != "HOOK_EXISTS" {
		t.Errorf("a hook that exists is answered with %v", e)
	}

	gone, err := hooks.Delete(name).Do()
	if err != nil || !gone.Done {
		t.Errorf("deleting: %+v, %v", gone, err)
	}
	_, err = hooks.Get(name).Do()
	if e := apiError(t, err); !isStatus(err, http.StatusNotFound) || e.Metadata()["resource"] != name {
		t.Errorf("what is gone is answered with %v", e)
	}
	if gone, err = locations.Operations.Get(gone.Name).Do(); err != nil || !gone.Done {
		t.Errorf("the deletion is %+v, %v", gone, err)
	}
	if _, err := locations.Operations.Cancel(gone.Name, &securesourcemanager.CancelOperationRequest{}).Do(); err != nil {
		t.Error(err)
	}
	operations, err := locations.Operations.List("projects/harbor/locations/north").Do()
	if err != nil || len(operations.Operations) != 4 {
		t.Errorf("the operations are %+v, %v", operations, err)
	}
	if _, err := client("jp_nobody").Repositories.Hooks.Get(name).Context(context.WithoutCancel(ctx)).Do(); !isStatus(err, http.StatusUnauthorized) {
		t.Errorf("an unauthorized caller is let in: %v", err)
	}
}

func isStatus(err error, status int) bool {
	e, ok := errors.AsType[*googleapi.Error](err)
	return ok && e.Code == status
}

func apiError(t *testing.T, err error) *apierror.APIError {
	t.Helper()
	e, ok := errors.AsType[*apierror.APIError](err) // which the client has parsed
	if !ok {
		t.Fatalf("%v is not an error of the API", err)
	}
	return e
}
