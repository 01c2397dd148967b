package state

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"highwater/features"
	"highwater/store/keys"
	"highwater/windows"
)

// binding is the project in force. It is immutable.
type binding struct {
	project *features.Project
	views   []*view // by batch.Entity.View
	byName  map[string]*view
	dropped []string // views that the directory has state of and the project does not know
}

// view is one view of the project in force. It is immutable.
type view struct {
	index   int
	name    string
	machine *windows.Machine
	shapes  []shape // by number; Put writes the last one, which is stored with the first entity that it writes
	lower   []byte  // bounds of its entities' keys
	upper   []byte
}

// shape is a stored shape, or the one about to be, with the machine that reads it.
type shape struct {
	storedShape
	machine *windows.Machine
}

// current is the number of the shape that Put writes.
func (v *view) current() int { return len(v.shapes) - 1 }

// IncompatibleError refuses definitions that cannot carry on the state there is.
type IncompatibleError struct {
	Dir     string
	Reasons []error // each a [*features.Change]: what changed, and the way out
}

// Error lists what stands against the definitions, each with its way out.
func (e *IncompatibleError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "the definitions cannot carry on the state in %s:", e.Dir)
	for _, reason := range e.Reasons {
		fmt.Fprintf(&b, "\n  %v", reason)
	}
	return b.String()
}

// Unwrap returns the reasons.
func (e *IncompatibleError) Unwrap() []error { return e.Reasons }

// Rebind puts another project in force: p's views are what [batch.Entity.View] means from now on. It is how a plan that was pending when the definitions changed is finished under those that made it, and how recorded plans are executed again.
// It forgets what is in memory, unless p's text is the one in force: then it does nothing. No change may be open. An [*IncompatibleError] leaves all as it was; shapes alone are compared, since p has made plans already.
func (s *Store) Rebind(p *features.Project) error {
	if s.closed.Load() {
		return errClosed
	}
	if s.open != nil {
		return errors.New("rebind state: a change is open: commit or discard it first")
	}
	if now := s.bound.Load().project; now == p || now.Hash == p.Hash && now.Text == p.Text && p.Text != "" {
		return nil
	}
	return s.bind(p)
}

// checkDefinitions compares p with the definitions that made the newest plan, or the last commit: what stands in the way of carrying on, of which shapes are only a part.
func (s *Store) checkDefinitions(p *features.Project, newMeaning bool) error {
	old, err := s.lastDefinitions()
	if err != nil || old == nil || old.Hash == p.Hash {
		return err
	}
	reasons := features.CompatibleWith(old, p)
	if newMeaning {
		reasons = slices.DeleteFunc(reasons, func(err error) bool {
			var c *features.Change
			return errors.As(err, &c) && c.Kind == features.ChangedMeaning
		})
	}
	if len(reasons) > 0 {
		return &IncompatibleError{Dir: s.dir, Reasons: reasons}
	}
	return nil
}

// lastDefinitions returns the definitions that were last in force, nil where they are not known: then the stored shapes alone are compared.
func (s *Store) lastDefinitions() (*features.Project, error) {
	hash := ""
	if at := s.position.Load(); at != nil {
		hash = at.Definitions
	}
	last, err := s.lastPlan()
	if err != nil {
		return nil, err
	}
	if last != nil {
		hash = last.Definitions
	}
	text, found, err := s.Definitions(hash)
	if !found || err != nil {
		return nil, err
	}
	p, err := features.Parse("definitions "+hash, []byte(text))
	if err != nil {
		s.log.Warn("the definitions kept with the state cannot be read any more, so that only the shapes of features were compared with the new ones", "definitions", hash, "error", err)
		return nil, nil
	}
	return p, nil
}

func (s *Store) bind(p *features.Project) error {
	b := &binding{project: p, byName: make(map[string]*view, len(p.Views))}
	var reasons []error
	for i, fv := range p.Views {
		v, errs := bindView(i, fv, s.shapes[fv.Name])
		if errs != nil {
			reasons = append(reasons, errs...)
			continue
		}
		b.views = append(b.views, v)
		b.byName[v.name] = v
	}
	if reasons != nil {
		return &IncompatibleError{Dir: s.dir, Reasons: reasons}
	}
	for _, name := range slices.Sorted(maps.Keys(s.shapes)) {
		if b.byName[name] == nil {
			b.dropped = append(b.dropped, name)
		}
	}
	s.plans.Lock()
	s.plans.texts[p.Hash] = p.Text
	s.plans.Unlock()
	for clock := range s.floor {
		s.floor[clock] = minTime // timers of views that were unknown may come to light
	}
	s.cache.clear(len(p.Views))
	s.bound.Store(b)
	return nil
}

// bindView sets a view's current shape beside those stored. Only the newest has to be compatible: older values are carried through the shapes between.
func bindView(index int, fv *features.View, stored []storedShape) (v *view, reasons []error) {
	v = &view{index: index, name: fv.Name, machine: fv.Machine}
	v.lower, v.upper = keys.StateOf(fv.Name)
	for _, st := range stored {
		m, err := windows.ParseShape(st.Windows)
		if err != nil {
			return nil, []error{changedShape(fv, fmt.Errorf("the shape that its state was written in cannot be read: %w", err))}
		}
		v.shapes = append(v.shapes, shape{st, m})
	}
	now := shape{storedShape{Windows: fv.Machine.Shape(), Schema: fv.Schema.ID}, fv.Machine}
	if n := len(v.shapes); n == 0 || v.shapes[n-1].storedShape != now.storedShape {
		v.shapes = append(v.shapes, now)
	} else {
		v.shapes[n-1] = now // the project's own machine, which knows the expressions
	}
	if len(stored) == 0 {
		return v, nil
	}
	for _, err := range fv.Machine.Compatible(v.shapes[len(stored)-1].machine) {
		reasons = append(reasons, changedShape(fv, err))
	}
	return v, reasons
}

func changedShape(v *features.View, why error) error {
	return &features.Change{
		Kind: features.ChangedShape, What: fmt.Sprintf("feature view %s: %v", v.Name, why),
		Fix: "rename the feature or the feature view (it starts empty, the others go on), or " + features.StartOver,
	}
}
