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

	"github.com/alecthomas/kong"
	"github.com/redis/go-redis/v9/logging"

	"highwater/features"
)

// Exit codes, the same for every command.
const (
	exitDone   = 0
	exitFailed = 1
	exitUsage  = 2 // wrong flags, or definitions with mistakes
)

// cli is every command and its flags. Each flag can also be set by an environment variable: --data-dir by HIGHWATER_DATA_DIR.
type cli struct {
	LogLevel string `help:"Least severe level to log: debug, info, warn, error." default:"info" enum:"debug,info,warn,error"`

	Dev       devCommand       `cmd:"" help:"Run everything in one process, on shipped real data or your own: nothing to install."`
	Worker    workerCommand    `cmd:"" help:"Compute features from Kafka and write them to Redis."`
	Serve     serveCommand     `cmd:"" help:"Serve feature vectors over HTTP."`
	Validate  validateCommand  `cmd:"" help:"Check a definitions file: every mistake at once."`
	Schema    schemaCommand    `cmd:"" help:"Print the JSON Schema of definitions files, for editors."`
	Get       getCommand       `cmd:"" help:"Print one entity's features."`
	Republish republishCommand `cmd:"" help:"Write every vector that the state knows to Redis again, under its version."`
	Inspect   inspectCommand   `cmd:"" help:"Show a task's plans, position, watermarks and timers, or one entity's tiles."`
	Version   versionCommand   `cmd:"" help:"Print what was built."`
}

// streams are where a command reads and writes: results go to out, logs and progress to err.
type streams struct {
	out io.Writer
	err io.Writer
	log *slog.Logger
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
	var c cli
	exited := -1
	parser, err := kong.New(&c, kong.Name("highwater"), kong.Description("Real-time features: Kafka in, versioned vectors in Redis, served over HTTP.\n\nExit codes: 0 done, 1 failed, 2 wrong usage or definitions."),
		kong.Writers(out, errOut), kong.Exit(func(code int) { exited = code }), kong.DefaultEnvars("HIGHWATER"), kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		fmt.Fprintln(errOut, "highwater:", err)
		return exitFailed
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	kctx, err := parser.Parse(args)
	if exited >= 0 { // --help has been printed
		return exitDone
	}
	if err != nil {
		fmt.Fprintf(errOut, "highwater: %v (see highwater --help)\n", err)
		return exitUsage
	}
	kctx.BindTo(ctx, (*context.Context)(nil))
	return exitCode(kctx.Run(streams{out: out, err: errOut, log: newLogger(errOut, c.LogLevel)}), errOut)
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

func newLogger(w io.Writer, level string) *slog.Logger {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		l = slog.LevelInfo
	}
	return slog.New(slog.NewTextHandler(w, &slog.HandlerOptions{Level: l}))
}
