"""Runs the service until SIGTERM: `python3 -m ledger`; or the migrations: `python3 -m ledger migrate up`.

`migrate up` applies what is missing, `migrate down TO` goes back until TO migrations are left (default
none), `migrate rehearse` goes up, back and up again in a scratch database.
"""

import os
import signal
import sys
import threading
from pathlib import Path

from ledger.billing import Billing
from ledger.database import DatabaseAway, connect
from ledger.migrate import MigrationFailed, applied, load, migrate, rehearse
from ledger.service import Service
from ledger.store import Store


def serve():
    version = (Path(__file__).parent.parent / "VERSION").read_text().strip()
    url = os.environ.get("LEDGER_DATABASE_URL")
    database = connect(url or os.environ.get("LEDGER_DATABASE", ":memory:"))
    if url:
        # Several services may share this database: changing it is a step of its own.
        missing = [migration.name for migration in load() if migration.name not in applied(database)]
        if missing:
            raise MigrationFailed(f"the database lacks {', '.join(missing)}: run `python3 -m ledger migrate up`")
    else:
        migrate(database, len(load()))
    billing = Billing(os.environ.get("LEDGER_BILLING_URL", "http://billing:8080"))
    service = Service(("", int(os.environ.get("LEDGER_PORT", "8080"))), Store(database), billing, version)
    # shutdown() waits for the loop below, so it may not run in the signal's own frame.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=service.shutdown).start())
    print(f"ledger {version} listens on port {service.server_address[1]}")
    service.serve_forever()
    database.close()


def change_schema(direction, to="0"):
    database = connect(os.environ["LEDGER_DATABASE_URL"])
    if direction == "rehearse":
        done = rehearse(database)
    else:
        done = migrate(database, len(load()) if direction == "up" else int(to))
    for name, way in done:
        print(f"{name} {way}")
    print(f"{len(applied(database))} migrations applied")


def main(arguments):
    try:
        if not arguments:
            serve()
        elif arguments[0] == "migrate" and arguments[1:2] in (["up"], ["down"], ["rehearse"]):
            change_schema(*arguments[1:])
        else:
            return __doc__
    except (DatabaseAway, MigrationFailed) as failure:
        return f"ledger: {failure}"


sys.exit(main(sys.argv[1:]))
