package main

import (
	"fmt"
	"math/rand"
	"time"
)

// An anchor that is to be uploaded.
type planned struct {
	*issued
	isActiveInProject, isActiveInOrganization bool
}

// A random situation in one project. No name or key is that of another situation.
type setup struct {
	project project
	anchors []*planned
	clients []*client
}

type generator struct {
	*rand.Rand
	name string
	// Dates lie around this instant.
	start time.Time
	// Whether anchors may be active for the organization.
	hasOrganization bool
	made            []*issued
}

// Setup makes anchors, intermediates and clients, with one fault or another.
func (g *generator) setup(project project) *setup {
	g.made = nil
	rootKey := newKey()
	root := g.authority("root", rootKey, nil)
	intermediate := g.authority("intermediate", newKey(), root)
	// Issuers of leaves, and what can be presented.
	issuers, presented := []*issued{root, intermediate, intermediate}, []*issued{intermediate}
	anchors := []*issued{root}
	if g.oneIn(3) {
		anchors = append(anchors, g.authority("root", rootKey, nil))
	}
	if g.oneIn(4) {
		rekeyed := g.authority("root", newKey(), nil)
		issuers = append(issuers, rekeyed)
		if g.oneIn(2) {
			anchors = append(anchors, rekeyed)
		} else {
			// By the key before.
			presented = append(presented, g.authority("root", rekeyed.key, root))
		}
	}
	if g.oneIn(4) {
		presented = append(presented, g.authority("intermediate", intermediate.key, root))
	}
	if g.oneIn(3) {
		lower := g.authority("lower", newKey(), intermediate)
		issuers, presented = append(issuers, lower), append(presented, lower)
	}
	if g.oneIn(6) {
		anchors = append(anchors, intermediate)
	} else if g.oneIn(8) {
		// In place of the good one.
		presented[0] = g.flawed(intermediate, root)
	}
	stranger := g.authority("stranger", newKey(), nil)
	if g.oneIn(4) {
		issuers = append(issuers, stranger)
	}
	setup := &setup{project: project}
	for _, anchor := range anchors {
		setup.anchors = append(setup.anchors, g.activation(anchor))
	}
	for number := 0; number < 2; number++ {
		issuer := issuers[g.Intn(len(issuers))]
		client := &client{chain: chain{g.leaf(number, issuer)}}
		if issuer != stranger {
			client.chain = append(client.chain, g.someOf(presented)...)
		}
		setup.add(client, g)
	}
	if g.oneIn(3) {
		issuer := issuers[g.Intn(len(issuers))]
		file := append(chain{issuer}, g.someOf(presented)...)
		fresh := plan{name: "fresh", key: newKey(), begin: g.start.Add(-time.Hour), end: g.start.Add(time.Hour)}
		setup.add(&client{issuerFile: file, chain: append(chain{fresh.sign(issuer)}, file...)}, g)
	}
	return setup
}

func (s *setup) add(client *client, g *generator) {
	client.name = fmt.Sprintf("%s-%d", g.name, len(s.clients))
	client.project = &s.project
	for _, made := range append(g.made, client.chain...) {
		for _, date := range []time.Time{made.certificate.NotBefore, made.certificate.NotAfter} {
			client.boundaries = append(client.boundaries, date)
		}
	}
	for _, anchor := range s.anchors {
		if anchor.isActiveInProject || anchor.isActiveInOrganization {
			client.anchors = append(client.anchors, anchor.certificate)
		}
	}
	s.clients = append(s.clients, client)
}

func (g *generator) oneIn(number int) bool {
	return g.Intn(number) == 0
}

func (g *generator) authority(name string, key *key, signer *issued) *issued {
	begin, end := g.span()
	made := plan{name: g.name + " " + name, key: key, begin: begin, end: end, isCA: true}.sign(signer)
	g.made = append(g.made, made)
	return made
}

// Flawed is another certificate of the same authority, which no path may pass.
func (g *generator) flawed(authority, signer *issued) *issued {
	begin, end := g.span()
	plan := plan{name: authority.name, key: authority.key, begin: begin, end: end}
	if g.oneIn(2) {
		plan.isCA, plan.isServer = true, true
	}
	made := plan.sign(signer)
	g.made = append(g.made, made)
	return made
}

func (g *generator) leaf(number int, issuer *issued) *issued {
	begin, end := g.span()
	plan := plan{name: fmt.Sprintf("%s leaf %d", g.name, number), key: newKey(), begin: begin, end: end}
	plan.isUnnamed, plan.isServer = g.oneIn(14), g.oneIn(14)
	return plan.sign(issuer)
}

// Span is from and to, in whole seconds. Half of all dates are far away.
func (g *generator) span() (time.Time, time.Time) {
	begin, end := g.start.Add(-time.Hour), g.start.Add(24*time.Hour)
	switch g.Intn(8) {
	case 0:
		begin = g.start.Add(time.Duration(3+g.Intn(15)) * time.Second)
	case 1:
		// Some have ended before anybody looks.
		end = g.start.Add(-10 * time.Second)
		return begin, end
	}
	if g.oneIn(2) {
		end = g.start.Add(time.Duration(6+g.Intn(25)) * time.Second)
	}
	if end.Sub(begin) < 3*time.Second {
		end = begin.Add(3 * time.Second)
	}
	return begin, end
}

func (g *generator) activation(anchor *issued) *planned {
	planned := &planned{issued: anchor}
	switch at := g.Intn(8); {
	case at < 4 || (at < 7 && !g.hasOrganization):
		planned.isActiveInProject = true
	case at < 6:
		planned.isActiveInOrganization = true
	case at < 7:
		planned.isActiveInProject, planned.isActiveInOrganization = true, true
	}
	return planned
}

// SomeOf is mostly all of them, in any order.
func (g *generator) someOf(all []*issued) []*issued {
	some := append([]*issued{}, all...)
	g.Shuffle(len(some), func(a, b int) { some[a], some[b] = some[b], some[a] })
	if g.oneIn(7) {
		some = some[1:]
	}
	return some
}
