package main

import (
	"context"
	"fmt"
	"sync"
	"time"
)

const (
	day = 24 * time.Hour
	// In one rotation.
	movers = 4
	// On a slow machine.
	longest = 2 * time.Minute
)

// Rotations as the documentation says: upload the new anchor, activate it beside the old one, move the clients one by one,
// deactivate the old one, delete it.
type rotations struct {
	tenant *tenant
	moved  int
	mutex  sync.Mutex
}

// Authority is what issues for some clients: an anchor, and maybe an intermediate below it.
type authority struct {
	anchor, intermediate *issued
}

func (a authority) leaf(name string) chain {
	issuer := a.anchor
	if a.intermediate != nil {
		issuer = a.intermediate
	}
	now := time.Now()
	leaf := plan{name: name, key: newKey(), begin: now.Add(-time.Minute), end: now.Add(90 * day)}.sign(issuer)
	if a.intermediate != nil {
		return chain{leaf, a.intermediate}
	}
	return chain{leaf}
}

func newAuthority(name string, key *key, lifetime time.Duration, hasIntermediate bool) authority {
	now := time.Now()
	root := plan{name: name, key: key, begin: now.Add(-day), end: now.Add(lifetime), isCA: true}
	made := authority{anchor: root.sign(nil)}
	if hasIntermediate {
		root.name, root.key = name+" intermediate", newKey()
		made.intermediate = root.sign(made.anchor)
	}
	return made
}

// Rotate does so in three projects at once: to an authority of another name; to one that kept its name, but has a new key; to
// one that kept both.
func (e *environment) rotate(running *sync.WaitGroup, problems chan<- error) *rotations {
	tenant := e.empty("rotation", 3)
	rotations := &rotations{tenant: tenant}
	key := newKey()
	pairs := [][2]authority{
		{newAuthority("edge 2026", newKey(), 45*day, true), newAuthority("edge 2027", newKey(), 365*day, true)},
		{newAuthority("batch", newKey(), 45*day, false), newAuthority("batch", newKey(), 365*day, false)},
		{newAuthority("jobs", key, 45*day, true), newAuthority("jobs", key, 365*day, true)},
	}
	old := make([]string, len(pairs))
	for index := range pairs {
		project := &tenant.Projects[index]
		old[index] = tenant.manager.upload("old", pairs[index][0].anchor)
		tenant.manager.activate(project.ID, old[index])
		for number := 0; number < movers; number++ {
			name := fmt.Sprintf("rotation%d-%d", index, number)
			tenant.clients = append(tenant.clients, &client{name: name, chain: pairs[index][0].leaf(name), project: project})
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), longest)
	exporter := e.run(ctx, tenant, running, problems)
	var rotating sync.WaitGroup
	for index := range pairs {
		rotating.Add(1)
		go func(index int) {
			defer rotating.Done()
			time.Sleep(time.Until(e.start.Add(time.Second)))
			rotations.rotate(ctx, exporter, index, old[index], pairs[index][1])
		}(index)
	}
	running.Add(1)
	go func() {
		defer running.Done()
		rotating.Wait()
		cancel()
	}()
	return rotations
}

// Rotate waits after each step until the exporter has seen it, as somebody would who looks before the next.
func (r *rotations) rotate(ctx context.Context, exporter *exporter, index int, old string, to authority) {
	project := r.tenant.Projects[index].ID
	uploaded := r.tenant.manager.upload("new", to.anchor)
	r.tenant.manager.activate(project, uploaded)
	exporter.waitForPoll(ctx)
	for _, client := range r.tenant.clients[index*movers : (index+1)*movers] {
		client.mutex.Lock()
		client.chain, client.changed = to.leaf(client.name), true
		client.writeFile(r.tenant.file(client))
		client.mutex.Unlock()
		exporter.waitForPoll(ctx)
	}
	r.tenant.manager.deactivate(project, old)
	exporter.waitForPoll(ctx)
	r.tenant.manager.do("DELETE", "/certificates/"+old, nil, nil)
	exporter.waitForPoll(ctx)
	if ctx.Err() == nil {
		r.mutex.Lock()
		defer r.mutex.Unlock()
		r.moved += movers
	}
}

// Faults are refusals, and what would raise an alert: OpenAIClientCertificateRefused, OpenAIClientCertificateRefusedSoon.
func (r *rotations) faults() []string {
	var faults []string
	calls, predictions := 0, 0
	for _, client := range r.tenant.clients {
		for _, call := range client.calls {
			calls++
			if call.isRefused() {
				faults = append(faults, fmt.Sprintf("%s was refused: %s", client.name, call.code))
			}
		}
		for _, said := range client.predictions {
			predictions++
			if said.Accepted == nil || !*said.Accepted || said.isAlarming() {
				text := fmt.Sprintf("%s raises an alarm: %s", client.name, said.reason())
				faults = append(faults, text)
			}
		}
	}
	if r.moved != 3*movers || predictions < r.moved*10 {
		faults = append(faults, fmt.Sprintf("the rotations did not end: %d moved, %d predictions", r.moved, predictions))
	}
	fmt.Printf("%d clients were moved in 3 rotations: %d calls, none to be refused; %d predictions, none to raise an alarm\n", r.moved, calls, predictions)
	return faults
}

// IsAlarming: within 30 days or a third of the leaf's lifetime, whichever is shorter.
func (p *prediction) isAlarming() bool {
	if p.RefusedFrom == nil || p.NotBefore == nil || p.NotAfter == nil {
		return true
	}
	left := time.Unix(*p.RefusedFrom, 0).Sub(p.from)
	lifetime := time.Duration(*p.NotAfter-*p.NotBefore) * time.Second
	return left < 30*day && left < lifetime/3
}
