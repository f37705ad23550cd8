"""The HTTP side: JSON in, JSON out, one error shape."""

import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from ledger.billing import BillingAway
from ledger.database import DatabaseAway
from ledger.payment import InvalidPayment, money, parse
from ledger.store import Overpaid

BODY_AT_MOST = 16 * 1024
CONTRACTS = Path(__file__).parent.parent / "contracts"


class Refused(Exception):
    """The request can't be served as it is; `close` where its body stays unread."""

    def __init__(self, status, reason, close=False, headers=None):
        super().__init__(reason)
        self.status, self.close, self.headers = status, close, headers or {}


class Handler(BaseHTTPRequestHandler):
    """Answers one request; the store and billing hang on the server."""

    protocol_version = "HTTP/1.1"
    server_version = "ledger"
    sys_version = ""
    timeout = 10
    # Head and body leave together; apart, the second waits for the first's acknowledgement.
    wbufsize = -1

    def health(self):
        self.server.store.ping()
        return 200, {"status": "ok", "version": self.server.version}, {}

    def contract(self):
        return 200, self.server.contract, {}

    def expectations(self):
        return 200, self.server.expectations, {}

    def pay(self):
        try:
            document = json.loads(self.body)
        except (ValueError, RecursionError):
            raise Refused(400, "the body is no JSON document") from None
        payment = parse(document)
        invoice = self.known_invoice(payment.invoice)
        try:
            number, paid = self.server.store.book(payment, invoice.gross_cents)
        except Overpaid as refusal:
            raise Refused(409, f"amount: only {money(refusal.open_cents)} is open") from None
        return 201, {
            "number": number, "invoice": payment.invoice, "amount": money(payment.cents),
            "reference": payment.reference, "open": money(invoice.gross_cents - paid),
        }, {}

    def account(self, number):
        invoice = self.known_invoice(int(number))
        paid, payments = self.server.store.account(invoice.number)
        return 200, {
            "invoice": invoice.number, "currency": invoice.currency, "owed": money(invoice.gross_cents),
            "paid": money(paid), "open": money(invoice.gross_cents - paid),
            "payments": [
                {"number": number, "amount": money(cents), "reference": reference} for number, cents, reference in payments
            ],
        }, {}

    def known_invoice(self, number):
        invoice = self.server.billing.invoice(number)
        if invoice is None:
            raise Refused(404, f"billing has no invoice {number}")
        return invoice

    ROUTES = (
        (r"/health", {"GET": health}),
        (r"/openapi\.json", {"GET": contract}),
        (r"/expectations\.json", {"GET": expectations}),
        (r"/payments", {"POST": pay}),
        (r"/accounts/([1-9][0-9]{0,17})", {"GET": account}),
    )

    def dispatch(self):
        try:
            self.body = self.read_body()
            status, document, headers = self.route(urlsplit(self.path).path)
        except Refused as refusal:
            # A body that stays unread leaves the connection useless for another request.
            self.close_connection = self.close_connection or refusal.close
            status, document, headers = refusal.status, {"error": str(refusal)}, refusal.headers
        except InvalidPayment as refusal:
            status, document, headers = 422, {"error": str(refusal)}, {}
        except DatabaseAway:
            status, document, headers = 503, {"error": "the database is away"}, {}
        except BillingAway as failure:
            status, document, headers = 502, {"error": str(failure)}, {}
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

    def __init__(self, address, store, billing, version):
        super().__init__(address, Handler)
        self.store = store
        self.billing = billing
        self.version = version
        self.contract = json.loads((CONTRACTS / "openapi.json").read_text())
        self.expectations = json.loads((CONTRACTS / "expectations.json").read_text())
