"""Keeps invoices; numbers start at 1 and have no gaps."""

import json


class Store:
    """Invoices in a database whose schema is up to date."""

    def __init__(self, database):
        self._database = database

    def add(self, invoice):
        """Returns the number that the invoice was given."""
        with self._database.transaction() as execute:
            # A sequence would leave a gap where a transaction did not succeed.
            self._database.lock(execute, "invoice")
            [(number,)] = execute(
                "INSERT INTO invoice (number, customer, document)"
                " SELECT COALESCE(MAX(number), 0) + 1, CAST(? AS TEXT), CAST(? AS TEXT) FROM invoice RETURNING number",
                invoice.customer, json.dumps(invoice.to_json()),
            )
        return number

    def get(self, number):
        """Returns the invoice's document, or None."""
        with self._database.transaction() as execute:
            rows = execute("SELECT number, document FROM invoice WHERE number = ?", number)
        return document(*rows[0]) if rows else None

    def newest(self, count, customer=None):
        """Returns the documents of the newest invoices, of one customer or of all."""
        with self._database.transaction() as execute:
            rows = execute(
                "SELECT number, document FROM invoice WHERE customer = ? ORDER BY number DESC LIMIT ?", customer, count,
            ) if customer is not None else execute(
                "SELECT number, document FROM invoice ORDER BY number DESC LIMIT ?", count)
        return [document(*row) for row in rows]

    def ping(self):
        """Raises DatabaseAway when there is nobody to keep anything."""
        with self._database.transaction() as execute:
            execute("SELECT 1")

    def close(self):
        self._database.close()


def document(number, text):
    return {"number": number, **json.loads(text)}
