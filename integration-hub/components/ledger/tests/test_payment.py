"""Parsing payments, and what is booked."""

import unittest

from ledger.database import connect
from ledger.migrate import load, migrate
from ledger.payment import InvalidPayment, Payment, cents, money, parse
from ledger.store import Overpaid, Store

RENT = {"invoice": 7, "amount": "10.50", "reference": "first half"}


class Parsing(unittest.TestCase):
    def refused(self, reason, **changes):
        with self.assertRaisesRegex(InvalidPayment, reason):
            parse({**RENT, **changes})

    def test_keeps_cents(self):
        self.assertEqual(parse(RENT), Payment(7, 1050, "first half"))
        self.assertEqual((cents("0.07"), money(7), money(123456)), (7, "0.07", "1234.56"))

    def test_refuses_odd_amounts(self):
        for amount in ("", "0.00", "-1.00", "1", "1.5", "1.999", "NaN", "1_0.00", "١.00", 10.5, None, "9" * 20 + ".00"):
            with self.subTest(amount):
                self.refused("amount: a string", amount=amount)

    def test_refuses_odd_invoices(self):
        for invoice in (0, -1, 1.5, "7", True, None, 10**18):
            with self.subTest(invoice):
                self.refused("invoice: a whole number", invoice=invoice)

    def test_refuses_odd_references(self):
        for reference in ("", " ", "a ", "a\0b", "\ud800", "x" * 141, None):
            with self.subTest(reference):
                self.refused("reference: a text", reference=reference)

    def test_refuses_unknown_and_missing_fields(self):
        self.refused("unknown field currency", currency="EUR")
        with self.assertRaisesRegex(InvalidPayment, "field amount is missing"):
            parse({"invoice": 7, "reference": "x"})
        with self.assertRaisesRegex(InvalidPayment, "a JSON object"):
            parse([])


class Booking(unittest.TestCase):
    def setUp(self):
        self.database = connect(":memory:")
        migrate(self.database, len(load()))
        self.store = Store(self.database)

    def tearDown(self):
        self.database.close()

    def test_adds_up_what_was_paid(self):
        self.assertEqual(self.store.book(Payment(7, 1000, "a"), 2100), (1, 1000))
        self.assertEqual(self.store.book(Payment(7, 1100, "b"), 2100), (2, 2100))
        self.assertEqual(self.store.account(7), (2100, [(1, 1000, "a"), (2, 1100, "b")]))
        self.assertEqual(self.store.account(8), (0, []))

    def test_books_nothing_when_it_is_too_much(self):
        self.store.book(Payment(7, 1000, "a"), 2100)
        with self.assertRaises(Overpaid) as refusal:
            self.store.book(Payment(7, 1101, "b"), 2100)
        self.assertEqual(refusal.exception.open_cents, 1100)
        self.assertEqual(self.store.account(7)[0], 1000)


class Upgrade(unittest.TestCase):
    def test_accounts_are_made_from_the_payments_that_are_there(self):
        database = connect(":memory:")
        self.addCleanup(database.close)
        migrate(database, 1)
        with database.transaction() as execute:
            for statement in load()[0].sample:
                execute(statement)
        migrate(database, 2)
        self.assertEqual(Store(database).account(7)[0], 2100)
        self.assertEqual(Store(database).account(9)[0], 1)
