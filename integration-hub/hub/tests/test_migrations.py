"""What the one-shot services did to the database before the components started."""

import psycopg2
import pytest
from stack import KEEPERS, database_url

SCHEMA = """
    SELECT table_name, column_name, data_type, is_nullable, COALESCE(column_default, '') FROM information_schema.columns
     WHERE table_schema = current_schema() AND table_name NOT IN ('rehearsal', 'schema_migration')
    UNION ALL
    SELECT tablename, indexname, indexdef, '', '' FROM pg_indexes
     WHERE schemaname = current_schema() AND tablename NOT IN ('rehearsal', 'schema_migration')
    UNION ALL
    SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), '', '' FROM pg_constraint
     WHERE connamespace = current_schema()::regnamespace
       AND conrelid::regclass::text NOT IN ('rehearsal', 'schema_migration')
     ORDER BY 1, 2, 3
"""


def rows(keeper, database, sql):
    connection = psycopg2.connect(database_url(keeper, database), connect_timeout=10)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()
    finally:
        connection.close()


def applied(keeper, database):
    return [name for name, in rows(keeper, database, "SELECT name FROM schema_migration ORDER BY name")]


@pytest.mark.parametrize("keeper", KEEPERS)
def test_every_migration_went_up_back_and_up_again(keeper):
    trail = rows(keeper, "rehearsal", "SELECT migration, direction FROM rehearsal ORDER BY step")
    names = applied(keeper, "rehearsal")
    assert names, f"{keeper} has no migration"
    for name in names:
        ways = [way for step, way in trail if step == name]
        assert ways[:3] == ["up", "down", "up"], f"{name}: {ways}"
        assert ways[-1] == "up", f"{name}: {ways}"


@pytest.mark.parametrize("keeper", KEEPERS)
def test_the_platform_has_the_schema_that_was_rehearsed(keeper):
    assert applied(keeper, "platform") == applied(keeper, "rehearsal")
    found, rehearsed = rows(keeper, "platform", SCHEMA), rows(keeper, "rehearsal", SCHEMA)
    assert found, f"{keeper} has no table"
    assert found == rehearsed


@pytest.mark.parametrize("keeper", KEEPERS)
def test_nobody_reads_what_is_anothers(keeper):
    for other in set(KEEPERS) - {keeper}:
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            rows(keeper, "platform", f"SELECT * FROM {other}.schema_migration")
