// Command draw writes the Grafana dashboard as one HTML page, for a stretch of time, from a Prometheus: see package dashboard.
//
//	go run ./deploy/dashboard/draw -prometheus http://127.0.0.1:9090 -from 30m -out dashboard.html
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"time"

	"highwater/deploy/dashboard"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	switch {
	case errors.Is(err, flag.ErrHelp):
	case err != nil:
		fmt.Fprintln(os.Stderr, "draw:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("draw", flag.ContinueOnError)
	prometheus := flags.String("prometheus", "http://127.0.0.1:9090", "address of Prometheus")
	from := flags.String("from", "30m", "the beginning: a time (RFC 3339), or how long before now")
	to := flags.String("to", "0s", "the end, likewise")
	file := flags.String("dashboard", "deploy/grafana/highwater.json", "the dashboard to draw")
	out := flags.String("out", "dashboard.html", "where to write the page")
	scrape := flags.Duration("scrape", 5*time.Second, "how often Prometheus scrapes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	o := dashboard.Options{Prometheus: *prometheus, Scrape: *scrape}
	var err error
	if o.Dashboard, err = os.ReadFile(*file); err != nil {
		return err
	}
	now := time.Now()
	if o.From, err = moment(*from, now); err != nil {
		return fmt.Errorf("-from: %w", err)
	}
	if o.To, err = moment(*to, now); err != nil {
		return fmt.Errorf("-to: %w", err)
	}
	w, err := os.Create(*out)
	if err != nil {
		return err
	}
	if err := errors.Join(dashboard.Render(ctx, w, o), w.Close()); err != nil {
		return err
	}
	fmt.Println(*out)
	return nil
}

// moment reads a time, or how long before now it was.
func moment(text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil {
		return now.Add(-ago), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, fmt.Errorf("%q is neither a time like 2006-01-02T15:04:05Z nor a duration like 30m", text)
	}
	return t, nil
}
