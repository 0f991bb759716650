// Package cli lists the commands that call a server, which are in packages of their own, and
// has those for completion and the version.
package cli

import (
	"strings"

	"github.com/jetpost/jetpost/internal/cli/apply"
	"github.com/jetpost/jetpost/internal/cli/catalogue"
	"github.com/jetpost/jetpost/internal/cli/deliveries"
	"github.com/jetpost/jetpost/internal/cli/events"
	"github.com/jetpost/jetpost/internal/cli/installation"
	"github.com/jetpost/jetpost/internal/cli/publish"
	"github.com/jetpost/jetpost/internal/cli/subscriptions"
	"github.com/jetpost/jetpost/internal/profile"
)

// Commands are those that call the API of a server, in the order of the help.
type Commands struct {
	Subscription subscriptions.Cmd          `cmd:"" aliases:"sub" group:"Operation" help:"Create, list and change subscriptions."`
	Apply        apply.Cmd                  `cmd:"" group:"Operation" help:"Make the server have the subscriptions that are in files."`
	Export       apply.ExportCmd            `cmd:"" group:"Operation" help:"Write subscriptions into a file that apply takes back."`
	Attempts     deliveries.AttemptsCmd     `cmd:"" group:"Operation" help:"List or follow the requests that were made."`
	Deadletters  deliveries.DeadlettersCmd  `cmd:"" aliases:"dead-letters" group:"Operation" help:"List, show, redrive and discard deliveries that were given up."`
	Redeliver    deliveries.RedeliverCmd    `cmd:"" group:"Operation" help:"Make one more attempt of a delivery."`
	Repository   installation.RepositoryCmd `cmd:"" aliases:"repo" group:"Operation" help:"Say of what class the repositories are that events are about."`
	Token        installation.TokenCmd      `cmd:"" group:"Operation" help:"Make, list and revoke the tokens of the API."`
	Audit        installation.AuditCmd      `cmd:"" group:"Operation" help:"See who has changed what, and prove that the records of it are whole."`
	Storage      installation.StorageCmd    `cmd:"" group:"Operation" help:"See what streams have lost, and go on without it."`
	Senders      installation.SendersCmd    `cmd:"" group:"Operation" help:"List the senders that are alive, and what each of them works on."`
	Schemas      catalogue.Cmd              `cmd:"" group:"Operation" help:"Look at event types, check data, register domains of your own."`
	Events       events.Cmd                 `cmd:"" aliases:"event" group:"Operation" help:"Read the event logs, past and present."`
	Explain      events.ExplainCmd          `cmd:"" group:"Operation" help:"Say which subscriptions want an event, and why."`
	Publish      publish.Cmd                `cmd:"" group:"Sources" help:"Publish an event, or many from standard input."`
	Git          publish.GitCmd             `cmd:"" group:"Sources" help:"Publish the pushes to a git repository."`
	Watch        publish.WatchCmd           `cmd:"" group:"Sources" help:"Publish what happens to the files of a folder."`
}

// Tools are the commands that call no server, and stand last.
type Tools struct {
	Completion completionCmd `cmd:"" group:"Tools" help:"Print the script that completes commands in a shell."`
	Complete   completeCmd   `cmd:"" name:"__complete" hidden:""`
	Version    versionCmd    `cmd:"" group:"Tools" help:"Print the version."`
}

// HelpVars are the variables of the help texts.
func HelpVars() map[string]string {
	var settings []string
	for _, name := range profile.Names() {
		traits, _ := profile.Traits(name)
		if len(traits.Settings) > 0 {
			settings = append(settings, name+": "+strings.Join(traits.Settings, ", "))
		}
	}
	return map[string]string{"profiles": strings.Join(profile.Names(), ", "), "settings": strings.Join(settings, "; ")}
}
