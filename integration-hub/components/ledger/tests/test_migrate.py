"""The migrations, and what is refused about them; on SQLite here, on PostgreSQL in the integration hub."""

import tempfile
import unittest
from pathlib import Path

from ledger.database import connect
from ledger.migrate import MigrationFailed, applied, load, migrate, rehearse


class MigrationTest(unittest.TestCase):
    def setUp(self):
        self.database = connect(":memory:")
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))

    def tearDown(self):
        self.database.close()

    def migrations(self, **files):
        for name, text in files.items():
            (self.folder / f"{name.replace('__', '.')}.sql").write_text(text)
        return load(self.folder)

    def test_goes_up_and_back_and_up_again(self):
        everything = [migration.name for migration in load()]
        trail = rehearse(self.database)
        for name in everything:
            self.assertEqual([way for step, way in trail if step == name][:3], ["up", "down", "up"])
        self.assertEqual(applied(self.database), everything)

    def test_a_second_run_has_nothing_to_do(self):
        self.assertEqual(len(migrate(self.database, len(load()))), len(load()))
        self.assertEqual(migrate(self.database, len(load())), [])

    def test_refuses_a_gap(self):
        with self.assertRaisesRegex(MigrationFailed, "0002_b: expected number 0001"):
            self.migrations(**{"0002_b__up": "SELECT 1;", "0002_b__down": "SELECT 1;"})

    def test_refuses_a_migration_without_a_way_back(self):
        with self.assertRaisesRegex(MigrationFailed, "0001_a.down.sql is missing"):
            self.migrations(**{"0001_a__up": "SELECT 1;"})

    def test_one_that_fails_half_way_leaves_nothing(self):
        broken = self.migrations(**{"0001_a__up": "CREATE TABLE a (b TEXT);\nCREATE TABLE a (b TEXT);", "0001_a__down": "DROP TABLE a;"})
        with self.assertRaisesRegex(MigrationFailed, "0001_a up: table a already exists"):
            migrate(self.database, 1, broken)
        self.assertEqual(applied(self.database), [])
        with self.database.transaction() as execute:
            execute("CREATE TABLE a (b TEXT)")

    def test_a_rehearsal_notices_a_way_back_that_is_none(self):
        broken = self.migrations(**{"0001_a__up": "CREATE TABLE a (b TEXT);\nCREATE TABLE c (d TEXT);", "0001_a__down": "DROP TABLE a;"})
        with self.assertRaisesRegex(MigrationFailed, "0001_a down does not undo its way up: .*TABLE c"):
            rehearse(self.database, broken)

    def test_a_rehearsal_notices_what_rows_stand_in_the_way_of(self):
        broken = self.migrations(**{
            "0001_a__up": "CREATE TABLE a (b TEXT);", "0001_a__down": "DROP TABLE a;", "0001_a__sample": "INSERT INTO a VALUES (NULL);",
            "0002_b__up": "CREATE TABLE b (c TEXT NOT NULL);\nINSERT INTO b SELECT b FROM a;", "0002_b__down": "DROP TABLE b;"})
        with self.assertRaisesRegex(MigrationFailed, "0002_b up: NOT NULL constraint failed"):
            rehearse(self.database, broken)

    def test_refuses_a_database_that_is_ahead(self):
        migrate(self.database, len(load()))
        with self.assertRaisesRegex(MigrationFailed, "this version knows"):
            migrate(self.database, 0, load()[:1])
