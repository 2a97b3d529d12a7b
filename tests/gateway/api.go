package main

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

type object = map[string]any

// A header with the instant at which a request was judged, in nanoseconds: an answer may take a second on a busy machine.
const judgedAt = "X-Judged-At"

// A gateway answers for several organizations on one address, and knows them by their keys.
type gateway struct {
	mutex         sync.RWMutex
	organizations []*organization
	connections   atomic.Int64
	requests      atomic.Int64
}

func (g *gateway) add(organization *organization) {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.organizations = append(g.organizations, organization)
}

// Serve answers until the program ends.
func (g *gateway) serve(listener net.Listener, certificate tls.Certificate) {
	server := &http.Server{
		Handler:  g,
		ErrorLog: log.New(io.Discard, "", 0),
		ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				g.connections.Add(1)
			}
		},
		TLSConfig: &tls.Config{
			Certificates: []tls.Certificate{certificate},
			// What is presented is judged request by request, and never by the handshake.
			ClientAuth: tls.RequestClientCert,
			NextProtos: []string{"http/1.1"},
		},
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){},
	}
	log.Fatal(server.ServeTLS(listener, "", ""))
}

func (g *gateway) ServeHTTP(response http.ResponseWriter, request *http.Request) {
	response.Header().Set("Content-Type", "application/json")
	response.Header().Set("X-Request-Id", fmt.Sprintf("req_%d", g.requests.Add(1)))
	now := time.Now()
	response.Header().Set(judgedAt, strconv.FormatInt(now.UnixNano(), 10))
	answer, err := g.answer(request, now)
	if err != nil {
		response.WriteHeader(err.status)
		answer = object{"error": object{"message": err.message, "type": err.kind, "param": nil, "code": err.code}}
	}
	json.NewEncoder(response).Encode(answer)
}

func (g *gateway) answer(request *http.Request, now time.Time) (any, *apiError) {
	organization, project, isAdmin := g.authenticate(request)
	if organization == nil {
		return nil, &apiError{401, "invalid_request_error", "invalid_api_key", "Incorrect API key provided"}
	}
	if code := organization.refusal(request.TLS.PeerCertificates, project, now); code != "" {
		status := http.StatusForbidden
		if code == "certificate_required" {
			status = http.StatusUnauthorized
		}
		return nil, &apiError{status, "invalid_request_error", code, "the client certificate was not accepted"}
	}
	path := strings.Split(strings.Trim(request.URL.Path, "/"), "/")
	switch {
	case request.Method == "GET" && request.URL.Path == "/v1/models":
		return object{"object": "list", "data": []any{}}, nil
	case isAdmin && len(path) >= 3 && path[0] == "v1" && path[1] == "organization":
		return admin{organization, request}.answer(path[2:])
	}
	return nil, notFound()
}

// Authenticate finds the scope: a project's key is the project's, the admin key the organization's, unless a header names
// a project.
func (g *gateway) authenticate(request *http.Request) (found *organization, project string, isAdmin bool) {
	key := strings.TrimPrefix(request.Header.Get("Authorization"), "Bearer ")
	g.mutex.RLock()
	defer g.mutex.RUnlock()
	for _, organization := range g.organizations {
		if organization.AdminKey == key {
			return organization, request.Header.Get("OpenAI-Project"), true
		}
		for _, project := range organization.Projects {
			if project.Key == key {
				return organization, project.ID, false
			}
		}
	}
	return nil, "", false
}

func notFound() *apiError {
	return &apiError{http.StatusNotFound, "invalid_request_error", "not_found", "unknown path"}
}

// A request to the Admin API.
type admin struct {
	*organization
	request *http.Request
}

func (a admin) answer(path []string) (any, *apiError) {
	switch {
	case path[0] == "certificates":
		return a.certificates("", path[1:])
	case path[0] == "projects" && len(path) == 1:
		return a.list(a.projectObjects())
	case path[0] == "projects" && len(path) > 2 && path[2] == "certificates" && a.project(path[1]) != nil:
		return a.certificates(path[1], path[3:])
	}
	return nil, notFound()
}

func (a admin) certificates(scope string, path []string) (any, *apiError) {
	switch call := a.request.Method + " " + strings.Join(path, "/"); {
	case call == "GET ":
		return a.list(a.listed(scope))
	case call == "POST activate" || call == "POST deactivate":
		return a.switchOver(scope, path[0] == "activate")
	case scope != "":
		return nil, notFound()
	case call == "POST ":
		return a.uploadOne()
	case a.request.Method == "GET" && len(path) == 1:
		return a.retrieve(path[0])
	case a.request.Method == "POST" && len(path) == 1:
		return a.rename(path[0])
	case a.request.Method == "DELETE" && len(path) == 1:
		if err := a.delete(path[0]); err != nil {
			return nil, err
		}
		return object{"object": "certificate.deleted", "id": path[0]}, nil
	}
	return nil, notFound()
}

func (a admin) projectObjects() []object {
	var projects []object
	for _, project := range a.Projects {
		projects = append(projects, object{
			"object": "organization.project", "id": project.ID, "name": project.Name, "created_at": 1_700_000_000,
			"archived_at": nil, "status": "active",
		})
	}
	return projects
}

// Listed are the certificates of the organization, or those that are or were active in a project; the newest first.
func (a admin) listed(scope string) []object {
	a.mutex.RLock()
	defer a.mutex.RUnlock()
	var listed []object
	for index := len(a.organization.certificates) - 1; index >= 0; index-- {
		anchor := a.organization.certificates[index]
		if _, is := anchor.active[scope]; is || scope == "" {
			listed = append(listed, listedAnchor(anchor, scope))
		}
	}
	if a.request.URL.Query().Get("order") == "asc" {
		for low, high := 0, len(listed)-1; low < high; low, high = low+1, high-1 {
			listed[low], listed[high] = listed[high], listed[low]
		}
	}
	return listed
}

func listedAnchor(anchor *anchor, scope string) object {
	kind := "organization.certificate"
	if scope != "" {
		kind = "organization.project.certificate"
	}
	shown := shownAnchor(anchor, false)
	shown["object"], shown["active"] = kind, anchor.active[scope]
	return shown
}

func shownAnchor(anchor *anchor, withContent bool) object {
	details := object{
		"valid_at": anchor.certificate.NotBefore.Unix(), "expires_at": anchor.certificate.NotAfter.Unix(),
	}
	if withContent {
		details["content"] = anchor.content
	}
	shown := object{
		"object": "certificate", "id": anchor.id, "name": nil, "created_at": anchor.created,
		"certificate_details": details,
	}
	if anchor.name != "" {
		shown["name"] = anchor.name
	}
	return shown
}

// List is the page that the query asks for.
func (a admin) list(all []object) (any, *apiError) {
	query := a.request.URL.Query()
	limit := 20
	if text := query.Get("limit"); text != "" {
		number, err := strconv.Atoi(text)
		if err != nil || number < 1 || number > 100 {
			return nil, invalid("limit is 1 to 100")
		}
		limit = number
	}
	if after := query.Get("after"); after != "" {
		for len(all) > 0 && all[0]["id"] != after {
			all = all[1:]
		}
		if len(all) == 0 {
			return nil, invalid("after names nothing")
		}
		all = all[1:]
	}
	hasMore := len(all) > limit
	if hasMore {
		all = all[:limit]
	}
	page := object{"object": "list", "data": append([]object{}, all...), "has_more": hasMore, "first_id": nil, "last_id": nil}
	if len(all) > 0 {
		page["first_id"], page["last_id"] = all[0]["id"], all[len(all)-1]["id"]
	}
	return page, nil
}

func (a admin) retrieve(id string) (any, *apiError) {
	anchor, err := a.find(id)
	if err != nil {
		return nil, err
	}
	withContent := a.request.URL.Query().Get("include[]") == "content"
	if withContent && anchor.unread {
		return nil, &apiError{http.StatusInternalServerError, "server_error", "server_error", "try again"}
	}
	a.mutex.RLock()
	defer a.mutex.RUnlock()
	return shownAnchor(anchor, withContent), nil
}

func (a admin) uploadOne() (any, *apiError) {
	var body struct{ Name, Certificate string }
	if err := a.read(&body); err != nil {
		return nil, err
	}
	added, err := a.upload(body.Name, body.Certificate)
	if err != nil {
		return nil, err
	}
	return shownAnchor(added, false), nil
}

func (a admin) rename(id string) (any, *apiError) {
	var body struct{ Name string }
	if err := a.read(&body); err != nil {
		return nil, err
	}
	anchor, err := a.find(id)
	if err != nil {
		return nil, err
	}
	a.mutex.Lock()
	defer a.mutex.Unlock()
	anchor.name = body.Name
	return shownAnchor(anchor, false), nil
}

func (a admin) switchOver(scope string, active bool) (any, *apiError) {
	var body struct {
		IDs []string `json:"certificate_ids"`
	}
	if err := a.read(&body); err != nil {
		return nil, err
	}
	changed, err := a.activate(scope, body.IDs, active)
	if err != nil {
		return nil, err
	}
	a.mutex.RLock()
	defer a.mutex.RUnlock()
	data := []object{}
	for _, anchor := range changed {
		data = append(data, listedAnchor(anchor, scope))
	}
	return object{"object": "list", "data": data}, nil
}

func (a admin) read(body any) *apiError {
	if json.NewDecoder(io.LimitReader(a.request.Body, 1<<20)).Decode(body) != nil {
		return invalid("the body is not the JSON that was expected")
	}
	return nil
}
