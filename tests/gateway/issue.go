package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"time"
)

type key = ecdsa.PrivateKey

// What signs, and what is signed. Two with one name and key are two certificates of one authority.
type issued struct {
	name        string
	key         *key
	certificate *x509.Certificate
}

// A certificate that is to be made.
type plan struct {
	name       string
	key        *key
	begin, end time.Time
	isCA       bool
	isServer   bool
	// Without an Authority Key Identifier.
	isUnnamed bool
}

func newKey() *key {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(err)
	return key
}

// Sign makes it; without a signer it signs itself.
func (p plan) sign(signer *issued) *issued {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	must(err)
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: p.name},
		NotBefore:             p.begin,
		NotAfter:              p.end,
		BasicConstraintsValid: true,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		SubjectKeyId:          keyID(p.key),
	}
	if p.isServer {
		template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		template.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	if p.isCA {
		template.IsCA = true
		template.KeyUsage = x509.KeyUsageCertSign | x509.KeyUsageCRLSign
		if !p.isServer {
			template.ExtKeyUsage = nil
		}
	}
	parent, key := template, p.key
	if signer != nil {
		parent, key = signer.certificate, signer.key
	}
	if p.isUnnamed {
		// Its identifier would be copied from the parent.
		unnamed := *parent
		unnamed.SubjectKeyId = nil
		parent = &unnamed
	} else {
		template.AuthorityKeyId = keyID(key)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &p.key.PublicKey, key)
	must(err)
	certificate, err := x509.ParseCertificate(der)
	must(err)
	return &issued{p.name, p.key, certificate}
}

func keyID(key *key) []byte {
	digest := sha1.Sum(elliptic.Marshal(key.Curve, key.X, key.Y))
	return digest[:]
}

func (i *issued) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.certificate.Raw})
}

// A leaf and what is presented with it.
type chain []*issued

func (c chain) pem() []byte {
	var file bytes.Buffer
	for _, certificate := range c {
		file.Write(certificate.pem())
	}
	return file.Bytes()
}

func (c chain) forTLS() tls.Certificate {
	certificate := tls.Certificate{PrivateKey: c[0].key}
	for _, one := range c {
		certificate.Certificate = append(certificate.Certificate, one.certificate.Raw)
	}
	return certificate
}

func (i *issued) keyPEM() []byte {
	der, err := x509.MarshalPKCS8PrivateKey(i.key)
	must(err)
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func write(path string, content []byte) {
	must(os.WriteFile(path, content, 0o600))
}
