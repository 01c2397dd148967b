// Command search looks for a trace that breaks a promise of the protocol: in all small worlds, or in one, with all rules, or without some.
//
//	go run ./testutil/model/search                          every scenario, with all rules
//	go run ./testutil/model/search -list                    the scenarios and the rules
//	go run ./testutil/model/search -without newer-only      in the scenario that the rule is for
//	go run ./testutil/model/search -scenario crash -without newer-only,equal-stays -max 1000000
//
// It exits with 1 where it has found one.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"highwater/testutil/model"
)

func main() {
	list := flag.Bool("list", false, "list the scenarios and the rules")
	scenario := flag.String("scenario", "", "search this scenario alone; else all, or the one that a rule left out is for")
	without := flag.String("without", "", "leave these rules out, separated by commas")
	limit := flag.Int("max", 5_000_000, "visit so many worlds of a scenario at most (about 600 bytes each)")
	flag.Parse()
	if *list {
		printList()
		return
	}
	broken, err := run(*scenario, *without, *limit)
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	case broken:
		os.Exit(1)
	}
}

func run(scenario, without string, limit int) (broken bool, err error) {
	rules, names := model.AllRules(), strings.FieldsFunc(without, func(r rune) bool { return r == ',' })
	if rules, err = rules.Without(names...); err != nil {
		return false, err
	}
	if len(names) > 0 && scenario == "" {
		rule, _ := model.Find(names[0])
		scenario = rule.Scenario
		if rules, err = rules.Without(rule.Besides...); err != nil {
			return false, err
		}
	}
	known := false
	for _, s := range append(model.Scenarios(), model.Larger()...) {
		if scenario != "" && s.Name != scenario {
			continue
		}
		known = true
		start := time.Now()
		res := model.Search(s, rules, func(worlds int) bool { return worlds >= limit })
		fmt.Printf("%s: %s (%.1fs)\n", s.Name, s.About, time.Since(start).Seconds())
		res.Print(os.Stdout)
		broken = broken || res.Violation != nil
	}
	if !known {
		return false, fmt.Errorf("no scenario %q; -list names them", scenario)
	}
	return broken, nil
}

func printList() {
	out := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	for _, s := range model.Scenarios() {
		fmt.Fprintf(out, "%s\t%s\n", s.Name, s.About)
	}
	for _, s := range model.Larger() {
		fmt.Fprintf(out, "%s\t%s; larger\n", s.Name, s.About)
	}
	fmt.Fprintln(out)
	for _, r := range model.Table() {
		fmt.Fprintf(out, "%s\tdesign.md %s\tin %s\t%s\n", r.Name, r.Section, r.Scenario, r.Breaks)
	}
	_ = out.Flush()
}
