package gitsource_test

import (
	"fmt"
	"strings"

	"github.com/jetpost/jetpost/producer/gitsource"
)

// Git gives a post-receive hook a line for each ref that was pushed.
func ExampleParseUpdates() {
	updates, err := gitsource.ParseUpdates(strings.NewReader(
		"0000000000000000000000000000000000000000 9fceb02d0ae598e95dc970b74767f19372d61af8 refs/heads/main\n"))
	for _, u := range updates {
		fmt.Println(u.Ref, u.After)
	}
	fmt.Println(err)
	// Output:
	// refs/heads/main 9fceb02d0ae598e95dc970b74767f19372d61af8
	// <nil>
}
