package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"reflect"
	"regexp"
	"strings"
	"time"

	"github.com/alecthomas/kong"
)

// settings are what a process was asked to do, and where each setting came from: the first of the command line, the environment, the deployment file and the default that has it.
// The structs of the commands are the one table of settings: flags, environment, file, --print-config and docs/settings.md are all made of them. Besides kong's own, their tags may have
//
//	deployment:"-"   a setting of the command line alone, which has no place in a deployment file
//	reload:""        a setting that may change while the process runs (see reload.go)
type settings struct {
	cli   cli
	args  []string
	ctx   *kong.Context  // what kong made of args; nil where it could make nothing of them
	file  *deployment    // nil where none is used
	level *slog.LevelVar // the log's
	asked map[string]any // by setting: its value, before the command fills in what it works out by itself
}

const description = "Real-time features: Kafka in, versioned vectors in Redis, served over HTTP.\n\nExit codes: 0 done, 1 failed, 2 wrong usage or definitions."

// parser returns the grammar, whose values go into s.
func (s *settings) parser(out, errOut io.Writer, exit func(int)) (*kong.Kong, error) {
	return kong.New(&s.cli, kong.Name("highwater"), kong.Description(description), kong.Writers(out, errOut), kong.Exit(exit),
		kong.DefaultEnvars("HIGHWATER"), kong.ConfigureHelp(kong.HelpOptions{Compact: true}), kong.Bind(s),
		kong.TypeMapper(reflect.TypeFor[time.Duration](), kong.MapperFunc(decodeDuration)))
}

// parseSettings reads args, the environment and the deployment file. done says that args asked for help, which has been printed. On a mistake what was understood until then is returned beside the error.
func parseSettings(args []string, out, errOut io.Writer) (s *settings, done bool, err error) {
	s = &settings{args: args, level: new(slog.LevelVar)}
	parser, err := s.parser(out, errOut, func(int) { done = true })
	if err != nil {
		return s, false, err
	}
	if err := refuseSecrets(args, parser.Model); err != nil {
		return s, false, err
	}
	s.ctx, err = parser.Parse(args)
	if parse, ok := errors.AsType[*kong.ParseError](err); ok {
		s.ctx = parse.Context
	}
	if err == nil && !done {
		s.asked = map[string]any{}
		for _, f := range s.flags() {
			s.asked[f.Name] = f.Target.Interface()
		}
		err = errors.Join(s.refuseCredentials(), s.level.UnmarshalText([]byte(s.cli.LogLevel)))
	}
	return s, done, err
}

// command returns the node of the command that was named, nil where none was.
func (s *settings) command() *kong.Node {
	if s.ctx == nil {
		return nil
	}
	return s.ctx.Selected()
}

// flags returns the settings of the command that was named, those of all commands included.
func (s *settings) flags() []*kong.Flag {
	var flags []*kong.Flag
	for _, f := range s.ctx.Flags() {
		if f.Name != "help" {
			flags = append(flags, f)
		}
	}
	return flags
}

// fromEnvironment returns the variable that a setting is given by, if it is.
func fromEnvironment(f *kong.Flag) (name string, set bool) {
	for _, name := range f.Envs {
		if os.Getenv(name) != "" {
			return name, true
		}
	}
	return "", false
}

// isSecretOf reports whether f names the file of the secret of that name.
func isSecretOf(f *kong.Flag, name string) bool {
	return f.Target.Type() == reflect.TypeFor[secretFile]() && f.Name == name+secretFileFlag
}

// secretFix says where the secret belongs whose file f names.
func secretFix(f *kong.Flag) string {
	return fmt.Sprintf("set %s, or put it into a file of its own that only this user can read, and name that by --%s", envName(strings.TrimSuffix(f.Name, secretFileFlag)), f.Name)
}

// inURL is a password within a URL, or before an address.
var (
	inURL     = regexp.MustCompile(`(?i)\b[a-z][a-z0-9+.-]*://[^/?#@\s]*:[^/?#@\s]*@`)
	inAddress = regexp.MustCompile(`^[^@]*:[^@]*@`)
)

const credentialsFix = "write the address alone, HOST:PORT; users and passwords have settings of their own (docs/settings.md)"

// credentialsIn reports whether a setting's value has a password within an address.
func credentialsIn(f *kong.Flag, value any) bool {
	texts := []any{value}
	if list, ok := value.([]any); ok {
		texts = list
	}
	for _, t := range texts {
		text := fmt.Sprint(t)
		if inURL.MatchString(text) || f.PlaceHolder == "HOST:PORT" && inAddress.MatchString(text) {
			return true
		}
	}
	return false
}

// refuseSecrets looks for secrets among the arguments, before anything can repeat them in an error: everyone who can list processes sees them.
func refuseSecrets(args []string, app *kong.Application) error {
	for _, arg := range args {
		if strings.HasPrefix(strings.ToLower(arg), "redis") && inURL.MatchString(arg) {
			return usagef("an argument is a URL with a password in it, which everyone who can list processes sees: %s", credentialsFix)
		}
		name, isFlag := strings.CutPrefix(arg, "--")
		name, _, _ = strings.Cut(name, "=")
		for _, c := range app.Children {
			for _, f := range c.Flags {
				if isFlag && isSecretOf(f, name) {
					return usagef("--%s is a secret, and everyone who can list processes sees flags: %s", name, secretFix(f))
				}
			}
		}
	}
	return nil
}

// refuseCredentials looks for passwords within addresses, wherever those came from.
func (s *settings) refuseCredentials() error {
	for _, f := range s.flags() {
		values := []any{f.Target.Interface()}
		if list, ok := values[0].([]string); ok {
			values = values[:0]
			for _, text := range list {
				values = append(values, text)
			}
		}
		if credentialsIn(f, values) {
			return usagef("%s has a password in it: %s", s.source(f).describe(f), credentialsFix)
		}
	}
	return nil
}

// decodeDuration reads a setting that is a duration: as Go writes them, and in days.
func decodeDuration(ctx *kong.DecodeContext, target reflect.Value) error {
	var text string
	if err := ctx.Scan.PopValueInto("duration", &text); err != nil {
		return err
	}
	d, err := parseDuration(text)
	if err != nil {
		return err
	}
	target.SetInt(int64(d))
	return nil
}

func parseDuration(text string) (time.Duration, error) {
	number, unit := text, time.Duration(1)
	if days, isDays := strings.CutSuffix(text, "d"); isDays {
		number, unit = days+"h", 24
	}
	d, err := time.ParseDuration(number)
	if err != nil || d < 0 || d > math.MaxInt64/unit {
		return 0, fmt.Errorf("%q is not a duration: write a number with ms, s, m, h or d, such as 5s, 1h30m or 7d", text)
	}
	return d * unit, nil
}
