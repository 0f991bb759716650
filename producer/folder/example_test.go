package folder_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/jetpost/jetpost/event"
	"github.com/jetpost/jetpost/producer/folder"
)

// Each file of a folder becomes an event. A program publishes them with a
// producer.Producer, or with the client of the API.
func Example() {
	dir, err := os.MkdirTemp("", "jetpost-example-")
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	libs := filepath.Join(dir, "libs")
	if err := os.MkdirAll(filepath.Join(libs, "app"), 0o750); err != nil {
		log.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(libs, "app", "app-1.0.tar"), []byte("…"), 0o600); err != nil {
		log.Fatal(err)
	}

	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	publish := func(_ context.Context, events []*event.Event) error {
		for _, e := range events {
			fmt.Println(e.Type, e.Source, e.Subject)
		}
		stop() // this example ends with the first file
		return nil
	}
	watcher, err := folder.New(folder.Config{Folder: libs, StateDir: filepath.Join(dir, "state")}, publish, nil)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(watcher.Run(ctx))
	// Output:
	// artifact.deployed /folder/libs app/app-1.0.tar
	// <nil>
}
