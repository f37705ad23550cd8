"""Parsing and totals."""

import unittest
from decimal import Decimal

from billing.invoice import InvalidInvoice, parse


def invoice(*lines, **changes):
    document = {"customer": "ACME", "currency": "EUR", "lines": list(lines) or [line()]}
    return {**document, **changes}


def line(**changes):
    return {"text": "Valve", "quantity": 3, "price": "19.90", "vat": "19", **changes}


class Totals(unittest.TestCase):
    def test_adds_net_and_vat(self):
        parsed = parse(invoice())
        self.assertEqual((parsed.net, parsed.vat, parsed.gross), (Decimal("59.70"), Decimal("11.34"), Decimal("71.04")))

    def test_rounds_vat_once_for_each_rate(self):
        # Rounded line by line this would be 3 * 0.01 = 0.03.
        parsed = parse(invoice(*[line(quantity=1, price="0.03", vat="19")] * 3))
        self.assertEqual(parsed.vat, Decimal("0.02"))

    def test_keeps_rates_apart(self):
        parsed = parse(invoice(line(quantity=1, price="100", vat="19"), line(quantity=1, price="100", vat="7")))
        self.assertEqual(parsed.vat, Decimal("26.00"))

    def test_is_exact_where_floats_are_not(self):
        parsed = parse(invoice(*[line(quantity=1, price="0.10", vat="0")] * 3))
        self.assertEqual(parsed.to_json()["gross"], "0.30")

    def test_shows_two_decimals(self):
        self.assertEqual(parse(invoice(line(quantity=1, price="5", vat="0"))).to_json()["net"], "5.00")


class Refusals(unittest.TestCase):
    def refused(self, document, reason):
        with self.assertRaisesRegex(InvalidInvoice, reason):
            parse(document)

    def test_refuses_what_is_no_object(self):
        self.refused([], "a JSON object")

    def test_refuses_an_unknown_field(self):
        self.refused(invoice(discount="5"), "unknown field discount")

    def test_refuses_a_missing_field(self):
        self.refused({"customer": "ACME", "currency": "EUR"}, "field lines is missing")

    def test_refuses_an_empty_invoice(self):
        self.refused(invoice(lines=[]), "a list of 1 to 200")

    def test_refuses_an_unknown_currency(self):
        for currency in ("XXX", "eur", None, []):
            with self.subTest(currency):
                self.refused(invoice(currency=currency), "currency: one of CHF, EUR, USD")

    def test_refuses_odd_quantities(self):
        for quantity in (0, -1, 1.5, "3", True, None, 1_000_001):
            with self.subTest(quantity):
                self.refused(invoice(line(quantity=quantity)), r"lines\[0\].quantity")

    def test_refuses_odd_amounts(self):
        for price in ("", "-1", "1.999", "NaN", "Infinity", "1e99", "ten", 19.9, None, "9" * 30):
            with self.subTest(price):
                self.refused(invoice(line(price=price)), r"lines\[0\].price")

    def test_refuses_a_blank_customer(self):
        self.refused(invoice(customer="   "), "customer: a text")
