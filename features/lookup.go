package features

import "slices"

// View returns a view by its name, nil where there is none. [Nearest] and ViewNames make a suggestion of that.
func (p *Project) View(name string) *View {
	return byNameIn(p.Views, name, func(v *View) string { return v.Name })
}

// Service returns a feature service by its name, nil where there is none.
func (p *Project) Service(name string) *Service {
	return byNameIn(p.Services, name, func(s *Service) string { return s.Name })
}

// Source returns a source by its name, nil where there is none.
func (p *Project) Source(name string) *Source {
	return byNameIn(p.Sources, name, func(s *Source) string { return s.Name })
}

// Entity returns an entity by its name, nil where there is none.
func (p *Project) Entity(name string) *Entity {
	return byNameIn(p.Entities, name, func(e *Entity) string { return e.Name })
}

// ViewNames returns the views' names, as declared.
func (p *Project) ViewNames() []string {
	return namesOf(p.Views, func(v *View) string { return v.Name })
}

// ServiceNames returns the services' names, as declared.
func (p *Project) ServiceNames() []string {
	return namesOf(p.Services, func(s *Service) string { return s.Name })
}

// SourceNames returns the sources' names, as declared.
func (p *Project) SourceNames() []string {
	return namesOf(p.Sources, func(s *Source) string { return s.Name })
}

// EntityNames returns the entities' names, as declared.
func (p *Project) EntityNames() []string {
	return namesOf(p.Entities, func(e *Entity) string { return e.Name })
}

// Feature returns the index of a feature in v.Features, -1 where there is none.
func (v *View) Feature(name string) int {
	return slices.IndexFunc(v.Features, func(f *Feature) bool { return f.Name == name })
}

// FeatureNames returns the features' names, as declared.
func (v *View) FeatureNames() []string {
	return namesOf(v.Features, func(f *Feature) string { return f.Name })
}

func byNameIn[T any](all []*T, name string, nameOf func(*T) string) *T {
	if i := slices.IndexFunc(all, func(one *T) bool { return nameOf(one) == name }); i >= 0 {
		return all[i]
	}
	return nil
}

func namesOf[T any](all []*T, nameOf func(*T) string) []string {
	out := make([]string, len(all))
	for i, one := range all {
		out[i] = nameOf(one)
	}
	return out
}
