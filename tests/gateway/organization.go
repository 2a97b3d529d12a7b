package main

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/http"
	"sync"
	"time"
)

const (
	maxCertificates = 50
	maxBytes        = 16_000
	maxAtOnce       = 10
	minLifetime     = 24 * time.Hour
)

type project struct {
	ID   string `json:"id"`
	Name string `json:"name"`
	Key  string `json:"key"`
}

// An organization with its projects, as a file of the command `serve` describes it.
type organization struct {
	AdminKey string    `json:"admin_key"`
	Projects []project `json:"projects"`
	// Whether anchors may end within a day.
	ShortLived bool `json:"short_lived"`
	// Whether an anchor that has ended fails the leaves that it signed.
	EndedShadows bool `json:"ended_shadows"`

	mutex        sync.RWMutex
	uploads      int
	certificates []*anchor
}

// An uploaded certificate.
type anchor struct {
	id, name, content string
	created           int64
	certificate       *x509.Certificate
	// Whether its content is answered with an error.
	unread bool
	// By scope: the id of a project, or "" for the organization. No entry: never active there.
	active map[string]bool
}

type apiError struct {
	status              int
	kind, code, message string
}

func invalid(format string, values ...any) *apiError {
	return &apiError{http.StatusBadRequest, "invalid_request_error", "invalid_request", fmt.Sprintf(format, values...)}
}

func (o *organization) project(id string) *project {
	for index := range o.Projects {
		if o.Projects[index].ID == id {
			return &o.Projects[index]
		}
	}
	return nil
}

// Refusal is that of a request in the scope of a project, or of none ("").
func (o *organization) refusal(presented []*x509.Certificate, project string, now time.Time) string {
	var ofProject []*x509.Certificate
	if project != "" {
		ofProject = o.active(project)
	}
	return rules{o.EndedShadows}.refusal(presented, ofProject, o.active(""), now)
}

func (o *organization) active(scope string) []*x509.Certificate {
	o.mutex.RLock()
	defer o.mutex.RUnlock()
	var active []*x509.Certificate
	for _, anchor := range o.certificates {
		if anchor.active[scope] {
			active = append(active, anchor.certificate)
		}
	}
	return active
}

func (o *organization) upload(name, content string) (*anchor, *apiError) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	block, _ := pem.Decode([]byte(content))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, invalid("certificate is not PEM")
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	switch {
	case err != nil:
		return nil, invalid("certificate cannot be parsed")
	case len(content) >= maxBytes:
		return nil, invalid("certificate is too large")
	case len(o.certificates) == maxCertificates:
		return nil, invalid("an organization has at most %d certificates", maxCertificates)
	case !o.ShortLived && time.Until(certificate.NotAfter) <= minLifetime:
		return nil, invalid("certificate expires within a day")
	}
	o.uploads++
	added := &anchor{
		id:          fmt.Sprintf("cert_%d", o.uploads),
		name:        name,
		content:     content,
		created:     time.Now().Unix(),
		certificate: certificate,
		active:      map[string]bool{},
	}
	o.certificates = append(o.certificates, added)
	return added, nil
}

func (o *organization) find(id string) (*anchor, *apiError) {
	o.mutex.RLock()
	defer o.mutex.RUnlock()
	for _, anchor := range o.certificates {
		if anchor.id == id {
			return anchor, nil
		}
	}
	return nil, &apiError{http.StatusNotFound, "invalid_request_error", "certificate_not_found", "no such certificate"}
}

// Activate sets them all active in a scope, or inactive, or none of them.
func (o *organization) activate(scope string, ids []string, active bool) ([]*anchor, *apiError) {
	if len(ids) == 0 || len(ids) > maxAtOnce {
		return nil, invalid("certificate_ids holds 1 to %d ids", maxAtOnce)
	}
	var found []*anchor
	for _, id := range ids {
		anchor, err := o.find(id)
		if err != nil {
			return nil, err
		}
		found = append(found, anchor)
	}
	o.mutex.Lock()
	defer o.mutex.Unlock()
	for _, anchor := range found {
		anchor.active[scope] = active
	}
	return found, nil
}

func (o *organization) delete(id string) *apiError {
	anchor, err := o.find(id)
	if err != nil {
		return err
	}
	o.mutex.Lock()
	defer o.mutex.Unlock()
	for _, active := range anchor.active {
		if active {
			return &apiError{http.StatusBadRequest, "invalid_request_error", "certificate_in_use", "deactivate it first"}
		}
	}
	for index := range o.certificates {
		if o.certificates[index] == anchor {
			o.certificates = append(o.certificates[:index:index], o.certificates[index+1:]...)
			break
		}
	}
	return nil
}
