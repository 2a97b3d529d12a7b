"""An organization's certificates behind an API like OpenAI's, which a test can change while it is polled.

GET  /v1/organization/certificates   one page, for any key
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
    status = 200

    def do_PUT(self):
        value = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        setattr(Handler, {"/certificates": "certificates", "/status": "status"}[self.path], value)
        self.answer(200, value)

    def do_GET(self):
        if urllib.parse.urlsplit(self.path).path != "/v1/organization/certificates":
            self.answer(404, {"error": {"message": "unknown path", "type": "invalid_request_error"}})
        elif not self.headers.get("Authorization", "").startswith("Bearer "):
            self.answer(401, {"error": {"message": "no key", "type": "invalid_request_error"}})
        elif self.status != 200:
            self.answer(self.status, {"error": {"message": "as asked for", "type": "server_error"}})
        else:
            self.answer(200, {"object": "list", "has_more": False, "data": [self.entry(c) for c in self.certificates]})

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


arguments = argparse.ArgumentParser()
arguments.add_argument("--listen", required=True, metavar="HOST:PORT")
arguments.add_argument("--tls", nargs=2, metavar=("CERTIFICATE", "KEY"))
arguments = arguments.parse_args()
host, port = arguments.listen.split(":")
server = http.server.ThreadingHTTPServer((host, int(port)), Handler)
if arguments.tls:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*arguments.tls)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
