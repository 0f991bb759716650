package plain

import (
	"fmt"
	"strings"
)

// clipped is how many bytes of a text Clip keeps.
const clipped = 80

// Clip bounds what a message quotes: a text of more than 80 bytes ends with its length.
func Clip(text string) string {
	if len(text) <= clipped {
		return text
	}
	return fmt.Sprintf("%s… (%d bytes)", strings.ToValidUTF8(text[:clipped], ""), len(text))
}
