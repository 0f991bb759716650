package filter

import (
	"errors"
	"fmt"
	"strings"

	"github.com/tidwall/gjson"

	"github.com/jetpost/jetpost/internal/subscription/validation"
)

// pathSpecial are the characters that must be escaped in a key: the dot ends it,
// and the others have a meaning in gjson's syntax that jetpost does not offer.
// Refusing them keeps a wildcard from being taken for a key that never matches.
const pathSpecial = `\.*?#|@!{}[]`

// maxIndexDigits keeps a number in a path from overflowing where it is an index.
const maxIndexDigits = 18

// parseDataPath reads the path to a value in JSON data and returns it in gjson's
// syntax. A path is a list of keys, each inside the one before:
//
//	repo_key                  the member repo_key of the data
//	repository.owner.login    a member of a member of a member
//	commits.0.id              a number counts from 0 in an array; in an object it is a key
//	labels.example\.com/team  a backslash takes the special meaning of \ . * ? # | @ ! { } [ ]
//
// Where the data has a key twice, the first one that leads to a value counts.
func parseDataPath(path string) (string, error) {
	if problem := validation.TextProblem(path); problem != "" {
		return "", errors.New("data path " + problem)
	}
	var segments []string
	var segment strings.Builder
	end := func() error {
		key := segment.String()
		segment.Reset()
		switch {
		case key == "":
			return errors.New("the data path has an empty key: write data.<key>, or data.<key>.<key> for a value further in")
		case len(key) > maxIndexDigits && strings.Trim(key, "0123456789") == "":
			return fmt.Errorf("the data path has a number of more than %d digits", maxIndexDigits)
		}
		segments = append(segments, gjson.Escape(key))
		return nil
	}
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '.':
			if err := end(); err != nil {
				return "", err
			}
		case c == '\\':
			i++
			if i == len(path) || !strings.Contains(pathSpecial, path[i:i+1]) {
				return "", fmt.Errorf(`a backslash in a data path stands before one of %s`, pathSpecial)
			}
			segment.WriteByte(path[i])
		case strings.IndexByte(pathSpecial, c) >= 0:
			return "", fmt.Errorf(`%q has no meaning in a data path: when it is part of the key, write \%c`, c, c)
		default:
			segment.WriteByte(c)
		}
	}
	if err := end(); err != nil {
		return "", err
	}
	if len(segments) > maxPathSegments {
		return "", fmt.Errorf("the data path has more than %d keys", maxPathSegments)
	}
	return strings.Join(segments, "."), nil
}
