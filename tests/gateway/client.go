package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"sync"
	"time"
)

const period = 250 * time.Millisecond

// Somebody who calls the gateway all the time, and what is foretold about it.
type client struct {
	name string
	// What it presents, the leaf first.
	chain chain
	// An issuer's file, if the leaf is only what that issuer signs.
	issuerFile chain
	// The scope that it calls in; nil: the organization.
	project *project
	// The anchors in effect there, and all dates of its situation.
	anchors    []*x509.Certificate
	boundaries []time.Time
	// Whether an anchor in effect cannot be read by the exporter.
	isUnread bool

	mutex       sync.Mutex
	changed     bool
	calls       []call
	predictions []prediction
}

// From the moment before it was sent to the one after its answer.
type interval struct{ from, to time.Time }

type call struct {
	interval
	status int
	code   string
}

func (c call) isRefused() bool {
	return c.status != http.StatusOK
}

// An entry of `clients`.
type prediction struct {
	interval
	Client      string  `json:"client"`
	ProjectID   *string `json:"project_id"`
	Issuer      bool    `json:"issuer"`
	Accepted    *bool   `json:"accepted"`
	RefusedFrom *int64  `json:"refused_from_unix"`
	Refusal     *string `json:"refusal"`
	NotBefore   *int64  `json:"not_before_unix"`
	NotAfter    *int64  `json:"not_after_unix"`
}

// Someone who manages certificates.
type manager struct {
	base, key string
	transport *http.Transport
}

func transport(root *x509.CertPool, certificate *tls.Certificate) *http.Transport {
	config := &tls.Config{RootCAs: root}
	if certificate != nil {
		// Whatever the server says it would take.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return certificate, nil
		}
	}
	return &http.Transport{TLSClientConfig: config, MaxConnsPerHost: 1}
}

// Request sends one request, and reads what came of it.
func request(transport *http.Transport, method, url, key string, body, answer any) (status int, code string, err error) {
	var content io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		must(err)
		content = bytes.NewReader(text)
	}
	request, err := http.NewRequest(method, url, content)
	must(err)
	request.Header.Set("Authorization", "Bearer "+key)
	response, err := transport.RoundTrip(request)
	if err != nil {
		return 0, "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return 0, "", err
	}
	var refused struct{ Error struct{ Code string } }
	if response.StatusCode != http.StatusOK {
		err = json.Unmarshal(text, &refused)
	} else if answer != nil {
		err = json.Unmarshal(text, answer)
	}
	return response.StatusCode, refused.Error.Code, err
}

func (m *manager) do(method, path string, body, answer any) {
	status, code, err := request(m.transport, method, m.base+"/organization"+path, m.key, body, answer)
	if err != nil || status != http.StatusOK {
		panic(fmt.Sprintf("%s %s: %d %s %v", method, path, status, code, err))
	}
}

func (m *manager) upload(name string, certificate *issued) string {
	var added struct{ ID string }
	m.do("POST", "/certificates", object{"name": name, "certificate": string(certificate.pem())}, &added)
	return added.ID
}

// Activate does so in a project, or in the organization ("").
func (m *manager) activate(project string, ids ...string) {
	m.switchOver(project, "activate", ids)
}

func (m *manager) deactivate(project string, ids ...string) {
	m.switchOver(project, "deactivate", ids)
}

func (m *manager) switchOver(project, verb string, ids []string) {
	path := "/certificates/" + verb
	if project != "" {
		path = "/projects/" + project + path
	}
	m.do("POST", path, object{"certificate_ids": ids}, nil)
}

// Keep calling on one connection until the end. A new chain takes a new connection.
func (c *client) keepCalling(base, adminKey string, roots *x509.CertPool, end time.Time) error {
	url, key := base+"/organization/certificates?limit=1", adminKey
	if c.project != nil {
		url, key = base+"/models", c.project.Key
	}
	var connection *http.Transport
	for time.Now().Before(end) {
		c.mutex.Lock()
		if connection == nil || c.changed {
			certificate := c.chain.forTLS()
			if connection != nil {
				connection.CloseIdleConnections()
			}
			connection, c.changed = transport(roots, &certificate), false
		}
		c.mutex.Unlock()
		from := time.Now()
		status, code, err := request(connection, "GET", url, key, nil, nil)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		c.mutex.Lock()
		c.calls = append(c.calls, call{interval{from, time.Now()}, status, code})
		c.mutex.Unlock()
		time.Sleep(time.Until(from.Add(period)))
	}
	return nil
}

func (c *client) writeFile(path string) {
	content := c.chain.pem()
	if c.issuerFile != nil {
		content = c.issuerFile.pem()
	}
	// As a whole, or not at all.
	write(path+".new", content)
	must(os.Rename(path+".new", path))
}
