"""PostgreSQL where the service runs for others, SQLite for one process and for unit tests."""

import sqlite3
import threading
from contextlib import contextmanager


class DatabaseAway(Exception):
    """The database can't be reached; the same request may succeed later."""


def connect(url):
    """Opens `postgresql://…`, or else an SQLite file or `:memory:`."""
    return Postgres(url) if url.startswith(("postgresql://", "postgres://")) else Sqlite(url)


class Sqlite:
    """One connection, used by one thread at a time."""

    def __init__(self, path):
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, check_same_thread=False, isolation_level=None)

    @contextmanager
    def transaction(self):
        """Gives `execute(sql, *values)`, which returns the rows; `?` stands for a value."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield lambda sql, *values: self._connection.execute(sql, values).fetchall()
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def lock(self, execute, table):
        """Keeps other writers out until the transaction ends; here they are out already."""

    def schema(self, execute):
        """Describes tables, columns and indexes, for comparison."""
        return [" ".join(row) for row in execute(
            "SELECT type, name, tbl_name, COALESCE(sql, '') FROM sqlite_master ORDER BY type, name")]

    def close(self):
        self._connection.close()


class Postgres:
    """One connection, used by one thread at a time, opened again after it was lost."""

    def __init__(self, url):
        # Only where there is such a server is its driver needed.
        import psycopg2

        self._driver = psycopg2
        self._url = url
        self._lock = threading.Lock()
        self._connection = None

    @contextmanager
    def transaction(self):
        with self._lock:
            try:
                if self._connection is None:
                    self._connection = self._driver.connect(self._url, connect_timeout=5)
                with self._connection, self._connection.cursor() as cursor:
                    yield lambda sql, *values: self._rows(cursor, sql, values)
            except (self._driver.OperationalError, self._driver.InterfaceError) as lost:
                self.close()
                raise DatabaseAway(str(lost).strip()) from lost

    @staticmethod
    def _rows(cursor, sql, values):
        cursor.execute(sql.replace("?", "%s"), values or None)
        return cursor.fetchall() if cursor.description else []

    def lock(self, execute, table):
        execute(f"LOCK TABLE {table} IN EXCLUSIVE MODE")

    def schema(self, execute):
        columns = execute(
            "SELECT table_name, column_name, data_type, is_nullable, COALESCE(column_default, '')"
            " FROM information_schema.columns WHERE table_schema = current_schema() ORDER BY table_name, column_name")
        indexes = execute("SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = current_schema() ORDER BY indexname")
        constraints = execute(
            "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE connamespace = current_schema()::regnamespace ORDER BY conname")
        return [" ".join(row) for row in (*columns, *indexes, *constraints)]

    def close(self):
        if self._connection is not None:
            self._connection.close()
            self._connection = None
