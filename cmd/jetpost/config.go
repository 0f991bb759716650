package main

import (
	"fmt"
	"os"
	"strings"

	"github.com/alecthomas/kong"
	"go.yaml.in/yaml/v3"

	"github.com/jetpost/jetpost/internal/plain"
)

// configFlag is a file with values for flags:
//
//	serve:
//	  http: 127.0.0.1:8080
//	  allow-target: [10.1.0.0/16]
//	server: http://127.0.0.1:8080    # for every command that has --server
type configFlag string

// BeforeResolve reads the file. The name of the method is kong's.
func (c configFlag) BeforeResolve(k *kong.Kong, ctx *kong.Context, trace *kong.Path) error {
	path := string(ctx.FlagValue(trace.Flag).(configFlag))
	text, err := plain.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	var values map[string]any
	if err := yaml.Unmarshal(text, &values); err != nil {
		return fmt.Errorf("read configuration %s: %w", path, err)
	}
	file := configFile{path: path, values: values}
	if err := file.check(k.Model); err != nil {
		return err
	}
	ctx.AddResolver(file)
	return nil
}

type configFile struct {
	path   string
	values map[string]any
}

// Validate is part of kong.Resolver; check has done it.
func (f configFile) Validate(*kong.Application) error { return nil }

// Resolve gives the value of a flag that neither the command line nor the
// environment has set.
func (f configFile) Resolve(_ *kong.Context, parent *kong.Path, flag *kong.Flag) (any, error) {
	for _, name := range flag.Envs {
		if _, set := os.LookupEnv(name); set {
			return nil, nil //nolint:nilnil // kong's way to say: no value from here
		}
	}
	if node := parent.Node(); node != nil {
		if section, ok := f.values[node.Name].(map[string]any); ok {
			if value, ok := section[flag.Name]; ok {
				return text(value), nil
			}
		}
	}
	if value, ok := f.values[flag.Name]; ok {
		return text(value), nil
	}
	return nil, nil //nolint:nilnil // as above
}

// text gives kong a list as it would stand on the command line.
func text(value any) any {
	list, ok := value.([]any)
	if !ok {
		return fmt.Sprint(value)
	}
	items := make([]string, len(list))
	for i, v := range list {
		items[i] = fmt.Sprint(v)
	}
	return strings.Join(items, ",")
}

// check refuses names that no command and no flag has: a typing error must not
// pass for a setting.
func (f configFile) check(app *kong.Application) error {
	for name, value := range f.values {
		section, isSection := value.(map[string]any)
		known := false
		for _, node := range app.Leaves(false) {
			for command := node; command != nil; command = command.Parent {
				if isSection && command.Name == name {
					known = true
					for key := range section {
						if !hasFlag(command, key) {
							return fmt.Errorf("configuration %s: %s has no flag %q", f.path, name, key)
						}
					}
				}
				known = known || !isSection && hasFlag(command, name)
			}
		}
		if !known {
			return fmt.Errorf("configuration %s: %q is neither a command nor a flag of one", f.path, name)
		}
	}
	return nil
}

func hasFlag(node *kong.Node, name string) bool {
	for _, flag := range node.Flags {
		if flag.Name == name {
			return true
		}
	}
	return false
}
