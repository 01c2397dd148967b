package features

import "time"

// Catalogue is what readers need of a project, kept beside its vectors in the online store, so that `serve` needs the store's address and the project's name and nothing else.
type Catalogue struct {
	Project  string             `json:"project"`
	Clock    Clock              `json:"clock"`
	Tasks    int                `json:"tasks"`
	Hash     string             `json:"definitions"` // Project.Hash
	Entities []CatalogueEntity  `json:"entities"`
	Views    []CatalogueView    `json:"views"`
	Services []CatalogueService `json:"services"`
}

// CatalogueEntity is an entity's join keys, in declared order.
type CatalogueEntity struct {
	Name     string             `json:"name"`
	JoinKeys []CatalogueJoinKey `json:"join_keys"`
}

// CatalogueJoinKey is one join key; its type is "string" or "int64".
type CatalogueJoinKey struct {
	Name string `json:"name"`
	Type string `json:"type"`
}

// CatalogueView is one feature view and the shape of the vectors that are written now.
type CatalogueView struct {
	Name   string        `json:"name"`
	Entity string        `json:"entity"`
	TTL    time.Duration `json:"ttl_ns"` // 0 for none
	Schema Schema        `json:"schema"`
}

// CatalogueService is a feature service, its references spelt out as view:feature.
type CatalogueService struct {
	Name     string   `json:"name"`
	Features []string `json:"features"`
}

// Catalogue returns what readers need of p, for a project run as that many tasks.
func (p *Project) Catalogue(tasks int) Catalogue {
	c := Catalogue{Project: p.Name, Clock: p.Clock, Tasks: tasks, Hash: p.Hash}
	for _, e := range p.Entities {
		ce := CatalogueEntity{Name: e.Name}
		for _, k := range e.JoinKeys {
			ce.JoinKeys = append(ce.JoinKeys, CatalogueJoinKey{Name: k.Name, Type: k.Kind.String()})
		}
		c.Entities = append(c.Entities, ce)
	}
	for _, v := range p.Views {
		c.Views = append(c.Views, CatalogueView{Name: v.Name, Entity: v.Entity.Name, TTL: v.TTL, Schema: v.Schema})
	}
	for _, s := range p.Services {
		cs := CatalogueService{Name: s.Name}
		for _, r := range s.Features {
			cs.Features = append(cs.Features, r.View.Name+":"+r.View.Features[r.Feature].Name)
		}
		c.Services = append(c.Services, cs)
	}
	return c
}
