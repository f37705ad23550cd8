"""Runs the service until SIGTERM."""

import os
import signal
import threading
from pathlib import Path

from billing.service import Service
from billing.store import Store


def main():
    version = (Path(__file__).parent.parent / "VERSION").read_text().strip()
    store = Store(os.environ.get("BILLING_DATABASE", ":memory:"))
    service = Service(("", int(os.environ.get("BILLING_PORT", "8080"))), store, version)
    # shutdown() waits for the loop below, so it may not run in the signal's own frame.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=service.shutdown).start())
    print(f"billing {version} listens on port {service.server_address[1]}")
    service.serve_forever()
    store.close()


main()
