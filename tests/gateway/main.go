// Command gateway stands for an API that enforces mTLS, by the rules of OpenAI's guide and on Go's own TLS and X.509: nothing
// of it is the exporter's. It judges every request, not connections, and serves the part of the Admin API that manages
// certificates.
//
//	gateway serve ORGANIZATIONS.json FOLDER     until it is ended; prints its address; ca.pem in the folder is its root
//	gateway prove EXPORTER FOLDER [SEED]        the exporter's predictions against what the gateway does
//
// A certificate that Go cannot parse fails the handshake, so `invalid_certificate` is answered only for a leaf without an
// Authority Key Identifier.
package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

func main() {
	switch arguments := os.Args[1:]; {
	case len(arguments) == 3 && arguments[0] == "serve":
		serve(arguments[1], arguments[2])
	case len(arguments) >= 3 && arguments[0] == "prove":
		seed := time.Now().UnixNano() % 1_000_000
		if len(arguments) > 3 {
			number, err := strconv.ParseInt(arguments[3], 10, 64)
			must(err)
			seed = number
		}
		prove(arguments[1], arguments[2], seed)
	default:
		fmt.Fprintln(os.Stderr, "usage: gateway serve ORGANIZATIONS.json FOLDER | gateway prove EXPORTER FOLDER [SEED]")
		os.Exit(2)
	}
}

func serve(file, folder string) {
	content, err := os.ReadFile(file)
	must(err)
	gateway := &gateway{}
	must(json.Unmarshal(content, &gateway.organizations))
	listener, certificate := listen(folder)
	fmt.Println("https://" + listener.Addr().String())
	gateway.serve(listener, certificate)
}

// Listen takes a free port, and writes the root of the server's certificate into the folder.
func listen(folder string) (net.Listener, tls.Certificate) {
	now := time.Now()
	root := plan{name: "gateway", key: newKey(), begin: now.Add(-time.Hour), end: now.Add(24 * time.Hour), isCA: true}.sign(nil)
	write(filepath.Join(folder, "ca.pem"), root.pem())
	leaf := plan{name: "127.0.0.1", key: newKey(), begin: root.certificate.NotBefore, end: root.certificate.NotAfter, isServer: true}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(err)
	return listener, chain{leaf.sign(root)}.forTLS()
}
