"""The platform as a customer sees it: what one component writes, the others show."""

import pytest
from stack import PROVIDERS, ask, call

INVOICE = {
    "customer": "Interoperability",
    "currency": "EUR",
    "lines": [{"text": "Valve", "quantity": 3, "price": "19.90", "vat": "19"}],
}


@pytest.fixture
def number():
    status, created = call("billing", "POST", "/invoices", INVOICE)
    assert status == 201, created
    return created["number"]


def pay(number, amount):
    return call("ledger", "POST", "/payments", {"invoice": number, "amount": amount, "reference": "interoperability"})


def paid(number, amount):
    status, booked = pay(number, amount)
    assert status == 201, f"ledger answers a payment with {status}: {booked}"
    return booked


@pytest.mark.parametrize("service", PROVIDERS)
def test_every_component_is_well(service):
    assert ask(service, "/health")["status"] == "ok"


def test_a_new_invoice_is_open_everywhere(number):
    account = ask("ledger", f"/accounts/{number}")
    assert (account["owed"], account["paid"], account["open"]) == ("71.04", "0.00", "71.04")
    assert ask("gateway", f"/statements/{number}") == {
        "number": number, "customer": "Interoperability", "currency": "EUR",
        "gross": "71.04", "paid": "0.00", "open": "71.04", "settled": False,
    }


def test_payments_settle_an_invoice(number):
    assert paid(number, "50.00")["open"] == "21.04"
    assert not ask("gateway", f"/statements/{number}")["settled"]
    assert paid(number, "21.04")["open"] == "0.00"
    statement = ask("gateway", f"/statements/{number}")
    assert (statement["paid"], statement["open"], statement["settled"]) == ("71.04", "0.00", True)


def test_nobody_pays_more_than_is_open(number):
    status, refusal = pay(number, "71.05")
    assert (status, refusal) == (409, {"error": "amount: only 71.04 is open"})
    assert ask("ledger", f"/accounts/{number}")["payments"] == []


def test_what_billing_does_not_have_is_nowhere():
    missing = 999_999_999_999_999_999
    assert call("billing", "GET", f"/invoices/{missing}")[0] == 404
    assert pay(missing, "1.00")[0] == 404
    assert call("gateway", "GET", f"/statements/{missing}")[0] == 404
