"""Schema migrations: numbered SQL files, each with its way back.

`NNNN_name.up.sql` and `NNNN_name.down.sql` belong together; `NNNN_name.sample.sql` is optional and
fills the tables in a rehearsal. A statement ends with `;` at the end of a line, and each migration
is one transaction, so that one that fails half way leaves nothing behind.
"""

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent / "migrations"


class MigrationFailed(Exception):
    """The text says which migration and what is wrong with it."""


@dataclass(frozen=True)
class Migration:
    name: str
    up: tuple
    down: tuple
    sample: tuple


def load(folder=FOLDER):
    """Returns all migrations in order; a gap or a missing way back is an error."""
    migrations = []
    for number, path in enumerate(sorted(folder.glob("*.up.sql")), start=1):
        name = path.name.removesuffix(".up.sql")
        if not name.startswith(f"{number:04}_"):
            raise MigrationFailed(f"{name}: expected number {number:04}")
        back = folder / f"{name}.down.sql"
        if not back.is_file():
            raise MigrationFailed(f"{name}: {back.name} is missing")
        sample = folder / f"{name}.sample.sql"
        migrations.append(Migration(name, statements(path), statements(back), statements(sample) if sample.is_file() else ()))
    return migrations


def statements(path):
    return tuple(part.strip() for part in re.split(r";\s*$", path.read_text(), flags=re.MULTILINE) if part.strip())


def applied(database):
    """Returns the names of the migrations that the database has, in order."""
    with database.transaction() as execute:
        execute("CREATE TABLE IF NOT EXISTS schema_migration (name TEXT PRIMARY KEY)")
        return [name for name, in execute("SELECT name FROM schema_migration ORDER BY name")]


def migrate(database, target, migrations=None):
    """Goes up or back until exactly the first `target` migrations are applied; returns what it did."""
    migrations = load() if migrations is None else migrations
    names = [migration.name for migration in migrations]
    have = applied(database)
    if have != names[:len(have)]:
        raise MigrationFailed(f"the database has {', '.join(have)}; this version knows {', '.join(names)}")
    done = []
    for migration in migrations[len(have):target]:
        run(database, migration, "up")
        done.append((migration.name, "up"))
    for migration in reversed(migrations[target:len(have)]):
        run(database, migration, "down")
        done.append((migration.name, "down"))
    return done


def run(database, migration, direction):
    record = "INSERT INTO schema_migration VALUES (?)" if direction == "up" else "DELETE FROM schema_migration WHERE name = ?"
    try:
        with database.transaction() as execute:
            for statement in getattr(migration, direction):
                execute(statement)
            execute(record, migration.name)
    except Exception as failure:
        raise MigrationFailed(f"{migration.name} {direction}: {failure}") from failure


def rehearse(database, migrations=None):
    """Goes up, back and up again through every migration of a scratch database, with sample rows in it.

    After a way back the schema must be what it was before the way up, and the second way up must
    lead to the same place as the first. Each step is recorded in the table `rehearsal`.
    """
    migrations = load() if migrations is None else migrations
    migrate(database, 0, migrations)
    with database.transaction() as execute:
        execute("DROP TABLE IF EXISTS rehearsal")
        execute("CREATE TABLE rehearsal (step INTEGER PRIMARY KEY, migration TEXT NOT NULL, direction TEXT NOT NULL)")
    trail = []

    def go(target):
        done = migrate(database, target, migrations)
        with database.transaction() as execute:
            for name, direction in done:
                trail.append((name, direction))
                execute("INSERT INTO rehearsal VALUES (?, ?, ?)", len(trail), name, direction)
            return database.schema(execute)

    def same(found, expected, words):
        if found != expected:
            difference = sorted(set(found) ^ set(expected))
            raise MigrationFailed(f"{words}: {'; '.join(difference)}")

    empty = go(0)
    reached = [empty]
    for count, migration in enumerate(migrations, start=1):
        top = go(count)
        with database.transaction() as execute:
            for statement in migration.sample:
                execute(statement)
        same(go(count - 1), reached[-1], f"{migration.name} down does not undo its way up")
        same(go(count), top, f"{migration.name} up leads elsewhere the second time")
        with database.transaction() as execute:
            for statement in migration.sample:
                execute(statement)
        reached.append(top)
    same(go(0), empty, "the way back to nothing leaves something")
    same(go(len(migrations)), reached[-1], "the way up again leads elsewhere")
    return trail
