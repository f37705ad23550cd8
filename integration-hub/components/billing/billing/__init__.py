"""Invoices with exact totals, kept in SQLite and served as JSON over HTTP."""
