"""What a payment is: parsed once from JSON, kept in cents."""

import re
from dataclasses import dataclass

INVOICE_AT_MOST = 10**18 - 1
TEXT = r"[^\x00-\x20\x7f\ud800-\udfff]([^\x00-\x1f\x7f\ud800-\udfff]*[^\x00-\x20\x7f\ud800-\udfff])?"


class InvalidPayment(ValueError):
    """The request is no payment; the text names the field and what it may be."""


@dataclass(frozen=True)
class Payment:
    """So many cents for one invoice; what the payer wrote about it."""

    invoice: int
    cents: int
    reference: str


def parse(document):
    """Returns the payment that a decoded JSON document describes, or raises InvalidPayment."""
    names = ("invoice", "amount", "reference")
    if not isinstance(document, dict):
        raise InvalidPayment("payment: a JSON object")
    for name in sorted(set(document) - set(names)):
        raise InvalidPayment(f"payment: unknown field {name}")
    for name in names:
        if name not in document:
            raise InvalidPayment(f"payment: field {name} is missing")
    invoice, amount, reference = (document[name] for name in names)
    # In Python a bool is an int; in a payment it is not.
    if isinstance(invoice, bool) or not isinstance(invoice, int) or not 1 <= invoice <= INVOICE_AT_MOST:
        raise InvalidPayment(f"invoice: a whole number from 1 to {INVOICE_AT_MOST}")
    if not isinstance(amount, str) or not re.fullmatch(r"[0-9]{1,15}\.[0-9]{2}", amount) or cents(amount) == 0:
        raise InvalidPayment('amount: a string such as "19.90", more than nothing')
    if not isinstance(reference, str) or len(reference) > 140 or not re.fullmatch(TEXT, reference):
        raise InvalidPayment("reference: a text of 1 to 140 characters")
    return Payment(invoice, cents(amount), reference)


def cents(amount):
    """Returns the cents of an amount with exactly two decimals."""
    whole, _, part = amount.partition(".")
    return int(whole) * 100 + int(part)


def money(number):
    return f"{number // 100}.{number % 100:02}"
