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
	Apply        apply.Cmd                  `cmd:"" group:"Operation" help:"Create or update subscriptions from files."`
	Export       apply.ExportCmd            `cmd:"" group:"Operation" help:"Export subscriptions to a file that apply reads."`
	Attempts     deliveries.AttemptsCmd     `cmd:"" group:"Operation" help:"List or follow delivery attempts."`
	Deadletters  deliveries.DeadlettersCmd  `cmd:"" aliases:"dead-letters" group:"Operation" help:"List, show, redrive and discard dead letters."`
	Redeliver    deliveries.RedeliverCmd    `cmd:"" group:"Operation" help:"Make one more attempt for a delivery."`
	Repository   installation.RepositoryCmd `cmd:"" aliases:"repo" group:"Operation" help:"Manage repository classes."`
	Token        installation.TokenCmd      `cmd:"" group:"Operation" help:"Create, list and revoke API tokens."`
	Audit        installation.AuditCmd      `cmd:"" group:"Operation" help:"List changes and their actors, and verify the audit trail."`
	Storage      installation.StorageCmd    `cmd:"" group:"Operation" help:"Show losses of streams, and accept them."`
	Senders      installation.SendersCmd    `cmd:"" group:"Operation" help:"List live senders and their subscriptions."`
	Schemas      catalogue.Cmd              `cmd:"" group:"Operation" help:"List event types, validate data, register your own domains."`
	Events       events.Cmd                 `cmd:"" aliases:"event" group:"Operation" help:"Read the event logs."`
	Explain      events.ExplainCmd          `cmd:"" group:"Operation" help:"Explain which subscriptions match an event, and why."`
	Publish      publish.Cmd                `cmd:"" group:"Sources" help:"Publish an event, or many from standard input."`
	Git          publish.GitCmd             `cmd:"" group:"Sources" help:"Publish the pushes to a git repository."`
	Watch        publish.WatchCmd           `cmd:"" group:"Sources" help:"Watch a folder and publish changes of its files."`
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
