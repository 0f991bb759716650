package cost

import (
	"fmt"
	"regexp"
	"regexp/syntax"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// maxPatternSize is how many instructions a regular expression of a new schema may have:
// a repetition has those of what it repeats as many times. Matching takes time in
// proportion to them.
const maxPatternSize = 10_000

// A pattern is a regular expression with its size.
type pattern struct {
	*regexp.Regexp

	size int
}

// CompilePattern is a [jsonschema.RegexpEngine].
func CompilePattern(text string) (jsonschema.Regexp, error) {
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, err
	}
	size := sizeOf(parsed)
	compiled, err := regexp.Compile(text)
	if err != nil {
		return nil, err
	}
	return pattern{compiled, size}, nil
}

// CompileBoundedPattern is CompilePattern for schemas that are not stored yet.
func CompileBoundedPattern(text string) (jsonschema.Regexp, error) {
	parsed, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		return nil, err
	}
	if size := sizeOf(parsed); size > maxPatternSize {
		return nil, &PatternSizeError{size}
	}
	return CompilePattern(text)
}

// A PatternSizeError refuses a regular expression that is too large.
type PatternSizeError struct{ size int }

// Error says how large it is, and may be.
func (e *PatternSizeError) Error() string {
	return fmt.Sprintf("is a regular expression of %d instructions with its repetitions, at most %d are allowed: repeat less", e.size, maxPatternSize)
}

// sizeOf is about how many instructions an expression is compiled to.
func sizeOf(re *syntax.Regexp) int {
	size := 1 + len(re.Rune)/2
	for _, each := range re.Sub {
		size = add(size, sizeOf(each))
	}
	if re.Op == syntax.OpRepeat {
		size = add(0, size*max(re.Min, re.Max, 1))
	}
	return size
}

// sizeOfPattern is the size that CompilePattern has found.
func sizeOfPattern(re jsonschema.Regexp) int {
	if p, ok := re.(pattern); ok {
		return p.size
	}
	return 1
}

// runSteps is what matching a text takes.
func runSteps(re jsonschema.Regexp, text string) int {
	return add(0, 1+len(text)*sizeOfPattern(re)/instructionsPerStep)
}
