package schemas

// RepositoryClass is the extension attribute that says of what kind the repository
// of an artifact is: local, remote or federated. JFrog's payloads do not have it,
// and its criteria ask for it. Events without it count as of a local one.
const RepositoryClass = "repoclass"
