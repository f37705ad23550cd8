"""The service over a real socket on loopback."""

import http.client
import json
import re
import threading
import unittest

from billing.database import DatabaseAway, connect
from billing.migrate import load, migrate
from billing.service import BODY_AT_MOST, Handler, Service
from billing.store import Store

VALVE = {"customer": "ACME", "currency": "EUR",
         "lines": [{"text": "Valve", "quantity": 3, "price": "19.90", "vat": "19"}]}


class RunningService(unittest.TestCase):
    def setUp(self):
        database = connect(":memory:")
        migrate(database, len(load()))
        self.store = Store(database)
        self.service = Service(("127.0.0.1", 0), self.store, "1.2.3")
        self.service.RequestHandlerClass.log_message = lambda *_: None
        self.loop = threading.Thread(target=self.service.serve_forever, kwargs={"poll_interval": 0.01})
        self.loop.start()
        self.connection = http.client.HTTPConnection(*self.service.server_address, timeout=5)

    def tearDown(self):
        self.connection.close()
        self.service.shutdown()
        self.loop.join()
        self.service.server_close()
        self.store.close()

    def call(self, method, path, body=None, **headers):
        self.connection.request(method, path, body, headers)
        response = self.connection.getresponse()
        return response.status, json.loads(response.read()), response.headers


class ServiceTest(RunningService):
    def test_says_that_it_is_well_and_which_version(self):
        self.assertEqual(self.call("GET", "/health")[:2], (200, {"status": "ok", "version": "1.2.3"}))

    def test_creates_an_invoice_and_gives_it_back(self):
        status, created, headers = self.call("POST", "/invoices", json.dumps(VALVE))
        self.assertEqual((status, created["number"], created["gross"]), (201, 1, "71.04"))
        self.assertEqual(self.call("GET", headers["Location"])[:2], (200, created))

    def test_numbers_have_no_gap_after_a_refusal(self):
        self.call("POST", "/invoices", json.dumps(VALVE))
        self.call("POST", "/invoices", json.dumps({**VALVE, "lines": []}))
        self.assertEqual(self.call("POST", "/invoices", json.dumps(VALVE))[1]["number"], 2)

    def test_lists_the_newest_first(self):
        for _ in range(3):
            self.call("POST", "/invoices", json.dumps(VALVE))
        listed = self.call("GET", "/invoices")[1]["invoices"]
        self.assertEqual([invoice["number"] for invoice in listed], [3, 2, 1])

    def test_lists_those_of_one_customer(self):
        for customer in ("ACME", "Roadrunner", "ACME"):
            self.call("POST", "/invoices", json.dumps({**VALVE, "customer": customer}))
        listed = self.call("GET", "/invoices?customer=ACME")[1]["invoices"]
        self.assertEqual([invoice["number"] for invoice in listed], [3, 1])
        self.assertEqual(self.call("GET", "/invoices?customer=%00")[0], 422)

    def test_names_the_field_of_an_invalid_invoice(self):
        status, document, _ = self.call("POST", "/invoices", json.dumps({**VALVE, "currency": "XXX"}))
        self.assertEqual((status, document), (422, {"error": "currency: one of CHF, EUR, USD"}))

    def test_refuses_what_is_no_json(self):
        for body in (b"{", b"\xff", b"[" * 5000):
            with self.subTest(body[:4]):
                self.assertEqual(self.call("POST", "/invoices", body)[0], 400)

    def test_refuses_a_body_that_is_too_long_without_reading_it(self):
        self.connection.putrequest("POST", "/invoices")
        self.connection.putheader("Content-Length", str(BODY_AT_MOST + 1))
        self.connection.endheaders()
        self.assertEqual(self.connection.getresponse().status, 413)

    def test_knows_no_other_invoice_and_no_other_path(self):
        for path in ("/invoices/7", "/invoices/0", "/invoices/x", "/", "/../etc/passwd"):
            with self.subTest(path):
                self.assertEqual(self.call("GET", path)[0], 404)

    def test_says_which_methods_a_path_has(self):
        status, _, headers = self.call("DELETE", "/invoices")
        self.assertEqual((status, headers["Allow"]), (405, "GET, POST"))

    def test_says_that_the_database_is_away(self):
        def away():
            raise DatabaseAway("gone")
        self.store.ping = away
        self.assertEqual(self.call("GET", "/health")[0], 503)


class ContractTest(RunningService):
    """The document that others build on says what the service does."""

    def schema(self, name):
        return self.call("GET", "/openapi.json")[1]["components"]["schemas"][name]

    def test_an_invoice_has_exactly_the_fields_of_the_document(self):
        created = self.call("POST", "/invoices", json.dumps(VALVE))[1]
        for document, name in ((created, "Invoice"), (created["lines"][0], "Line")):
            with self.subTest(name):
                self.assertEqual(sorted(document), sorted(self.schema(name)["properties"]))
                self.assertEqual(sorted(document), sorted(self.schema(name)["required"]))

    def test_every_path_of_the_service_is_in_the_document(self):
        paths = self.call("GET", "/openapi.json")[1]["paths"]
        documented = {path.replace("{number}", "7"): sorted(method.upper() for method in item) for path, item in paths.items()}
        served = {}
        for path in documented:
            [methods] = [methods for pattern, methods in Handler.ROUTES if re.fullmatch(pattern, path)]
            served[path] = sorted(methods)
        self.assertEqual(documented, served)
        self.assertEqual(len(served), len(Handler.ROUTES))
