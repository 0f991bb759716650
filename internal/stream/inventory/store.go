package inventory

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/zap"

	"github.com/jetpost/jetpost/internal/replacefile"
	"github.com/jetpost/jetpost/internal/stream"
)

// readAll reads all documents from the list (0) or its copy (1).
func (i *Inventory) readAll(ctx context.Context, which int) (map[string]*document, error) {
	docs := map[string]*document{}
	for _, key := range allKeys() {
		d, _, err := i.read(ctx, which, key)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil, nil //nolint:nilnil // there is none
		}
		if err != nil {
			return nil, err
		}
		if d != nil {
			docs[key] = d
		}
	}
	return docs, nil
}

// read reads one document; nil when there is none. One that is no document counts as
// none: the other places tell.
func (i *Inventory) read(ctx context.Context, which int, key string) (*document, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	stored, err := i.layout.ReadInventory(ctx, i.js, which, key)
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return nil, 0, nil
	}
	if api, ok := errors.AsType[*jetstream.APIError](err); ok && api.ErrorCode == jetstream.JSErrCodeStreamNotFound {
		return nil, 0, jetstream.ErrStreamNotFound
	}
	if err != nil {
		return nil, 0, err
	}
	d, err := decode(stored.Value)
	if err != nil {
		i.log.Error("a document of the list of streams cannot be read", zap.String("key", key), zap.Error(err))
		return nil, stored.Revision, nil
	}
	return d, stored.Revision, nil
}

// put stores a document over whatever is there.
func (i *Inventory) put(ctx context.Context, which int, key string, d *document) error {
	data, err := d.encode()
	if err != nil {
		return err
	}
	for {
		stored, revision, err := i.read(ctx, which, key)
		if err != nil {
			return err
		}
		if stored != nil && stored.Installation == d.Installation && stored.Version > d.Version {
			return nil // another process was faster
		}
		if _, err = i.layout.WriteInventory(ctx, i.js, which, key, data, revision); !stream.IsWrongSequence(err) {
			return err
		}
	}
}

// change stores what f makes of a document, with a new version; where f returns false
// nothing is stored. It is called again when another process was faster.
func (i *Inventory) change(ctx context.Context, key string, f func(*document) bool) error {
	i.writing.Lock()
	defer i.writing.Unlock()
	for {
		stored, revision, err := i.read(ctx, 0, key)
		if err != nil {
			return err
		}
		d := i.base(key, stored)
		if !f(d) {
			i.keep(key, d)
			return nil
		}
		d.Version++
		data, err := d.encode()
		if err != nil {
			return err
		}
		_, err = i.layout.WriteInventory(ctx, i.js, 0, key, data, revision)
		if stream.IsWrongSequence(err) {
			continue
		}
		if err != nil {
			return err
		}
		i.settle()
		i.keep(key, d)
		if err := i.put(ctx, 1, key, d); err != nil {
			i.log.Warn("the copy of the list of streams is behind", zap.String("key", key), zap.Error(err))
		}
		return nil
	}
}

// base is the document that a change begins with.
func (i *Inventory) base(key string, stored *document) *document {
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case stored != nil && (i.installation == "" || i.unsettled): // another process was faster
		i.installation, i.unsettled = stored.Installation, false
	case i.installation == "":
		i.installation, i.unsettled = newID(), true
	}
	if stored != nil && stored.Installation != i.installation {
		stored = nil
	}
	d := newest(stored, i.docs[key])
	if d == nil {
		d = &document{Installation: i.installation}
	}
	return d.clone()
}

// settle takes note that the id of the installation is stored.
func (i *Inventory) settle() {
	i.mu.Lock()
	i.unsettled = false
	i.mu.Unlock()
}

func (i *Inventory) keep(key string, d *document) {
	i.mu.Lock()
	i.docs[key] = d
	i.mu.Unlock()
}

// refresh reads a document again, which another process may have changed.
func (i *Inventory) refresh(ctx context.Context, key string) error {
	stored, _, err := i.read(ctx, 0, key)
	if err != nil {
		if i.cfg.Reader && errors.Is(err, jetstream.ErrStreamNotFound) {
			return nil // made by an admin of this version
		}
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.cfg.Reader && stored != nil {
		i.docs[key] = stored
		return nil
	}
	if stored != nil && stored.Installation == i.installation {
		i.docs[key] = newest(i.docs[key], stored)
	}
	return nil
}

// fileForm is the copy in the data folder.
type fileForm struct {
	About     string               `json:"about"`
	Documents map[string]*document `json:"documents"`
	// Stopped: all had stopped when it was written, and it is exact.
	Stopped bool `json:"stopped,omitempty"`
}

const fileAbout = "Which streams this jetpost has: see docs/storage-faults.md. Written by jetpost."

func readFile(path string) (docs map[string]*document, stopped bool, err error) {
	if path == "" {
		return nil, false, nil
	}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	var form fileForm
	if err := json.Unmarshal(data, &form); err != nil {
		return nil, false, err
	}
	for key, d := range form.Documents {
		if d == nil || d.Installation == "" || d.Version == 0 {
			return nil, false, fmt.Errorf("its part %q has no installation or no version", key)
		}
		form.Documents[key] = d.clone()
	}
	return form.Documents, form.Stopped, nil
}

// writeFile writes the copy in the data folder, whole or not at all, if it has changed.
func (i *Inventory) writeFile() { i.writeAs(false) }

func (i *Inventory) writeAs(stopped bool) {
	if i.cfg.File == "" {
		return
	}
	i.mu.Lock()
	form := fileForm{About: fileAbout, Documents: maps.Clone(i.docs), Stopped: stopped}
	was := i.written
	i.mu.Unlock()
	data, err := json.MarshalIndent(form, "", " ")
	if err == nil && !bytes.Equal(data, []byte(was)) {
		if err = replacefile.Write(i.cfg.File, append(data, '\n'), 0o600); err == nil {
			i.mu.Lock()
			i.written = string(data)
			i.mu.Unlock()
		}
	}
	if err != nil {
		i.log.Warn("the list of streams in the data folder is behind", zap.String("file", i.cfg.File), zap.Error(err))
	}
}

// storeHeads gives the list in NATS what the streams were last seen to have.
func (i *Inventory) storeHeads(ctx context.Context) {
	i.mu.Lock()
	i.stored = time.Now()
	keys := make([]string, 0, len(i.docs))
	for key := range i.docs {
		if key != keyLosses {
			keys = append(keys, key)
		}
	}
	i.mu.Unlock()
	for _, key := range keys {
		if err := i.storeHead(ctx, key); err != nil && ctx.Err() == nil {
			i.log.Warn("the list of streams in NATS is behind", zap.String("key", key), zap.Error(err))
			return
		}
	}
}

func (i *Inventory) storeHead(ctx context.Context, key string) error {
	i.writing.Lock()
	defer i.writing.Unlock()
	for which := range len(i.inventoryStreams()) {
		stored, revision, err := i.read(ctx, which, key)
		if err != nil {
			return err
		}
		d := i.base(key, stored)
		if d.same(stored) {
			continue
		}
		data, err := d.encode()
		if err != nil {
			return err
		}
		if _, err := i.layout.WriteInventory(ctx, i.js, which, key, data, revision); err != nil && !stream.IsWrongSequence(err) {
			return err
		}
		i.keep(key, d)
	}
	return nil
}
