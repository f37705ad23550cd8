"""What an invoice is: parsed once from JSON, exact to the cent."""

import re
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

CENT = Decimal("0.01")
CURRENCIES = ("CHF", "EUR", "USD")
LINES_AT_MOST = 200
QUANTITY_AT_MOST = 1_000_000
PRICE_AT_MOST = Decimal("1000000")
TEXT = r"[^\x00-\x20\x7f\ud800-\udfff]([^\x00-\x1f\x7f\ud800-\udfff]*[^\x00-\x20\x7f\ud800-\udfff])?"
AMOUNT = r"[0-9]{1,7}(\.[0-9]{1,2})?"


class InvalidInvoice(ValueError):
    """The request is no invoice; the text names the field and what it may be."""


@dataclass(frozen=True)
class Line:
    """One position: net price of one piece and the VAT rate in per cent."""

    text: str
    quantity: int
    price: Decimal
    vat: Decimal

    @property
    def net(self):
        return self.quantity * self.price


@dataclass(frozen=True)
class Invoice:
    """A customer, a currency and at least one line."""

    customer: str
    currency: str
    lines: tuple

    @property
    def net(self):
        return sum((line.net for line in self.lines), Decimal(0))

    @property
    def vat(self):
        """VAT is rounded once for each rate, as tax law asks, not once for each line."""
        by_rate = {}
        for line in self.lines:
            by_rate[line.vat] = by_rate.get(line.vat, Decimal(0)) + line.net
        return sum(
            ((net * rate / 100).quantize(CENT, ROUND_HALF_EVEN) for rate, net in by_rate.items()),
            Decimal(0),
        )

    @property
    def gross(self):
        return self.net + self.vat

    def to_json(self):
        return {
            "customer": self.customer,
            "currency": self.currency,
            "lines": [
                {"text": line.text, "quantity": line.quantity, "price": str(line.price), "vat": str(line.vat)}
                for line in self.lines
            ],
            "net": money(self.net),
            "vat": money(self.vat),
            "gross": money(self.gross),
        }


def money(amount):
    return str(amount.quantize(CENT, ROUND_HALF_EVEN))


def parse(document):
    """Returns the invoice that a decoded JSON document describes, or raises InvalidInvoice."""
    fields = members(document, "invoice", ("customer", "currency", "lines"))
    if fields["currency"] not in CURRENCIES:
        raise InvalidInvoice(f"currency: one of {', '.join(CURRENCIES)}")
    lines = fields["lines"]
    if not isinstance(lines, list) or not 1 <= len(lines) <= LINES_AT_MOST:
        raise InvalidInvoice(f"lines: a list of 1 to {LINES_AT_MOST}")
    return Invoice(
        customer=text(fields["customer"], "customer"),
        currency=fields["currency"],
        lines=tuple(parse_line(line, f"lines[{index}]") for index, line in enumerate(lines)),
    )


def parse_line(document, where):
    fields = members(document, where, ("text", "quantity", "price", "vat"))
    quantity = fields["quantity"]
    # In Python a bool is an int; in an invoice it is not.
    if isinstance(quantity, bool) or not isinstance(quantity, int) or not 1 <= quantity <= QUANTITY_AT_MOST:
        raise InvalidInvoice(f"{where}.quantity: a whole number from 1 to {QUANTITY_AT_MOST}")
    return Line(
        text=text(fields["text"], f"{where}.text"),
        quantity=quantity,
        price=decimal(fields["price"], f"{where}.price", PRICE_AT_MOST),
        vat=decimal(fields["vat"], f"{where}.vat", Decimal(100)),
    )


def members(document, where, names):
    if not isinstance(document, dict):
        raise InvalidInvoice(f"{where}: a JSON object")
    unknown = sorted(set(document) - set(names))
    if unknown:
        raise InvalidInvoice(f"{where}: unknown field {unknown[0]}")
    for name in names:
        if name not in document:
            raise InvalidInvoice(f"{where}: field {name} is missing")
    return document


def text(value, where):
    # What a person reads: no control character, no half of a surrogate pair, no space at the ends.
    if not isinstance(value, str) or len(value) > 200 or not re.fullmatch(TEXT, value):
        raise InvalidInvoice(f"{where}: a text of 1 to 200 characters")
    return value


def decimal(value, where, at_most):
    """Amounts come as strings: a JSON number would pass through a float on many clients."""
    if not isinstance(value, str) or not re.fullmatch(AMOUNT, value) or Decimal(value) > at_most:
        raise InvalidInvoice(f'{where}: a string such as "19.90", from 0 to {at_most}, at most two decimals')
    return Decimal(value)
