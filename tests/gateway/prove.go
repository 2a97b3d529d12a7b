package main

import (
	"context"
	"crypto/x509"
	"fmt"
	"math/rand"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"time"
)

const (
	organizations = 8
	// As many as an organization's 50 anchors allow.
	setupsEach = 20
	// Until every exporter has polled; then for how long everybody calls. Dates lie within that time.
	lead     = 8 * time.Second
	duration = 36 * time.Second
	// What will be that long after the start is asked at the start.
	whatIf = 20 * time.Second
)

type environment struct {
	gateway *gateway
	binary  string
	folder  string
	base    string
	url     *url.URL
	roots   *x509.CertPool
	start   time.Time
}

// Prove compares the predictions for random set-ups with what happens, while anchors are rotated elsewhere.
func prove(binary, folder string, seed int64) {
	fmt.Println("seed", seed)
	environment := newEnvironment(binary, folder)
	var tenants []*tenant
	for number := 0; number < organizations; number++ {
		tenants = append(tenants, environment.tenant(number, rand.New(rand.NewSource(seed*organizations+int64(number)))))
	}
	end := environment.start.Add(duration)
	ctx, cancel := context.WithDeadline(context.Background(), end)
	defer cancel()
	var clients []*client
	var running sync.WaitGroup
	problems := make(chan error, 10_000)
	for _, tenant := range tenants {
		clients = append(clients, tenant.clients...)
		tenant, exporter := tenant, environment.run(ctx, tenant, &running, problems)
		running.Add(1)
		go func() {
			defer running.Done()
			time.Sleep(time.Until(environment.start))
			if err := exporter.askFor(environment.start.Add(whatIf), tenant); err != nil {
				problems <- err
			}
		}()
	}
	rotations := environment.rotate(&running, problems)
	running.Wait()
	close(problems)
	result := compare(clients, end)
	for problem := range problems {
		result.faults = append(result.faults, problem.Error())
	}
	result.faults = append(result.faults, rotations.faults()...)
	result.print(clients, environment.gateway)
	if len(result.faults) > 0 {
		os.Exit(1)
	}
}

func newEnvironment(binary, folder string) *environment {
	listener, certificate := listen(folder)
	gateway := &gateway{}
	roots := x509.NewCertPool()
	root, err := os.ReadFile(filepath.Join(folder, "ca.pem"))
	must(err)
	roots.AppendCertsFromPEM(root)
	go gateway.serve(listener, certificate)
	base := "https://" + listener.Addr().String() + "/v1"
	url, err := url.Parse(base)
	must(err)
	return &environment{gateway, binary, folder, base, url, roots, time.Now().Add(lead).Truncate(time.Second)}
}

// Empty is a tenant without certificates.
func (e *environment) empty(name string, projects int) *tenant {
	organization := &organization{AdminKey: "sk-admin-" + name, ShortLived: true}
	for number := 0; number < projects; number++ {
		id := fmt.Sprintf("proj_%s_%d", name, number)
		organization.Projects = append(organization.Projects, project{id, id, "sk-" + id})
	}
	e.gateway.add(organization)
	folder := filepath.Join(e.folder, name)
	must(os.Mkdir(folder, 0o700))
	manager := &manager{e.base, organization.AdminKey, transport(e.roots, nil)}
	return &tenant{organization: organization, manager: manager, folder: folder}
}

// Tenant sets up one organization.
func (e *environment) tenant(number int, random *rand.Rand) *tenant {
	tenant := e.empty(fmt.Sprintf("org%d", number), setupsEach)
	tenant.EndedShadows = number%2 == 1
	generator := generator{Rand: random, start: e.start, hasOrganization: number%4 < 2}
	isUnread := number == organizations-1
	if generator.hasOrganization {
		tenant.enforceAll(e)
	}
	for index, project := range tenant.Projects {
		generator.name = fmt.Sprintf("o%ds%d", number, index)
		setup := generator.setup(project)
		tenant.putUp(setup, isUnread && index%2 == 0)
		tenant.addForOrganization(setup)
	}
	return tenant
}

// EnforceAll makes an anchor active for the organization, so that whoever manages it needs a certificate, too.
func (t *tenant) enforceAll(e *environment) {
	now := time.Now()
	root := plan{name: "managers", key: newKey(), begin: now.Add(-time.Hour), end: now.Add(time.Hour), isCA: true}.sign(nil)
	leaf := plan{name: "manager", key: newKey(), begin: root.certificate.NotBefore, end: root.certificate.NotAfter}.sign(root)
	t.own = &client{name: "openai-cert-exporter", chain: chain{leaf}}
	t.clients = append(t.clients, t.own)
	t.manager.activate("", t.manager.upload("managers", root))
	certificate := t.own.chain.forTLS()
	t.manager.transport = transport(e.roots, &certificate)
}

func (t *tenant) putUp(setup *setup, isUnread bool) {
	for _, anchor := range setup.anchors {
		id := t.manager.upload(anchor.name, anchor.issued)
		if anchor.isActiveInProject {
			t.manager.activate(setup.project.ID, id)
		}
		if anchor.isActiveInOrganization {
			t.manager.activate("", id)
		}
		if isUnread {
			uploaded, _ := t.find(id)
			uploaded.unread = true
		}
	}
	for _, client := range setup.clients {
		client.isUnread = isUnread && len(client.anchors) > 0
		t.clients = append(t.clients, client)
	}
}

// AddForOrganization has a situation's clients call in the organization's scope as well.
func (t *tenant) addForOrganization(setup *setup) {
	var anchors []*x509.Certificate
	for _, anchor := range setup.anchors {
		if anchor.isActiveInOrganization {
			anchors = append(anchors, anchor.certificate)
		}
	}
	for _, of := range setup.clients {
		if len(anchors) > 0 {
			t.clients = append(t.clients, &client{
				name: of.name + "-organization", chain: of.chain, issuerFile: of.issuerFile, anchors: anchors, boundaries: of.boundaries,
			})
		}
	}
}

// Run starts the exporter, the calls and the readings.
func (e *environment) run(ctx context.Context, tenant *tenant, running *sync.WaitGroup, problems chan<- error) *exporter {
	exporter := startExporter(e.binary, tenant, e.base, filepath.Join(e.folder, "ca.pem"))
	for _, one := range tenant.clients {
		running.Add(1)
		go func(client *client) {
			defer running.Done()
			time.Sleep(time.Until(e.start) + time.Duration(rand.Int63n(int64(period))))
			if err := client.keepCalling(ctx, e.url, tenant.AdminKey, e.roots); err != nil {
				problems <- err
			}
		}(one)
	}
	running.Add(1)
	go func() {
		defer running.Done()
		defer exporter.end()
		exporter.keepReading(ctx, tenant)
	}()
	return exporter
}

func (r *result) print(clients []*client, gateway *gateway) {
	fmt.Printf("%d clients of %d set-ups, %d requests on %d connections\n",
		len(clients), organizations*setupsEach, gateway.requests.Load(), gateway.connections.Load())
	fmt.Printf("%d calls went as predicted, %d refusals came at the predicted second\n", r.asPredicted, r.inTime)
	fmt.Printf("%d calls went as check --at had predicted\n", r.asAsked)
	fmt.Printf("%d calls: nothing was predicted; %d refusals were predicted for an ended anchor with a valid twin, and did not come\n",
		r.unknown, r.inVain)
	for _, reason := range reasons {
		fmt.Printf("  %-26s %d\n", reason, r.reasons[reason])
		if r.reasons[reason] == 0 {
			r.faults = append(r.faults, "no prediction gives the reason "+reason)
		}
	}
	if r.inTime < setupsEach*organizations/4 || r.asAsked < setupsEach*organizations {
		r.faults = append(r.faults, "too few refusals to tell")
	}
	for index, fault := range r.faults {
		if index == 20 {
			fmt.Printf("... %d in all\n", len(r.faults))
			break
		}
		fmt.Println("FAULT", fault)
	}
}

var reasons = []string{
	"authority_key_identifier", "expired", "not_yet_valid", "usage", "chain", "anchor_expired", "anchor_inactive", "unknown_issuer",
}
