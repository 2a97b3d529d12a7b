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

type theater struct {
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
	theater := raise(binary, folder)
	var stages []*stage
	for number := 0; number < organizations; number++ {
		stages = append(stages, theater.stage(number, rand.New(rand.NewSource(seed*organizations+int64(number)))))
	}
	end := theater.start.Add(duration)
	ctx, cancel := context.WithDeadline(context.Background(), end)
	defer cancel()
	var clients []*client
	var running sync.WaitGroup
	problems := make(chan error, 10_000)
	for _, stage := range stages {
		clients = append(clients, stage.clients...)
		stage, exporter := stage, theater.play(ctx, stage, &running, problems)
		running.Add(1)
		go func() {
			defer running.Done()
			time.Sleep(time.Until(theater.start))
			if err := exporter.askFor(theater.start.Add(whatIf), stage); err != nil {
				problems <- err
			}
		}()
	}
	rotations := theater.rotate(&running, problems)
	running.Wait()
	close(problems)
	result := compare(clients, end)
	for problem := range problems {
		result.faults = append(result.faults, problem.Error())
	}
	result.faults = append(result.faults, rotations.faults()...)
	result.print(clients, theater.gateway)
	if len(result.faults) > 0 {
		os.Exit(1)
	}
}

func raise(binary, folder string) *theater {
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
	return &theater{gateway, binary, folder, base, url, roots, time.Now().Add(lead).Truncate(time.Second)}
}

// Empty is a stage without certificates.
func (t *theater) empty(name string, projects int) *stage {
	organization := &organization{AdminKey: "sk-admin-" + name, ShortLived: true}
	for number := 0; number < projects; number++ {
		id := fmt.Sprintf("proj_%s_%d", name, number)
		organization.Projects = append(organization.Projects, project{id, id, "sk-" + id})
	}
	t.gateway.add(organization)
	folder := filepath.Join(t.folder, name)
	must(os.Mkdir(folder, 0o700))
	manager := &manager{t.base, organization.AdminKey, transport(t.roots, nil)}
	return &stage{organization: organization, manager: manager, folder: folder}
}

// Stage sets up one organization.
func (t *theater) stage(number int, random *rand.Rand) *stage {
	stage := t.empty(fmt.Sprintf("org%d", number), setupsEach)
	stage.EndedShadows = number%2 == 1
	generator := generator{Rand: random, start: t.start, hasOrganization: number%4 < 2}
	isUnread := number == organizations-1
	if generator.hasOrganization {
		stage.enforceAll(t)
	}
	for index, project := range stage.Projects {
		generator.name = fmt.Sprintf("o%ds%d", number, index)
		setup := generator.setup(project)
		stage.putUp(setup, isUnread && index%2 == 0)
		stage.addForOrganization(setup)
	}
	return stage
}

// EnforceAll makes an anchor active for the organization, so that whoever manages it needs a certificate, too.
func (s *stage) enforceAll(t *theater) {
	now := time.Now()
	root := plan{name: "managers", key: newKey(), begin: now.Add(-time.Hour), end: now.Add(time.Hour), isCA: true}.sign(nil)
	leaf := plan{name: "manager", key: newKey(), begin: root.certificate.NotBefore, end: root.certificate.NotAfter}.sign(root)
	s.own = &client{name: "openai-cert-exporter", chain: chain{leaf}}
	s.clients = append(s.clients, s.own)
	s.manager.activate("", s.manager.upload("managers", root))
	certificate := s.own.chain.forTLS()
	s.manager.transport = transport(t.roots, &certificate)
}

func (s *stage) putUp(setup *setup, isUnread bool) {
	for _, anchor := range setup.anchors {
		id := s.manager.upload(anchor.name, anchor.issued)
		if anchor.isActiveInProject {
			s.manager.activate(setup.project.ID, id)
		}
		if anchor.isActiveInOrganization {
			s.manager.activate("", id)
		}
		if isUnread {
			uploaded, _ := s.find(id)
			uploaded.unread = true
		}
	}
	for _, client := range setup.clients {
		client.isUnread = isUnread && len(client.anchors) > 0
		s.clients = append(s.clients, client)
	}
}

// AddForOrganization has a situation's clients call in the organization's scope as well.
func (s *stage) addForOrganization(setup *setup) {
	var anchors []*x509.Certificate
	for _, anchor := range setup.anchors {
		if anchor.isActiveInOrganization {
			anchors = append(anchors, anchor.certificate)
		}
	}
	for _, of := range setup.clients {
		if len(anchors) > 0 {
			s.clients = append(s.clients, &client{
				name: of.name + "-organization", chain: of.chain, issuerFile: of.issuerFile, anchors: anchors, boundaries: of.boundaries,
			})
		}
	}
}

// Play starts the exporter, the calls and the readings.
func (t *theater) play(ctx context.Context, stage *stage, running *sync.WaitGroup, problems chan<- error) *exporter {
	exporter := startExporter(t.binary, stage, t.base, filepath.Join(t.folder, "ca.pem"))
	for _, one := range stage.clients {
		running.Add(1)
		go func(client *client) {
			defer running.Done()
			time.Sleep(time.Until(t.start) + time.Duration(rand.Int63n(int64(period))))
			if err := client.keepCalling(ctx, t.url, stage.AdminKey, t.roots); err != nil {
				problems <- err
			}
		}(one)
	}
	running.Add(1)
	go func() {
		defer running.Done()
		defer exporter.end()
		exporter.keepReading(ctx, stage)
	}()
	return exporter
}

func (r *result) print(clients []*client, gateway *gateway) {
	fmt.Printf("%d clients of %d set-ups, %d requests on %d connections\n",
		len(clients), organizations*setupsEach, gateway.requests.Load(), gateway.connections.Load())
	fmt.Printf("%d calls went as foretold, %d refusals came at the foretold second\n", r.asForetold, r.inTime)
	fmt.Printf("%d calls went as check --at had foretold\n", r.asAsked)
	fmt.Printf("%d calls: nothing was foretold; %d refusals were foretold for an ended anchor with a valid twin, and did not come\n",
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
