"""Keeps payments and what each invoice has been paid so far; the two always agree."""


class Overpaid(Exception):
    """The payment is more than what is open; nothing was booked."""

    def __init__(self, open_cents):
        super().__init__(open_cents)
        self.open_cents = open_cents


class Store:
    """Payments in a database whose schema is up to date."""

    def __init__(self, database):
        self._database = database

    def book(self, payment, owed_cents):
        """Books a payment for an invoice of so many cents; returns its number and what is paid now."""
        with self._database.transaction() as execute:
            # Two payments at once may not both see the same open amount.
            self._database.lock(execute, "payment")
            paid = self._paid(execute, payment.invoice)
            if paid + payment.cents > owed_cents:
                raise Overpaid(owed_cents - paid)
            [(number,)] = execute(
                "INSERT INTO payment (number, invoice, cents, reference)"
                " SELECT COALESCE(MAX(number), 0) + 1, CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS TEXT)"
                " FROM payment RETURNING number",
                payment.invoice, payment.cents, payment.reference,
            )
            execute(
                "INSERT INTO account (invoice, paid_cents) VALUES (?, ?)"
                " ON CONFLICT (invoice) DO UPDATE SET paid_cents = account.paid_cents + excluded.paid_cents",
                payment.invoice, payment.cents,
            )
        return number, paid + payment.cents

    def account(self, invoice):
        """Returns what is paid and the payments as (number, cents, reference), oldest first."""
        with self._database.transaction() as execute:
            return self._paid(execute, invoice), execute(
                "SELECT number, cents, reference FROM payment WHERE invoice = ? ORDER BY number", invoice)

    @staticmethod
    def _paid(execute, invoice):
        rows = execute("SELECT paid_cents FROM account WHERE invoice = ?", invoice)
        return rows[0][0] if rows else 0

    def ping(self):
        """Raises DatabaseAway when there is nobody to keep anything."""
        with self._database.transaction() as execute:
            execute("SELECT 1")
