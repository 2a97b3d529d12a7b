package main

import (
	"bytes"
	"crypto/x509"
	"encoding/asn1"
	"sort"
	"time"
)

var authorityKeyIdentifier = asn1.ObjectIdentifier{2, 5, 29, 35}

// Rules are those of the mutual-TLS guide. What it leaves open is a field.
type rules struct {
	// Whether an anchor that has ended fails a leaf that it signed, although another one would let the leaf in.
	endedShadows bool
}

// Refusal tells why a request with these certificates (the leaf first) is refused, or "" if it passes. The active anchors
// are those of the project and those of the organization.
func (r rules) refusal(presented, project, organization []*x509.Certificate, now time.Time) string {
	levels := [][]*x509.Certificate{project, organization}
	if len(project)+len(organization) == 0 {
		return ""
	}
	if len(presented) == 0 {
		return "certificate_required"
	}
	leaf := presented[0]
	if !hasExtension(leaf, authorityKeyIdentifier) {
		return "invalid_certificate"
	}
	for _, anchors := range levels {
		for _, anchor := range selected(leaf, anchors, now) {
			if verifies(leaf, []*x509.Certificate{anchor}, nil, now) {
				return ""
			}
			if r.endedShadows {
				return "certificate_verification_failed"
			}
		}
	}
	for _, anchors := range levels {
		if verifies(leaf, anchors, presented[1:], now) {
			return ""
		}
	}
	return "certificate_verification_failed"
}

// Selected are the anchors that have signed the leaf, and that have begun, the oldest first.
func selected(leaf *x509.Certificate, anchors []*x509.Certificate, now time.Time) []*x509.Certificate {
	var found []*x509.Certificate
	for _, anchor := range anchors {
		hasName := bytes.Equal(leaf.RawIssuer, anchor.RawSubject)
		if hasName && !now.Before(anchor.NotBefore) && leaf.CheckSignatureFrom(anchor) == nil {
			found = append(found, anchor)
		}
	}
	sort.SliceStable(found, func(a, b int) bool { return found[a].NotBefore.Before(found[b].NotBefore) })
	return found
}

func verifies(leaf *x509.Certificate, anchors, intermediates []*x509.Certificate, now time.Time) bool {
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots:         pool(anchors),
		Intermediates: pool(intermediates),
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	return err == nil
}

func pool(certificates []*x509.Certificate) *x509.CertPool {
	pool := x509.NewCertPool()
	for _, certificate := range certificates {
		pool.AddCert(certificate)
	}
	return pool
}

func hasExtension(certificate *x509.Certificate, id asn1.ObjectIdentifier) bool {
	for _, extension := range certificate.Extensions {
		if extension.Id.Equal(id) {
			return true
		}
	}
	return false
}
