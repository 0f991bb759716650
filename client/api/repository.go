package api

// Class is of what kind a repository is.
type Class string

// The classes.
const (
	Local     Class = "local"
	Remote    Class = "remote"
	Virtual   Class = "virtual"
	Federated Class = "federated"
)

// A Repository is one that events are about.
type Repository struct {
	Key         string `json:"key" doc:"What events call it: data.repo_key."`
	Class       Class  `json:"class" enum:"local,remote,virtual,federated" doc:"Of what class it is. Events of name-cache are of the remote repository name."`
	PackageType string `json:"package_type,omitempty" doc:"Its package type; missing: unknown."`
	Revision    uint64 `json:"revision" doc:"Changes with every change; the ETag."`
}

// RepositoryOptions are the body of a request to register one.
type RepositoryOptions struct {
	Class       Class   `json:"class" required:"true" enum:"local,remote,virtual,federated" doc:"Of what class it is. It never changes: delete the repository and register it again." example:"local"`
	PackageType *string `json:"package_type,omitempty" maxLength:"64" doc:"Its package type. Default: the stored one." example:"generic"`
}
