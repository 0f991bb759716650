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

	"github.com/jetpost/jetpost/internal/bench"
	"github.com/jetpost/jetpost/internal/cli"
	"github.com/jetpost/jetpost/internal/cli/terminal"
	"github.com/jetpost/jetpost/internal/logging"
	"github.com/jetpost/jetpost/internal/plain"
	"github.com/jetpost/jetpost/internal/receiver"
	"github.com/jetpost/jetpost/internal/timestamp"
)

// version is set by the Makefile.
var version = "dev"

// commandLine is the command line of jetpost.
type commandLine struct {
	Config configFlag `placeholder:"FILE" env:"JETPOST_CONFIG" help:"YAML file with values for flags, by their long names; those of a command stand below its name. Flags win over the environment, the environment over the file."`

	Serve serveCmd `cmd:"" group:"Server" help:"Run jetpost: accept events, route them, deliver them."`
	cli.Commands
	Receiver receiver.Cmd `cmd:"" group:"Tools" help:"Run a receiver that verifies and prints what arrives."`
	Bench    bench.Cmd    `cmd:"" group:"Tools" help:"Measure this machine: jetpost beside bare NATS and bare HTTP."`
	cli.Tools
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The second signal ends the process at once.
	context.AfterFunc(ctx, stop)
	e := &terminal.Env{Ctx: ctx, Stdin: os.Stdin, Stdout: os.Stdout, Stderr: plain.NewTerminal(os.Stderr)} // people read it, also from a file
	if terminal.IsTerminal(os.Stdout) {
		e.Stdout = plain.NewTerminal(os.Stdout)
	}
	log, flush := logging.New(e.Stderr, "warn", "auto")
	logging.CaptureLibraries(log) // commands without a log of their own
	err := run(e, os.Args[1:])
	flush()
	if err != nil {
		if _, silent := errors.AsType[terminal.ExitStatusError](err); !silent {
			fmt.Fprintln(os.Stderr, "jetpost:", plain.Escape(err.Error()))
		}
		os.Exit(exitCode(err))
	}
}

// run parses the command line and runs the command.
func run(e *terminal.Env, args []string) error {
	e.Version = version
	var commands commandLine
	exited := false
	parser, err := newParser(e, &commands, kong.Exit(func(int) { exited = true }))
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
		return terminal.UsageError{Err: fmt.Errorf("%w: see %s --help", err, commandOf(err))}
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

// newParser makes what reads a command line into commands.
func newParser(e *terminal.Env, commands *commandLine, more ...kong.Option) (*kong.Kong, error) {
	return kong.New(commands, append([]kong.Option{
		kong.Name("jetpost"),
		kong.Description("Turns CloudEvents into signed webhooks, over NATS JetStream. Nothing that was accepted is lost."),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true, Summary: false, FlagsLast: true}),
		kong.DefaultEnvars("JETPOST"),
		kong.Vars(cli.HelpVars()),
		kong.Writers(e.Stdout, e.Stderr),
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

func exitCode(err error) int {
	if _, ok := errors.AsType[terminal.UsageError](err); ok {
		return 2
	}
	if status, ok := errors.AsType[terminal.ExitStatusError](err); ok {
		return int(status)
	}
	return 1
}
