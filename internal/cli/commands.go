// Package cli has the commands that people run against a server: what they take, do and print.
package cli

import (
	"strings"

	"github.com/jetpost/jetpost/internal/profile"
)

// Commands are those that call the API of a server, in the order of the help. Each is in
// a file of its own name.
type Commands struct {
	Subscription subscriptionCmd `cmd:"" aliases:"sub" group:"Operation" help:"Create, list and change subscriptions."`
	Apply        applyCmd        `cmd:"" group:"Operation" help:"Make the server have the subscriptions that are in files."`
	Export       exportCmd       `cmd:"" group:"Operation" help:"Write subscriptions into a file that apply takes back."`
	Attempts     attemptsCmd     `cmd:"" group:"Operation" help:"List or follow the requests that were made."`
	Deadletters  deadlettersCmd  `cmd:"" aliases:"dead-letters" group:"Operation" help:"List, show, redrive and discard deliveries that were given up."`
	Redeliver    redeliverCmd    `cmd:"" group:"Operation" help:"Make one more attempt of a delivery."`
	Repository   repositoryCmd   `cmd:"" aliases:"repo" group:"Operation" help:"Say of what class the repositories are that events are about."`
	Token        tokenCmd        `cmd:"" group:"Operation" help:"Make, list and revoke the tokens of the API."`
	Audit        auditCmd        `cmd:"" group:"Operation" help:"See who has changed what, and prove that the records of it are whole."`
	Storage      storageCmd      `cmd:"" group:"Operation" help:"See what streams have lost, and go on without it."`
	Senders      sendersCmd      `cmd:"" group:"Operation" help:"List the senders that are alive, and what each of them works on."`
	Schemas      schemasCmd      `cmd:"" group:"Operation" help:"Look at event types, check data, register domains of your own."`
	Events       eventsCmd       `cmd:"" aliases:"event" group:"Operation" help:"Read the event logs, past and present."`
	Explain      explainCmd      `cmd:"" group:"Operation" help:"Say which subscriptions want an event, and why."`
	Publish      publishCmd      `cmd:"" group:"Sources" help:"Publish an event, or many from standard input."`
	Git          gitCmd          `cmd:"" group:"Sources" help:"Publish the pushes to a git repository."`
	Watch        watchCmd        `cmd:"" group:"Sources" help:"Publish what happens to the files of a folder."`
}

// Tools are the commands that call no server, and stand last.
type Tools struct {
	Completion completionCmd `cmd:"" group:"Tools" help:"Print the script that completes commands in a shell."`
	Complete   completeCmd   `cmd:"" name:"__complete" hidden:""`
	Version    versionCmd    `cmd:"" group:"Tools" help:"Print the version."`
}

// HelpVars are what the help texts are told.
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
