// Command journey prints the files that one event passes through, from the request that
// publishes it to the settled delivery: those with statements that a run of the server
// executes with one event, and the same run without it does not.
//
// It builds jetpost with coverage, so it needs the go command and the module's folder as
// the working directory. make journey runs it.
package main

import (
	"cmp"
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
)

const module = "github.com/jetpost/jetpost/"

func main() {
	most := flag.Int("most", 0, "fail when there are more files than this; 0: never")
	blocks := flag.Bool("blocks", false, "print the executed blocks of each file")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	executed, err := measure(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "journey:", err)
		os.Exit(1)
	}
	files := make(map[string]int)
	for _, block := range slices.Sorted(maps.Keys(executed)) {
		file, _, _ := strings.Cut(block, ":")
		files[file] += executed[block]
		if *blocks {
			fmt.Println(block)
		}
	}
	show(files)
	if *most > 0 && len(files) > *most {
		fmt.Fprintf(os.Stderr, "journey: one event passes through %d files, more than %d\n", len(files), *most)
		os.Exit(1)
	}
}

// measure returns the blocks that one event executes, with the number of their statements.
func measure(ctx context.Context) (map[string]int, error) {
	dir, err := os.MkdirTemp("", "journey-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	program := filepath.Join(dir, "jetpost")
	if err := command(ctx, "go", "build", "-cover", "-covermode=set", "-coverpkg=./...", "-o", program, "./cmd/jetpost"); err != nil {
		return nil, err
	}
	without, err := run(ctx, program, filepath.Join(dir, "without"), false)
	if err != nil {
		return nil, fmt.Errorf("run without an event: %w", err)
	}
	with, err := run(ctx, program, filepath.Join(dir, "with"), true)
	if err != nil {
		return nil, fmt.Errorf("run with an event: %w", err)
	}
	blocks := make(map[string]int)
	for block, statements := range with {
		if without[block] == 0 {
			blocks[strings.TrimPrefix(block, module)] = statements
		}
	}
	return blocks, nil
}

// steps are the folders in the order in which an event reaches them.
var steps = []string{"cmd/", "producer/", "event/", "schemas/", "router/", "sender/"}

func show(files map[string]int) {
	step := func(file string) int {
		if i := slices.IndexFunc(steps, func(s string) bool { return strings.HasPrefix(file, s) }); i >= 0 {
			return i
		}
		return len(steps)
	}
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(step(a), step(b)), cmp.Compare(a, b))
	})
	packages := make(map[string]bool)
	for _, name := range names {
		fmt.Printf("%5d  %s\n", files[name], name)
		packages[filepath.Dir(name)] = true
	}
	fmt.Printf("One event passes through %d files in %d packages; the number is that of its statements there.\n", len(names), len(packages))
}
