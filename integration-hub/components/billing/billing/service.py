"""The HTTP side: JSON in, JSON out, one error shape."""

import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from billing.invoice import InvalidInvoice, parse

BODY_AT_MOST = 256 * 1024
NEWEST = 50


class Handler(BaseHTTPRequestHandler):
    """Answers one request; the store and the version hang on the server."""

    protocol_version = "HTTP/1.1"
    server_version = "billing"
    sys_version = ""
    timeout = 10

    def do_GET(self):
        number = re.fullmatch(r"/invoices/([1-9][0-9]{0,17})", self.path)
        if self.path == "/health":
            self.answer(200, {"status": "ok", "version": self.server.version})
        elif self.path == "/invoices":
            self.answer(200, {"invoices": self.server.store.newest(NEWEST)})
        elif number:
            document = self.server.store.get(int(number[1]))
            if document is None:
                self.refuse(404, f"no invoice {number[1]}")
            else:
                self.answer(200, document)
        else:
            self.refuse(404, "no such path")

    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            return self.refuse(411, "Content-Length is missing", close=True)
        if int(length) > BODY_AT_MOST:
            return self.refuse(413, f"at most {BODY_AT_MOST} bytes", close=True)
        body = self.rfile.read(int(length))
        if self.path != "/invoices":
            return self.refuse(404, "no such path")
        try:
            invoice = parse(json.loads(body))
        except InvalidInvoice as refusal:
            return self.refuse(422, str(refusal))
        except (ValueError, RecursionError):
            return self.refuse(400, "the body is no JSON document")
        number = self.server.store.add(invoice)
        self.answer(201, self.server.store.get(number), {"Location": f"/invoices/{number}"})

    def refuse(self, status, reason, close=False):
        if close:
            # The body stays unread, so the connection can't carry another request.
            self.close_connection = True
        self.answer(status, {"error": reason})

    def answer(self, status, document, headers=None):
        body = json.dumps(document).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class Service(ThreadingHTTPServer):
    """Listens on an address and serves a store."""

    daemon_threads = True

    def __init__(self, address, store, version):
        super().__init__(address, Handler)
        self.store = store
        self.version = version
