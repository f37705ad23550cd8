"""The HTTP side: JSON in, JSON out, one error shape."""

import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from billing.database import DatabaseAway
from billing.invoice import InvalidInvoice, parse, text

BODY_AT_MOST = 256 * 1024
NEWEST = 50
CONTRACT = Path(__file__).parent.parent / "contracts" / "openapi.json"


class Refused(Exception):
    """The request can't be served as it is; `close` where its body stays unread."""

    def __init__(self, status, reason, close=False, headers=None):
        super().__init__(reason)
        self.status, self.close, self.headers = status, close, headers or {}


class Handler(BaseHTTPRequestHandler):
    """Answers one request; the store and the version hang on the server."""

    protocol_version = "HTTP/1.1"
    server_version = "billing"
    sys_version = ""
    timeout = 10
    # Head and body leave together; apart, the second waits for the first's acknowledgement.
    wbufsize = -1

    def health(self):
        self.server.store.ping()
        return 200, {"status": "ok", "version": self.server.version}, {}

    def contract(self):
        return 200, self.server.contract, {}

    def newest_invoices(self):
        customer = parse_qs(self.query, keep_blank_values=True).get("customer", [None])
        if len(customer) > 1:
            raise InvalidInvoice("customer: at most once")
        chosen = None if customer[0] is None else text(customer[0], "customer")
        return 200, {"invoices": self.server.store.newest(NEWEST, chosen)}, {}

    def create_invoice(self):
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError):
            raise Refused(400, "the body is no JSON document") from None
        number = self.server.store.add(parse(document))
        return 201, self.server.store.get(number), {"Location": f"/invoices/{number}"}

    def invoice(self, number):
        document = self.server.store.get(int(number))
        if document is None:
            raise Refused(404, f"no invoice {number}")
        return 200, document, {}

    ROUTES = (
        (r"/health", {"GET": health}),
        (r"/openapi\.json", {"GET": contract}),
        (r"/invoices", {"GET": newest_invoices, "POST": create_invoice}),
        (r"/invoices/([1-9][0-9]{0,17})", {"GET": invoice}),
    )

    def dispatch(self):
        try:
            self.body = self.read_body()
            path, self.query = urlsplit(self.path)[2:4]
            status, document, headers = self.route(path)
        except Refused as refusal:
            # A body that stays unread leaves the connection useless for another request.
            self.close_connection = self.close_connection or refusal.close
            status, document, headers = refusal.status, {"error": str(refusal)}, refusal.headers
        except InvalidInvoice as refusal:
            status, document, headers = 422, {"error": str(refusal)}, {}
        except DatabaseAway:
            status, document, headers = 503, {"error": "the database is away"}, {}
        self.answer(status, document, headers)

    def __getattr__(self, name):
        # The standard library looks for do_METHOD and answers 501 where there is none: ours is 405.
        if name.startswith("do_"):
            return self.dispatch
        raise AttributeError(name)

    def read_body(self):
        if self.command not in ("POST", "PUT", "PATCH") and "Content-Length" not in self.headers:
            return b""
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            raise Refused(411, "Content-Length is missing", close=True)
        if int(length) > BODY_AT_MOST:
            raise Refused(413, f"at most {BODY_AT_MOST} bytes", close=True)
        return self.rfile.read(int(length))

    def route(self, path):
        for pattern, methods in self.ROUTES:
            found = re.fullmatch(pattern, path)
            if found and self.command in methods:
                return methods[self.command](self, *found.groups())
            if found:
                raise Refused(405, "no such method", headers={"Allow": ", ".join(methods)})
        raise Refused(404, "no such path")

    def answer(self, status, document, headers):
        body = json.dumps(document).encode() + b"\n"
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


class Service(ThreadingHTTPServer):
    """Listens on an address and serves a store."""

    daemon_threads = True

    def __init__(self, address, store, version):
        super().__init__(address, Handler)
        self.store = store
        self.version = version
        self.contract = json.loads(CONTRACT.read_text())
