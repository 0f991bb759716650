package stream

import (
	"strings"

	"github.com/nats-io/nats.go/jetstream"
)

// MaxRepository is how large the record of a repository may be, in bytes.
const MaxRepository = 64 << 10

// RepositoriesBucket is the key-value bucket that holds the registry of repositories.
func (l Layout) RepositoriesBucket() string { return l.stream("repositories") }

// RepositoriesStream is the stream under the repositories bucket.
func (l Layout) RepositoriesStream() string { return "KV_" + l.RepositoriesBucket() }

// RepositoriesOrigin is the key in the repositories bucket of the base URL of the
// platform that they belong to.
const RepositoriesOrigin = "origin"

// RepositoryRecord is the key in the repositories bucket of a repository, whose own key
// has letters, digits, dashes, underscores and dots. A dot would separate tokens.
func RepositoryRecord(key string) string { return "key." + strings.ReplaceAll(key, ".", "=") }

// repositoryKey is the subject of keys of the repositories bucket.
func (l Layout) repositoryKey(key string) string { return "$KV." + l.RepositoriesBucket() + "." + key }

func (l Layout) repositoriesConfig() jetstream.KeyValueConfig {
	return jetstream.KeyValueConfig{
		Bucket: l.RepositoriesBucket(), Description: "jetpost: repositories that criteria ask about", History: 1, Replicas: l.replicas,
		Storage: jetstream.FileStorage, MaxValueSize: MaxRepository + 4<<10, // and the headers
	}
}
