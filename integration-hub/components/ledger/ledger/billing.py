"""The other component: what the ledger asks of billing. `contracts/expectations.json` names each field."""

import json
import urllib.error
import urllib.request
from dataclasses import dataclass

from ledger.payment import cents

ANSWER_AT_MOST = 1024 * 1024


class BillingAway(Exception):
    """Billing gave no usable answer; the text says which."""


@dataclass(frozen=True)
class Invoice:
    number: int
    currency: str
    gross_cents: int


class Billing:
    """Billing's API, at its base URL."""

    def __init__(self, url, timeout=5):
        self._url, self._timeout = url.rstrip("/"), timeout

    def invoice(self, number):
        """Returns the invoice, or None where billing has none of this number."""
        try:
            with urllib.request.urlopen(f"{self._url}/invoices/{number}", timeout=self._timeout) as response:
                document = json.loads(response.read(ANSWER_AT_MOST))
        except urllib.error.HTTPError as answer:
            if answer.code == 404:
                return None
            raise BillingAway(f"billing answers {answer.code}") from answer
        except (OSError, ValueError) as failure:
            raise BillingAway(f"billing gives no answer: {failure}") from failure
        try:
            return Invoice(document["number"], document["currency"], cents(document["gross"]))
        except KeyError as missing:
            raise BillingAway(f"billing's invoice has no field {missing.args[0]}") from missing
        except (TypeError, ValueError) as failure:
            raise BillingAway(f"billing's invoice is none: {failure}") from failure
