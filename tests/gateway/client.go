package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"
)

const period = 250 * time.Millisecond

// Somebody who calls the gateway all the time, and what is predicted about it.
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
	// Those of the command `check` for an instant.
	asked []prediction
}

type call struct {
	// When the gateway judged it.
	at     time.Time
	status int
	code   string
}

func (c call) isRefused() bool {
	return c.status != http.StatusOK
}

// An entry of `clients`, from before it was asked for to after.
type prediction struct {
	from, to    time.Time
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

func transport(roots *x509.CertPool, certificate *tls.Certificate) *http.Transport {
	return &http.Transport{TLSClientConfig: tlsConfig(roots, certificate)}
}

func tlsConfig(roots *x509.CertPool, certificate *tls.Certificate) *tls.Config {
	config := &tls.Config{RootCAs: roots}
	if certificate != nil {
		// Whatever the server says it would take.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return certificate, nil
		}
	}
	return config
}

// A connection that is never replaced. net/http's own takes another one where this one is slow.
type connection struct {
	*tls.Conn
	reader *bufio.Reader
}

func (c *client) connect(address string, roots *x509.CertPool) (*connection, error) {
	certificate := c.chain.forTLS()
	connected, err := tls.Dial("tcp", address, tlsConfig(roots, &certificate))
	if err != nil {
		return nil, err
	}
	return &connection{connected, bufio.NewReader(connected)}, nil
}

func (c *connection) RoundTrip(request *http.Request) (*http.Response, error) {
	if err := request.Write(c); err != nil {
		return nil, err
	}
	return http.ReadResponse(c.reader, request)
}

// Request sends one request, and reads what came of it.
func request(transport http.RoundTripper, method, url, key string, body, answer any) (done call, err error) {
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
		return call{}, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return call{}, err
	}
	var refused struct{ Error struct{ Code string } }
	if response.StatusCode != http.StatusOK {
		err = json.Unmarshal(text, &refused)
	} else if answer != nil {
		err = json.Unmarshal(text, answer)
	}
	judged, _ := strconv.ParseInt(response.Header.Get(judgedAt), 10, 64)
	return call{time.Unix(0, judged), response.StatusCode, refused.Error.Code}, err
}

func (m *manager) do(method, path string, body, answer any) {
	done, err := request(m.transport, method, m.base+"/organization"+path, m.key, body, answer)
	if err != nil || done.status != http.StatusOK {
		panic(fmt.Sprintf("%s %s: %d %s %v", method, path, done.status, done.code, err))
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

// KeepCalling calls on one connection until the end. A new chain takes a new connection.
func (c *client) keepCalling(ctx context.Context, base *url.URL, adminKey string, roots *x509.CertPool) error {
	url, key := base.String()+"/organization/certificates?limit=1", adminKey
	if c.project != nil {
		url, key = base.String()+"/models", c.project.Key
	}
	var kept *connection
	for ctx.Err() == nil {
		c.mutex.Lock()
		isNew := kept == nil || c.changed
		c.changed = false
		c.mutex.Unlock()
		if isNew {
			connected, err := c.connect(base.Host, roots)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			kept = connected
			defer kept.Close()
		}
		next := time.Now().Add(period)
		done, err := request(kept, "GET", url, key, nil, nil)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		c.mutex.Lock()
		c.calls = append(c.calls, done)
		c.mutex.Unlock()
		time.Sleep(time.Until(next))
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
