package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A process of the exporter that polls one organization every second.
type exporter struct {
	process *exec.Cmd
	log     string
	// Closed when the process has ended.
	ended       chan struct{}
	readAddress sync.Once
	address     string
}

// An organization with the folder of its clients' files.
type tenant struct {
	*organization
	manager *manager
	folder  string
	// What the manager and the exporter present, if the organization has active anchors.
	own     *client
	clients []*client
}

func (t *tenant) file(client *client) string {
	return filepath.Join(t.folder, client.name+".pem")
}

func startExporter(binary string, tenant *tenant, base, root string) *exporter {
	var file strings.Builder
	set := func(format string, values ...any) { fmt.Fprintf(&file, format+"\n", values...) }
	set("[api]\nbase_url = %q\nadmin_key = %q\nca_file = %q\nmax_retries = 0", base, tenant.AdminKey, root)
	if tenant.own != nil {
		pem, key := tenant.file(tenant.own), filepath.Join(tenant.folder, "own.key")
		tenant.own.writeFile(pem)
		write(key, tenant.own.chain[0].keyPEM())
		set("client_cert_file = %q\nclient_key_file = %q", pem, key)
	}
	set("[poll]\ninterval = \"1s\"\ntimeout = \"1m\"\nprojects = true")
	set("[web]\nlisten_address = [\"127.0.0.1:0\"]")
	for _, client := range tenant.clients {
		if client == tenant.own {
			continue
		}
		client.writeFile(tenant.file(client))
		kind := "certificate_files"
		if client.issuerFile != nil {
			kind = "issuer_files"
		}
		set("[[clients]]\nname = %q\n%s = [%q]", client.name, kind, tenant.file(client))
		if client.project != nil {
			set("projects = [%q]", "^"+client.project.ID+"$")
		}
	}
	config := filepath.Join(tenant.folder, "exporter.toml")
	write(config, []byte(file.String()))
	log, err := os.Create(filepath.Join(tenant.folder, "exporter.log"))
	must(err)
	process := exec.Command(binary, "--config.file", config)
	process.Stdout, process.Stderr = log, log
	// It must not outlive this process, however that ends.
	process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(process.Start())
	started := &exporter{process: process, log: log.Name(), ended: make(chan struct{})}
	go func() {
		process.Wait()
		close(started.ended)
	}()
	return started
}

func (e *exporter) end() {
	e.process.Process.Kill()
	<-e.ended
}

var serving = regexp.MustCompile(`serving /metrics.* address=(\S+) `)

// WaitForAddress is until the exporter has logged where it listens.
func (e *exporter) waitForAddress() {
	for deadline := time.Now().Add(longest); ; {
		text, err := os.ReadFile(e.log)
		must(err)
		if found := serving.FindSubmatch(text); found != nil {
			e.address = string(found[1])
			return
		}
		select {
		case <-e.ended:
			panic("the exporter has ended: " + string(text))
		case <-time.After(50 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			panic("the exporter does not listen: " + string(text))
		}
	}
}

func (e *exporter) get(path string) ([]byte, error) {
	e.readAddress.Do(e.waitForAddress)
	response, err := http.Get("http://" + e.address + path)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return io.ReadAll(response.Body)
}

// A page or an answer of `check`.
type document struct{ Clients []prediction }

// KeepReading notes the predictions for the clients until the end.
func (e *exporter) keepReading(ctx context.Context, tenant *tenant) {
	for ; ctx.Err() == nil; time.Sleep(2 * period) {
		from := time.Now()
		text, err := e.get("/api/v1/certificates")
		var page document
		if err != nil || json.Unmarshal(text, &page) != nil {
			// It has only just been started.
			continue
		}
		tenant.note(page, from, time.Now(), func(client *client, said prediction) {
			client.predictions = append(client.predictions, said)
		})
	}
}

// AskFor notes what the command `check` says about an instant.
func (e *exporter) askFor(instant time.Time, tenant *tenant) error {
	config := filepath.Join(tenant.folder, "exporter.toml")
	check := exec.Command(e.process.Path, "check", "--config.file", config, "--output", "json", "--at", instant.UTC().Format(time.RFC3339))
	// Its exit code is that of the verdict.
	text, _ := check.Output()
	var answer document
	if err := json.Unmarshal(text, &answer); err != nil {
		return fmt.Errorf("check --at: %w", err)
	}
	tenant.note(answer, instant, instant, func(client *client, said prediction) { client.asked = append(client.asked, said) })
	return nil
}

// Note hands each prediction to the client that it is about.
func (t *tenant) note(read document, from, to time.Time, keep func(*client, prediction)) {
	type id struct {
		client, project string
		isIssuer        bool
	}
	byID := map[id]*client{}
	for _, client := range t.clients {
		id := id{client: client.name, isIssuer: client.issuerFile != nil}
		if client.project != nil {
			id.project = client.project.ID
		}
		byID[id] = client
	}
	for _, said := range read.Clients {
		id := id{client: said.Client, isIssuer: said.Issuer}
		if said.ProjectID != nil {
			id.project = *said.ProjectID
		}
		if client := byID[id]; client != nil {
			said.from, said.to = from, to
			client.mutex.Lock()
			keep(client, said)
			client.mutex.Unlock()
		}
	}
}

var pollsEnded = regexp.MustCompile(`(?m)^openai_cert_exporter_polls_total (\d+)`)

// WaitForPoll waits until a poll has ended that began after this call, but not for ever.
func (e *exporter) waitForPoll(ctx context.Context) {
	first := -1
	for ctx.Err() == nil {
		text, err := e.get("/metrics")
		if found := pollsEnded.FindSubmatch(text); err == nil && found != nil {
			polls, _ := strconv.Atoi(string(found[1]))
			if first < 0 {
				first = polls
			}
			if polls >= first+2 {
				return
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
}
