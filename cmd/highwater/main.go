// Command highwater turns Kafka event streams into fresh feature vectors, keeps them in Redis, and serves them to models.
//
// One file a subcommand; what they share is wired in wire.go and nowhere else.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/redis/go-redis/v9/logging"

	"highwater/features"
)

// Exit codes, the same for every command.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2 // wrong flags, or definitions with mistakes
)

// cli is every command and its flags. Each flag can also be set by an environment variable, --data-dir by HIGHWATER_DATA_DIR, and in the deployment file (see settings.go).
type cli struct {
	Config    deploymentFile `help:"Deployment file: settings by their flags' names, in YAML. Flags and environment go before it." placeholder:"FILE" deployment:"-"`
	LogLevel  string         `help:"Least severe level to log: debug, info, warn, error." default:"info" enum:"debug,info,warn,error" reload:""`
	LogFormat string         `help:"How log lines are written: text (key=value) or json." default:"text" enum:"text,json"`

	Dev       devCommand       `cmd:"" help:"Run everything in one process, on shipped real data or your own: nothing to install."`
	Worker    workerCommand    `cmd:"" help:"Compute features from Kafka and write them to Redis."`
	Serve     serveCommand     `cmd:"" help:"Serve feature vectors over HTTP."`
	Validate  validateCommand  `cmd:"" help:"Check a definitions file: every mistake at once."`
	Schema    schemaCommand    `cmd:"" help:"Print the JSON Schema of definitions files, for editors."`
	Get       getCommand       `cmd:"" help:"Print one entity's features."`
	Republish republishCommand `cmd:"" help:"Write every vector that the state knows to Redis again, under its version."`
	Reset     resetCommand     `cmd:"" help:"Begin a new generation from a stated place, after saying what that does."`
	Reload    reloadCommand    `cmd:"" help:"Have the running worker read its deployment file and its secrets again."`
	Replay    replayCommand    `cmd:"" help:"Run recorded plans again, from a state before them, and compare with the store."`
	Inspect   inspectCommand   `cmd:"" help:"Show a task's plans, position, watermarks and timers, or one entity's tiles."`
	Drill     drillCommand     `cmd:"" help:"Prove it: kill a worker again and again, let things go wrong, and compare every value and every byte."`
	Capacity  capacityCommand  `cmd:"" help:"Say how many workers a load needs, from a worker's speed, given or measured."`
	Version   versionCommand   `cmd:"" help:"Print what was built."`
}

// streams are where a command reads and writes: results go to out, logs and progress to err. settings is what it was asked to do, for what of it may change.
type streams struct {
	out      io.Writer
	err      io.Writer
	log      *slog.Logger
	settings *settings
}

// usageError is a mistake in what was asked for, as opposed to something that failed.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func main() {
	logging.Disable() // go-redis would print, past our log, what its callers report with the act and the way out
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run parses args, runs the command they name, and returns the exit code.
func run(ctx context.Context, args []string, out, errOut io.Writer) int {
	if len(args) == 1 && args[0] == drillChildCommand {
		return drillChild(ctx, os.Stdin, out, errOut)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	s, done, err := parseSettings(args, out, errOut)
	if done { // --help has been printed
		return exitDone
	}
	if asked, asJSON := s.printAsked(); asked {
		if printErr := s.print(out, asJSON); printErr != nil || err == nil {
			return exitCode(printErr, errOut)
		}
	}
	if err != nil {
		return exitCode(wrongUsage(err), errOut)
	}
	s.ctx.BindTo(ctx, (*context.Context)(nil))
	return exitCode(s.ctx.Run(streams{out: out, err: errOut, log: newLogger(errOut, s.cli.LogFormat, s.level), settings: s}), errOut)
}

// wrongUsage marks what the parser found as a mistake in what was asked for.
func wrongUsage(err error) error {
	if _, ok := errors.AsType[features.Mistakes](err); ok {
		return err
	}
	if _, ok := errors.AsType[usageError](err); ok {
		return err
	}
	return usagef("%w (see highwater --help)", err)
}

// exitCode prints what went wrong and says it in a number.
func exitCode(err error, errOut io.Writer) int {
	if err == nil {
		return exitDone
	}
	var mistakes features.Mistakes
	if errors.As(err, &mistakes) {
		fmt.Fprintln(errOut, mistakes.Error())
		plural := "s"
		if len(mistakes) == 1 {
			plural = ""
		}
		fmt.Fprintf(errOut, "highwater: %d mistake%s\n", len(mistakes), plural)
		return exitUsage
	}
	fmt.Fprintln(errOut, "highwater:", err)
	var usage usageError
	if errors.As(err, &usage) {
		return exitUsage
	}
	return exitFailed
}

// newLogger returns a log that writes lines to w, from a level on that may change.
func newLogger(w io.Writer, format string, level *slog.LevelVar) *slog.Logger {
	o := &slog.HandlerOptions{Level: level}
	if format == "json" {
		o.ReplaceAttr = func(_ []string, a slog.Attr) slog.Attr {
			if a.Value.Kind() == slog.KindDuration { // as text, like in the other format: who reads 60000000000?
				a.Value = slog.StringValue(a.Value.Duration().String())
			}
			return a
		}
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}
