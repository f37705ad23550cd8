"""Keeps invoices in SQLite; numbers start at 1 and have no gaps."""

import json
import sqlite3
import threading


class Store:
    """One connection, used by one thread at a time."""

    def __init__(self, path):
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)
        self._connection.execute("CREATE TABLE IF NOT EXISTS invoice (number INTEGER PRIMARY KEY, document TEXT NOT NULL)")

    def add(self, invoice):
        """Returns the number that the invoice was given."""
        with self._lock:
            cursor = self._connection.execute(
                "INSERT INTO invoice SELECT COALESCE(MAX(number), 0) + 1, ? FROM invoice",
                (json.dumps(invoice.to_json()),),
            )
            return cursor.lastrowid

    def get(self, number):
        """Returns the invoice's document, or None."""
        with self._lock:
            row = self._connection.execute("SELECT document FROM invoice WHERE number = ?", (number,)).fetchone()
        return None if row is None else {"number": number, **json.loads(row[0])}

    def newest(self, count):
        with self._lock:
            rows = self._connection.execute(
                "SELECT number, document FROM invoice ORDER BY number DESC LIMIT ?", (count,)
            ).fetchall()
        return [{"number": number, **json.loads(document)} for number, document in rows]

    def close(self):
        self._connection.close()
