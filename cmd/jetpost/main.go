// Command jetpost is the whole platform in one binary: the server in all its
// roles, and the tools of the people who publish, receive and look after it.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"reflect"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"github.com/jetpost/jetpost/internal/plain"
	"github.com/jetpost/jetpost/internal/timestamp"
)

// version is set by the Makefile.
var version = "dev"

// commandLine is everything jetpost can be told. Each command is in a file of
// its own name.
type commandLine struct {
	Config configFlag `placeholder:"FILE" env:"JETPOST_CONFIG" help:"YAML file with values for flags, by their long names; those of a command stand below its name. Flags win over the environment, the environment over the file."`

	Serve        serveCmd        `cmd:"" group:"Server" help:"Run jetpost: accept events, route them, deliver them."`
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
	Receiver     receiverCmd     `cmd:"" group:"Tools" help:"Run a receiver that verifies and prints what arrives."`
	Bench        benchCmd        `cmd:"" group:"Tools" help:"Measure this machine: jetpost beside bare NATS and bare HTTP."`
	Completion   completionCmd   `cmd:"" group:"Tools" help:"Print the script that completes commands in a shell."`
	Complete     completeCmd     `cmd:"" name:"__complete" hidden:""`
	Version      versionCmd      `cmd:"" group:"Tools" help:"Print the version."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	e := &env{ctx: ctx, stdin: os.Stdin, stdout: os.Stdout, stderr: plain.NewTerminal(os.Stderr)} // people read it, also from a file
	if isTerminal(os.Stdout) {
		e.stdout = plain.NewTerminal(os.Stdout)
	}
	log, flush := newLogger(e.stderr, "warn", "auto")
	captureLibraries(log) // commands without a log of their own
	err := run(e, os.Args[1:])
	flush()
	if err != nil {
		if _, silent := errors.AsType[exitStatusError](err); !silent {
			fmt.Fprintln(os.Stderr, "jetpost:", plain.Escape(err.Error()))
		}
		os.Exit(exitCode(err))
	}
}

// run parses the command line and runs the command.
func run(e *env, args []string) error {
	var cli commandLine
	exited := false
	parser, err := newParser(e, &cli, kong.Exit(func(int) { exited = true }))
	if err != nil {
		return err
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if exited { // --help was asked for and printed
		return nil
	}
	if err != nil {
		return usageError{fmt.Errorf("%w: see %s --help", err, commandOf(err))}
	}
	return parsed.Run(e)
}

// commandOf is the command that was meant, as far as a command line that cannot be
// understood names one.
func commandOf(err error) string {
	command := "jetpost"
	parse, ok := errors.AsType[*kong.ParseError](err)
	if !ok {
		return command
	}
	for _, step := range parse.Context.Path {
		if step.Command != nil {
			command += " " + step.Command.Name
		}
	}
	return command
}

// newParser makes what reads a command line into cli.
func newParser(e *env, cli *commandLine, more ...kong.Option) (*kong.Kong, error) {
	return kong.New(cli, append([]kong.Option{
		kong.Name("jetpost"),
		kong.Description("Turns CloudEvents into signed webhooks, over NATS JetStream. Nothing that was accepted is lost."),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, Summary: false, FlagsLast: true}),
		kong.DefaultEnvars("JETPOST"),
		kong.Vars(helpVars()),
		kong.Writers(e.stdout, e.stderr),
		kong.TypeMapper(reflect.TypeFor[time.Time](), readAs("time", timestamp.Parse)),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), readAs("duration", timestamp.ParseDuration)),
	}, more...)...)
}

// readAs has flags of a type read as the API reads it, and says why one cannot be.
func readAs[T any](kind string, parse func(string) (T, error)) kong.MapperFunc {
	return func(ctx *kong.DecodeContext, target reflect.Value) error {
		var text string
		if err := ctx.Scan.PopValueInto(kind, &text); err != nil {
			return err
		}
		value, err := parse(text)
		if errors.Is(err, timestamp.ErrTooLong) {
			return fmt.Errorf("%q is not a duration that can be used: %w", text, err)
		}
		if err != nil {
			return fmt.Errorf("%q is not a %s: %w", text, kind, err)
		}
		target.Set(reflect.ValueOf(value))
		return nil
	}
}

// usageError is a command line that cannot be understood.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func exitCode(err error) int {
	if _, ok := errors.AsType[usageError](err); ok {
		return 2
	}
	if status, ok := errors.AsType[exitStatusError](err); ok {
		return int(status)
	}
	return 1
}
