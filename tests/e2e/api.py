"""An organization's certificates behind an API like OpenAI's, which a test can change while it is polled.

GET  /v1/organization/certificates   one page, for any key
GET  /v1/organization/projects       --projects of them, with 20 certificates each
PUT  /certificates                   a JSON list of {id, name, active, valid_at, expires_at} replaces what is there
PUT  /status                         a status code that every list is answered with from now on; 200 ends it
"""

import argparse
import http.server
import json
import ssl
import urllib.parse


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    certificates: list[dict] = []
    projects = 0
    status = 200

    def do_PUT(self):
        value = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        setattr(Handler, {"/certificates": "certificates", "/status": "status"}[self.path], value)
        self.answer(200, value)

    def do_GET(self):
        path = urllib.parse.urlsplit(self.path).path.removeprefix("/v1/organization").split("/")[1:]
        if path not in (["certificates"], ["projects"]) and path[::2] != ["projects", "certificates"]:
            self.answer(404, {"error": {"message": "unknown path", "type": "invalid_request_error"}})
        elif not self.headers.get("Authorization", "").startswith("Bearer "):
            self.answer(401, {"error": {"message": "no key", "type": "invalid_request_error"}})
        elif self.status != 200:
            self.answer(self.status, {"error": {"message": "as asked for", "type": "server_error"}})
        elif path == ["projects"]:
            self.answer_list(
                {"id": f"proj_{n}", "name": f"project-{n}", "status": "active"} for n in range(self.projects)
            )
        elif path[0] == "projects":
            self.answer_list(self.entry(made_up(f"{path[1]}_{n}")) for n in range(20))
        else:
            self.answer_list(self.entry(certificate) for certificate in self.certificates)

    def answer_list(self, entries):
        self.answer(200, {"object": "list", "has_more": False, "data": list(entries)})

    @staticmethod
    def entry(certificate):
        return {
            "object": "organization.certificate",
            "id": certificate["id"],
            "name": certificate["name"],
            "active": certificate["active"],
            "created_at": certificate["valid_at"],
            "certificate_details": {key: certificate[key] for key in ("valid_at", "expires_at")},
        }

    def answer(self, status, value):
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


def made_up(name):
    return {"id": f"cert_{name}", "name": f"{name}-2026", "active": True, "valid_at": 0, "expires_at": 2_000_000_000}


arguments = argparse.ArgumentParser()
arguments.add_argument("--listen", required=True, metavar="HOST:PORT")
arguments.add_argument("--tls", nargs=2, metavar=("CERTIFICATE", "KEY"))
arguments.add_argument("--client-ca", metavar="CERTIFICATE", help="ask for a client certificate of this authority")
arguments.add_argument("--certificates", type=int, default=0, metavar="N", help="begin with as many certificates")
arguments.add_argument("--projects", type=int, default=0, metavar="N")
arguments = arguments.parse_args()
Handler.certificates = [made_up(n) for n in range(arguments.certificates)]
Handler.projects = arguments.projects
host, port = arguments.listen.split(":")
server = http.server.ThreadingHTTPServer((host, int(port)), Handler)
if arguments.tls:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*arguments.tls)
    if arguments.client_ca:
        context.load_verify_locations(arguments.client_ca)
        context.verify_mode = ssl.CERT_REQUIRED
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
