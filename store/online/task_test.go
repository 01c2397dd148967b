package online_test

import (
	"context"
	"testing"

	"highwater/batch"
	"highwater/features"
	"highwater/store/keys"
	"highwater/store/online"
	"highwater/windows"

	"pgregory.net/rapid"
)

func expectKey(t testing.TB, s *online.Store, want batch.Key) {
	t.Helper()
	want.Claimed = want.Planned.Generation
	got, found, err := s.Read(t.Context())
	if err != nil || !found || got != want {
		t.Fatalf("task key %+v, %v, %v; want %+v", got, found, err, want)
	}
}

func planned(t testing.TB, s *online.Store, v features.Version, log string) {
	t.Helper()
	if err := s.Planned(t.Context(), v, log); err != nil {
		t.Fatalf("planned: %v", err)
	}
}

func confirmed(t testing.TB, s *online.Store, prev features.Version, k batch.Key, want bool) {
	t.Helper()
	if held, err := s.Confirmed(t.Context(), prev, k); err != nil || held != want {
		t.Fatalf("confirmed: held %v, %v; want %v", held, err, want)
	}
}

// restored republishes, as far as the task key is concerned.
func restored(ctx context.Context, s *online.Store, k batch.Key) (held bool, err error) {
	if err := s.Restoring(ctx, k); err != nil {
		return false, err
	}
	return s.Restore(ctx, k)
}

func restore(t testing.TB, s *online.Store, k batch.Key) {
	t.Helper()
	if held, err := restored(t.Context(), s, k); !held || err != nil {
		t.Fatalf("restore: held %v, %v", held, err)
	}
}

func testTaskKey(t *testing.T, w *world) {
	s := openStore(t, w.project())
	if k, found, err := s.Read(t.Context()); found || err != nil {
		t.Fatalf("a task key in an empty Redis: %+v, %v", k, err)
	}
	planned(t, s, version(1, 1), "log")
	none := batch.Key{Planned: version(1, 1), Frontier: windows.NoTime, Watermark: windows.NoTime, Log: "log"}
	expectKey(t, s, none)

	first := batch.Key{Planned: version(1, 1), Version: version(1, 1), Frontier: 10, Watermark: -5, Log: "log"}
	confirmed(t, s, version(0, 0), first, true)
	expectKey(t, s, first)
	planned(t, s, version(1, 2), "log")
	first.Planned = version(1, 2)
	expectKey(t, s, first)
	planned(t, s, version(1, 1), "log") // a replay
	confirmed(t, s, version(0, 0), batch.Key{Version: version(1, 1), Frontier: 99, Log: "log"}, true)
	expectKey(t, s, first)

	confirmed(t, s, version(1, 2), batch.Key{Version: version(1, 3), Log: "log"}, false)
	expectKey(t, s, first)
	after := batch.Key{Planned: version(1, 4), Version: version(1, 4), Frontier: windows.NoTime, Watermark: windows.NoTime, Log: "log"}
	restore(t, s, batch.Key{Version: version(1, 4), Frontier: windows.NoTime, Watermark: windows.NoTime, Log: "log"})
	expectKey(t, s, after)
	restore(t, s, batch.Key{Version: version(1, 3), Frontier: 7, Log: "log"})
	expectKey(t, s, after)
	expectPermanent(t, s.Planned(t.Context(), version(100_000, 1), "log"), "digits")
}

func testSuperseded(t *testing.T, w *world) {
	s := openStore(t, w.project())
	planned(t, s, version(1, 5), "mine")
	confirmed(t, s, version(0, 0), batch.Key{Version: version(1, 5), Frontier: 3, Watermark: 2, Log: "mine"}, true)
	expectPermanent(t, s.Planned(t.Context(), version(1, 6), "theirs"), `"mine"`, `"theirs"`)

	planned(t, s, version(2, 0), "theirs") // a higher generation may claim
	after := batch.Key{Planned: version(2, 0), Version: version(1, 5), Frontier: 3, Watermark: 2, Log: "theirs"}
	expectKey(t, s, after)
	expectPermanent(t, s.Planned(t.Context(), version(1, 6), "mine"), `"mine"`, `"theirs"`, "generation 2")
	_, err := s.Confirmed(t.Context(), version(1, 5), batch.Key{Version: version(1, 6), Log: "mine"})
	expectPermanent(t, err, `"mine"`, `"theirs"`)
	_, err = s.Restore(t.Context(), batch.Key{Version: version(1, 6), Log: "mine"})
	expectPermanent(t, err, `"mine"`, `"theirs"`)
	expectPermanent(t, s.Planned(t.Context(), version(1, 7), "theirs"), "generation 1", "generation 2") // a copy of the directory, left behind
	expectKey(t, s, after)

	restore(t, s, batch.Key{Version: version(2, 0), Frontier: 3, Watermark: 2, Log: "theirs"})
	confirmed(t, s, version(2, 0), batch.Key{Version: version(2, 1), Frontier: 4, Watermark: 2, Log: "theirs"}, true)
}

func testTaskKeyLost(t *testing.T, w *world) {
	o := w.project()
	s := openStore(t, o)
	confirmed(t, s, version(0, 0), batch.Key{Version: version(1, 1), Log: "log"}, false)
	if _, found, err := s.Read(t.Context()); found || err != nil {
		t.Fatalf("a confirmation made a task key: %v", err)
	}
	planned(t, s, version(1, 9), "log")
	confirmed(t, s, version(1, 8), batch.Key{Version: version(1, 9), Log: "log"}, false)

	if err := w.client.Set(t.Context(), keys.Task(o.Project, 0), "no hash", 0).Err(); err != nil {
		t.Fatal(err)
	}
	expectPermanent(t, s.Planned(t.Context(), version(1, 9), "log"), "WRONGTYPE", "delete it")
	if err := w.client.Del(t.Context(), keys.Task(o.Project, 0)).Err(); err != nil {
		t.Fatal(err)
	}
	if err := w.client.HSet(t.Context(), keys.Task(o.Project, 0), "planned", "7").Err(); err != nil {
		t.Fatal(err)
	}
	_, _, err := s.Read(t.Context())
	expectPermanent(t, err, "planned", keys.Task(o.Project, 0))
}

// testTaskKeyMoves compares random moves with the rules, written down again in Go.
func testTaskKeyMoves(t *testing.T, w *world) {
	rapid.Check(t, func(rt *rapid.T) {
		s, err := online.Open(t.Context(), w.project())
		if err != nil {
			rt.Fatal(err)
		}
		defer s.Close()
		if _, _, err := s.Read(t.Context()); err != nil { // as every task begins
			rt.Fatal(err)
		}
		var want batch.Key
		found := false
		for range rapid.IntRange(1, 15).Draw(rt, "moves") {
			log := rapid.SampledFrom([]string{"a", "b"}).Draw(rt, "log")
			v := version(rapid.Uint32Range(1, 3).Draw(rt, "generation"), rapid.Uint64Range(0, 4).Draw(rt, "sequence"))
			prev := version(rapid.Uint32Range(0, 3).Draw(rt, "previous generation"), rapid.Uint64Range(0, 4).Draw(rt, "previous sequence"))
			k := batch.Key{Version: v, Frontier: int64(v.Sequence), Watermark: 1, Log: log}
			op := rapid.SampledFrom([]string{"planned", "confirmed", "restore"}).Draw(rt, "move")

			held, err := false, error(nil)
			switch op {
			case "planned":
				err = s.Planned(t.Context(), v, log)
			case "confirmed":
				held, err = s.Confirmed(t.Context(), prev, k)
			case "restore":
				held, err = restored(t.Context(), s, k)
				if err == nil && !held {
					rt.Fatal("a restore right after its mark was not held")
				}
			}
			superseded := found && (want.Planned.Generation > v.Generation || want.Planned.Generation == v.Generation && want.Log != log)
			if superseded != batch.IsPermanent(err) || !superseded && err != nil {
				rt.Fatalf("%s: %v, want superseded %v", op, err, superseded)
			}
			if superseded {
				continue
			}
			if op == "confirmed" {
				reached := found && !want.Version.Less(v)
				if wantHeld := reached || found && want.Version == prev; held != wantHeld {
					rt.Fatalf("held %v, want %v", held, wantHeld)
				}
				if reached || !held {
					continue
				}
			}
			if !found {
				want = batch.Key{Frontier: windows.NoTime, Watermark: windows.NoTime}
			}
			if op != "planned" && want.Version.Less(v) {
				want.Version, want.Frontier, want.Watermark = v, k.Frontier, k.Watermark
			}
			if want.Planned.Less(v) {
				want.Planned = v
			}
			want.Log, found = log, true
		}
		want.Claimed = want.Planned.Generation
		got, gotFound, err := s.Read(t.Context())
		if err != nil || gotFound != found || got != want && found {
			rt.Fatalf("task key %+v, %v, %v; want %+v, %v", got, gotFound, err, want, found)
		}
	})
}

// testOwners plays two processes on one directory, or on copies of it: whoever claims last owns the task, and the other is told.
func testOwners(t *testing.T, w *world) {
	o := w.project()
	first, second := openStore(t, o), openStore(t, o)
	claim := func(s *online.Store, generation uint32, log, owner string) error {
		return s.Claim(t.Context(), batch.Claim{Version: version(generation, 0), Log: log, Owner: owner})
	}
	if err := claim(first, 1, "log", "directory a"); err != nil {
		t.Fatal(err)
	}
	planned(t, first, version(1, 1), "log")
	if err := claim(second, 1, "log", "directory b"); err != nil {
		t.Fatal(err)
	}
	expectPermanent(t, first.Planned(t.Context(), version(1, 2), "log"), "directory a", "directory b")
	_, _, err := first.Read(t.Context())
	expectPermanent(t, err, "directory a", "directory b")
	_, err = first.Confirmed(t.Context(), version(0, 0), batch.Key{Version: version(1, 1), Log: "log"})
	expectPermanent(t, err, "directory a", "directory b")
	planned(t, second, version(1, 2), "log")

	expectPermanent(t, claim(first, 1, "another log", "directory c"), "directory c", "directory b", "generation 1")
	if err := claim(first, 2, "another log", "directory c"); err != nil {
		t.Fatal(err)
	}
	expectPermanent(t, second.Planned(t.Context(), version(1, 3), "log"), "directory b", "directory c", "generation 2")

	// A failover that brings the record back from before the last claim supersedes nobody.
	if err := w.client.HSet(t.Context(), keys.Task(o.Project, 0), "owner", "0000000001 directory a", "planned", version(1, 2).String()).Err(); err != nil {
		t.Fatal(err)
	}
	planned(t, first, version(2, 1), "another log")

	// A record that was lost leaves the generation behind, and the mark of a republish goes with it.
	if err := first.Restoring(t.Context(), batch.Key{Planned: version(2, 1), Log: "another log"}); err != nil {
		t.Fatal(err)
	}
	if err := w.client.Del(t.Context(), keys.Task(o.Project, 0)).Err(); err != nil {
		t.Fatal(err)
	}
	if k, found, err := first.Read(t.Context()); found || err != nil || k.Claimed != 2 {
		t.Fatalf("a lost task key reads %+v, %v, %v; want generation 2 to be remembered", k, found, err)
	}
	planned(t, first, version(2, 1), "another log")
	if held, err := first.Restore(t.Context(), batch.Key{Version: version(2, 1), Log: "another log"}); held || err != nil {
		t.Fatalf("a republish ended over a record that was lost meanwhile: held %v, %v", held, err)
	}
}
