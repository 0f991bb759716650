package cli

import (
	"context"
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/alecthomas/kong"

	"github.com/jetpost/jetpost/client"
	v1 "github.com/jetpost/jetpost/client/api"
	"github.com/jetpost/jetpost/internal/cli/connect"
	"github.com/jetpost/jetpost/internal/cli/output"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/plain"
	"github.com/jetpost/jetpost/internal/profile"
	"github.com/jetpost/jetpost/internal/subscription"
)

// completionCmd is `jetpost completion`.
type completionCmd struct {
	Shell string `arg:"" enum:"bash,zsh,fish" help:"bash, zsh or fish."`
}

// Help is the long text of --help.
func (c *completionCmd) Help() string {
	return `Prints a script that completes commands, flags, their values, and ids. The ids are read
from the server, for a second at most.

  source <(jetpost completion bash)                                  in ~/.bashrc
  jetpost completion zsh > "${fpath[1]}/_jetpost"                    once; before compinit
  jetpost completion fish > ~/.config/fish/completions/jetpost.fish  once`
}

// Run prints the script.
func (c *completionCmd) Run(e *terminal.Env) error {
	_, err := fmt.Fprint(e.Stdout, map[string]string{"bash": bashScript, "zsh": zshScript, "fish": fishScript}[c.Shell])
	return err
}

// completeCmd is what the scripts run: `jetpost __complete SHELL -- WORD...`, with the
// words after the program's name up to that which is typed. It prints a candidate in
// each line, with a tab and what it is; ":files" or ":dirs" leaves it to the shell.
type completeCmd struct {
	Shell string   `arg:""`
	Words []string `arg:"" optional:"" passthrough:""`
}

// completionPatience is how long a person accepts to wait for a list of ids.
const completionPatience = time.Second

// Run prints the candidates. What cannot be found out is left out without a word: it
// would end up in what is being typed.
func (c *completeCmd) Run(e *terminal.Env, parsed *kong.Context) error {
	ctx, cancel := context.WithTimeout(e.Ctx, completionPatience)
	defer cancel()
	words := c.Words
	if len(words) > 0 && words[0] == "--" { // of the script
		words = words[1:]
	}
	if c.Shell == "bash" {
		words = joinBroken(words)
	}
	if len(words) == 0 {
		words = []string{""}
	}
	for _, found := range (&Completer{shell: c.Shell, Ask: askServer(ctx, e.Version)}).Complete(parsed.Model.Node, words) {
		if _, err := fmt.Fprintln(e.Stdout, found); err != nil {
			return err
		}
	}
	return nil
}

// joinBroken undoes that bash takes --flag=value for three words.
func joinBroken(words []string) []string {
	var joined []string
	for i, word := range words {
		last := len(joined) - 1
		if last >= 0 && (word == "=" && strings.HasPrefix(joined[last], "--") || words[i-1] == "=" && strings.HasSuffix(joined[last], "=")) {
			joined[last] += word
			continue
		}
		joined = append(joined, word)
	}
	return joined
}

// A Completer finds out what can come next.
type Completer struct {
	shell string
	Ask   func(flags map[string]string, kind, prefix string) []string

	flags    map[string]string // values of flags that were given
	node     *kong.Node
	args     int // positional arguments that were given
	pending  *kong.Flag
	onlyArgs bool // after --
}

// Complete lists what the last of the words can become.
func (c *Completer) Complete(root *kong.Node, words []string) []string {
	c.node, c.flags = root, map[string]string{}
	for _, word := range words[:len(words)-1] {
		c.take(word)
	}
	typed := words[len(words)-1]
	name, value, hasValue := strings.Cut(typed, "=")
	switch {
	case c.pending != nil:
		return c.values(c.pending.Value, c.pending.PlaceHolder, typed, "")
	case !c.onlyArgs && strings.HasPrefix(typed, "--") && hasValue:
		flag := c.flag(name)
		if flag == nil {
			return nil
		}
		before := name + "="
		if c.shell == "bash" { // which has taken it for a word of its own
			before = ""
		}
		return c.values(flag.Value, flag.PlaceHolder, value, before)
	case !c.onlyArgs && strings.HasPrefix(typed, "-"):
		return c.flagNames(typed)
	}
	return append(c.commands(typed), c.positional(typed)...)
}

// take continues after a word.
func (c *Completer) take(word string) {
	switch {
	case c.pending != nil:
		c.flags[c.pending.Name] = word
		c.pending = nil
	case c.onlyArgs:
		c.args++
	case word == "--":
		c.onlyArgs = true
	case strings.HasPrefix(word, "-") && word != "-":
		name, value, hasValue := strings.Cut(word, "=")
		flag := c.flag(name)
		switch {
		case flag == nil:
		case hasValue:
			c.flags[flag.Name] = value
		case !flag.IsBool():
			c.pending = flag
		}
	default:
		for _, child := range c.node.Children {
			if child.Name == word || slices.Contains(child.Aliases, word) {
				c.node = child
				return
			}
		}
		if c.node.DefaultCmd != nil {
			c.node = c.node.DefaultCmd
		}
		c.args++
	}
}

// flag is that of a word: --name, -n, or several letters of which the last counts.
func (c *Completer) flag(word string) *kong.Flag {
	for _, flag := range c.visibleFlags() {
		if word == "--"+flag.Name || slices.Contains(flag.Aliases, strings.TrimPrefix(word, "--")) ||
			flag.Negated && word == "--no-"+flag.Name || flag.Short != 0 && len(word) > 1 && word[1] != '-' && strings.HasSuffix(word, string(flag.Short)) {
			return flag
		}
	}
	return nil
}

// visibleFlags are those of the command and of what is around it.
func (c *Completer) visibleFlags() []*kong.Flag {
	var all []*kong.Flag
	node := c.node
	if node.DefaultCmd != nil {
		node = node.DefaultCmd
	}
	for _, flags := range node.AllFlags(true) {
		all = append(all, flags...)
	}
	return all
}

func (c *Completer) flagNames(typed string) []string {
	var found []string
	for _, flag := range c.visibleFlags() {
		names := []string{"--" + flag.Name}
		if flag.Tag != nil && flag.Tag.Negatable != "" {
			names = append(names, "--no-"+flag.Name)
		}
		for _, name := range names {
			if strings.HasPrefix(name, typed) {
				found = append(found, candidate(name, flag.Help))
			}
		}
	}
	return found
}

func (c *Completer) commands(typed string) []string {
	if c.onlyArgs || c.args > 0 {
		return nil
	}
	var found []string
	for _, child := range c.node.Children {
		if !child.Hidden && strings.HasPrefix(child.Name, typed) {
			found = append(found, candidate(child.Name, child.Help))
		}
	}
	return found
}

// positional completes the next argument. The last one may take several.
func (c *Completer) positional(typed string) []string {
	node := c.node
	if node.DefaultCmd != nil {
		node = node.DefaultCmd
	}
	if len(node.Positional) == 0 {
		return nil
	}
	at := min(c.args, len(node.Positional)-1)
	if arg := node.Positional[at]; at == c.args || arg.IsCumulative() {
		return c.values(arg, "", typed, "")
	}
	return nil
}

// values completes a value. What stands before it in the same word comes before each.
func (c *Completer) values(value *kong.Value, placeholder, typed, before string) []string {
	// Of a list that is typed with commas the last item is completed.
	done := ""
	if i := strings.LastIndexByte(typed, ','); i >= 0 && value.IsSlice() && value.Tag.Sep == ',' {
		done = typed[:i+1]
	}
	var known []string
	switch kind := value.Tag.Get("complete"); {
	case value.Enum != "":
		known = value.EnumSlice()
	case kind == "profile":
		known = profile.Names()
	case kind != "":
		known = c.Ask(c.flags, kind, typed[len(done):])
	case value.IsBool():
		known = []string{"true", "false"}
	case value.Tag.Type == "existingdir" || placeholder == "DIR":
		return []string{":dirs"}
	case slices.Contains([]string{"path", "existingfile"}, value.Tag.Type) || placeholder == "FILE" || strings.EqualFold(value.Name, "file"):
		return []string{":files"}
	}
	var found []string
	for _, one := range known {
		if text, about, _ := strings.Cut(one, "\t"); text != "" && strings.HasPrefix(done+text, typed) {
			found = append(found, candidate(before+done+text, about))
		}
	}
	return found
}

// candidate is a line with what can be typed and what it is.
func candidate(text, about string) string {
	about, _, _ = strings.Cut(about, "\n")
	if sentence, _, more := strings.Cut(about, ". "); more {
		about = sentence + "."
	}
	if about = plain.Shown(about, plain.FieldLimit); about == "" {
		return text
	}
	return text + "\t" + about
}

// askServer returns what asks the server for what it has of a kind.
func askServer(ctx context.Context, version string) func(flags map[string]string, kind, prefix string) []string {
	return func(flags map[string]string, kind, prefix string) []string {
		first := func(values ...string) string {
			for _, value := range values {
				if value != "" {
					return value
				}
			}
			return ""
		}
		api := connect.Flags{
			Server:    first(flags["server"], os.Getenv("JETPOST_SERVER")),
			Token:     first(flags["token"], os.Getenv("JETPOST_TOKEN"), os.Getenv("JETPOST_ADMIN_TOKEN")),
			TokenFile: first(flags["token-file"], os.Getenv("JETPOST_TOKEN_FILE")),
		}
		c, err := api.Client(ctx, version)
		if err != nil {
			return nil
		}
		return known(ctx, c, kind, prefix)
	}
}

// known is what the server has of a kind: the name of each and, after a tab, what it
// is. It is empty when it is unknown.
func known(ctx context.Context, c *connect.Client, kind, prefix string) []string {
	page := client.Paging{PageSize: connect.MaxPage}
	switch kind {
	case "subscription":
		if subscription.ValidID(prefix) { // the list is in order
			page.Cursor = prefix
		}
		return firstPage(c.Subscriptions.Pages(ctx, client.SubscriptionFilter{Paging: page}), func(p *v1.SubscriptionPage) (found []string) {
			for _, sub := range p.Items {
				found = append(found, sub.ID+"\t"+string(sub.State)+", "+strings.Join(sub.Types, " "))
			}
			return found
		})
	case "type", "domain":
		return knownTypes(ctx, c, kind == "domain")
	case "redrive":
		return firstPage(c.Redrives.Pages(ctx, client.Paging{}), namesOf(func(j *v1.RedriveJob) string {
			return j.ID + "\t" + j.State + ", started " + output.Clock(j.StartedAt)
		}))
	case "token":
		return firstPage(c.Tokens.Pages(ctx, page), namesOf(func(t *v1.Token) string { return t.ID + "\t" + string(t.Role) + ", " + t.Name }))
	case "repository":
		return firstPage(c.Repositories.Pages(ctx, client.RepositoryFilter{Query: prefix, Paging: page}), namesOf(func(r *v1.Repository) string {
			return r.Key + "\t" + string(r.Class)
		}))
	}
	return nil
}

// knownTypes are the event types, or their domains.
func knownTypes(ctx context.Context, c *connect.Client, domains bool) (found []string) {
	list, err := c.EventTypes.List(ctx, "")
	if err != nil {
		return nil
	}
	for _, t := range list.Items {
		switch {
		case !domains:
			found = append(found, t.Type+"\t"+t.Description)
		case !slices.Contains(found, t.Domain):
			found = append(found, t.Domain)
		}
	}
	// It ends up in what is being typed: what cannot be seen there is no candidate.
	return slices.DeleteFunc(found, func(one string) bool {
		text, _, _ := strings.Cut(one, "\t")
		return plain.Line(text) != text
	})
}

// firstPage is what names makes of the first page of a list.
func firstPage[P any](pages iter.Seq2[*P, error], names func(*P) []string) []string {
	for page, err := range pages {
		if err != nil {
			return nil
		}
		return names(page)
	}
	return nil
}

func namesOf[T any](name func(*T) string) func(*v1.Page[T]) []string {
	return func(p *v1.Page[T]) (found []string) {
		for i := range p.Items {
			found = append(found, name(&p.Items[i]))
		}
		return found
	}
}
