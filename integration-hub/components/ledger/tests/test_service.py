"""The service over a real socket on loopback, with a billing of the tests' own behind it."""

import http.client
import json
import re
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ledger.billing import Billing
from ledger.database import DatabaseAway, connect
from ledger.migrate import load, migrate
from ledger.service import BODY_AT_MOST, Handler, Service
from ledger.store import Store

RENT = {"invoice": 7, "amount": "10.50", "reference": "first half"}


class BillingOfTheTests(BaseHTTPRequestHandler):
    """Has invoice 7, and answers as `contracts/expectations.json` says."""

    def do_GET(self):
        status, document = self.server.answers.get(self.path, (404, {"error": "no such invoice"}))
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(document).encode())

    def log_message(self, *_):
        pass


class RunningService(unittest.TestCase):
    def serve(self, server):
        loop = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        loop.start()
        self.addCleanup(server.server_close)
        self.addCleanup(loop.join)
        self.addCleanup(server.shutdown)
        return server

    def setUp(self):
        self.billing = self.serve(ThreadingHTTPServer(("127.0.0.1", 0), BillingOfTheTests))
        self.billing.answers = {"/invoices/7": (200, {"number": 7, "currency": "EUR", "gross": "21.00"})}
        database = connect(":memory:")
        self.addCleanup(database.close)
        migrate(database, len(load()))
        self.store = Store(database)
        billing = Billing(f"http://127.0.0.1:{self.billing.server_address[1]}")
        self.service = self.serve(Service(("127.0.0.1", 0), self.store, billing, "1.2.3"))
        self.service.RequestHandlerClass.log_message = lambda *_: None
        self.connection = http.client.HTTPConnection(*self.service.server_address, timeout=5)
        self.addCleanup(self.connection.close)

    def call(self, method, path, body=None):
        self.connection.request(method, path, body)
        response = self.connection.getresponse()
        return response.status, json.loads(response.read()), response.headers

    def pay(self, **changes):
        return self.call("POST", "/payments", json.dumps({**RENT, **changes}))[:2]


class ServiceTest(RunningService):
    def test_says_that_it_is_well_and_which_version(self):
        self.assertEqual(self.call("GET", "/health")[:2], (200, {"status": "ok", "version": "1.2.3"}))

    def test_books_payments_until_the_invoice_is_paid(self):
        self.assertEqual(self.pay(), (201, {"number": 1, **RENT, "open": "10.50"}))
        self.assertEqual(self.pay(reference="second half")[1]["open"], "0.00")
        self.assertEqual(self.call("GET", "/accounts/7")[1], {
            "invoice": 7, "currency": "EUR", "owed": "21.00", "paid": "21.00", "open": "0.00",
            "payments": [{"number": 1, "amount": "10.50", "reference": "first half"},
                         {"number": 2, "amount": "10.50", "reference": "second half"}]})

    def test_refuses_more_than_is_open(self):
        self.assertEqual(self.pay(amount="21.01"), (409, {"error": "amount: only 21.00 is open"}))

    def test_refuses_an_invoice_that_billing_does_not_have(self):
        self.assertEqual(self.pay(invoice=8), (404, {"error": "billing has no invoice 8"}))
        self.assertEqual(self.call("GET", "/accounts/8")[0], 404)

    def test_names_what_billings_answer_lacks(self):
        self.billing.answers["/invoices/7"] = (200, {"number": 7, "currency": "EUR"})
        self.assertEqual(self.pay(), (502, {"error": "billing's invoice has no field gross"}))

    def test_says_that_billing_is_unwell(self):
        self.billing.answers["/invoices/7"] = (503, {})
        self.assertEqual(self.pay(), (502, {"error": "billing answers 503"}))

    def test_says_that_the_database_is_away(self):
        def away():
            raise DatabaseAway("gone")
        self.store.ping = away
        self.assertEqual(self.call("GET", "/health")[0], 503)

    def test_names_the_field_of_an_invalid_payment(self):
        self.assertEqual(self.pay(amount="0.00")[0], 422)
        self.assertEqual(self.call("POST", "/payments", b"{")[0], 400)

    def test_refuses_a_body_that_is_too_long_without_reading_it(self):
        self.connection.putrequest("POST", "/payments")
        self.connection.putheader("Content-Length", str(BODY_AT_MOST + 1))
        self.connection.endheaders()
        self.assertEqual(self.connection.getresponse().status, 413)

    def test_says_which_methods_a_path_has(self):
        status, _, headers = self.call("DELETE", "/payments")
        self.assertEqual((status, headers["Allow"]), (405, "POST"))
        self.assertEqual(self.call("GET", "/")[0], 404)


class ContractTest(RunningService):
    """The document that others build on says what the service does."""

    def test_answers_have_exactly_the_fields_of_the_document(self):
        schemas = self.call("GET", "/openapi.json")[1]["components"]["schemas"]
        for name, document in (("BookedPayment", self.pay()[1]), ("Account", self.call("GET", "/accounts/7")[1])):
            with self.subTest(name):
                self.assertEqual(sorted(document), sorted(schemas[name]["properties"]))
                self.assertEqual(sorted(document), sorted(schemas[name]["required"]))

    def test_every_path_of_the_service_is_in_the_document(self):
        paths = self.call("GET", "/openapi.json")[1]["paths"]
        documented = {path.replace("{number}", "7"): sorted(method.upper() for method in item) for path, item in paths.items()}
        served = {}
        for path in documented:
            [methods] = [methods for pattern, methods in Handler.ROUTES if re.fullmatch(pattern, path)]
            served[path] = sorted(methods)
        self.assertEqual(documented, served)
        self.assertEqual(len(served), len(Handler.ROUTES))

    def test_needs_no_more_of_billing_than_it_says(self):
        [expected] = self.call("GET", "/expectations.json")[1]["providers"]["billing"]
        self.assertEqual(expected["operation"], "GET /invoices/{number}")
        values = {"integer": 7, "string": "21.00"}
        fields = expected["responses"]["200"]
        self.billing.answers["/invoices/7"] = (200, {name: values[kind] for name, kind in fields.items()})
        self.assertEqual(self.pay()[0], 201)
