"""Runs all parts of the integration test; a part that fails does not keep the others from running."""

import json
import os
import subprocess
import sys
from pathlib import Path

from stack import PROVIDERS, ask, url

REPORTS = Path("reports")
# With the same seed the same requests are made: what was green stays green until something changes.
SEED = "20260105"
EXAMPLES = "25"


def pytest(name):
    return [
        sys.executable, "-B", "-m", "pytest", "--quiet", "--no-header", "--tb=short", "-p", "no:cacheprovider",
        f"--junitxml={REPORTS}/{name}.xml", "-o", f"junit_suite_name={name}", f"tests/test_{name}.py",
    ]


def schemathesis(provider, document):
    return [
        sys.executable, "-B", "-m", "schemathesis.cli", "--no-color", "run", str(document), f"--url={url(provider)}",
        "--phases=examples,coverage,fuzzing", f"--seed={SEED}", f"--max-examples={EXAMPLES}", "--workers=1",
        "--generation-database=none", "--request-timeout=10", "--max-failures=20",
        "--report=junit", f"--report-junit-path={REPORTS}/contract-{provider}.xml",
    ]


def documents():
    """Writes each provider's document, as it is served, to where the JUnit reports are."""
    for provider in PROVIDERS:
        path = REPORTS / f"{provider}-openapi.json"
        path.write_text(json.dumps(ask(provider, "/openapi.json"), indent=2))
        yield provider, path


def main():
    REPORTS.mkdir(exist_ok=True)
    parts = [(name, pytest(name)) for name in ("comparison", "migrations", "expectations", "interoperability")]
    parts += [(f"contract of {provider}", schemathesis(provider, path)) for provider, path in documents()]
    failed = []
    for name, command in parts:
        print(f"\n== {name}", flush=True)
        if subprocess.run(command, env={**os.environ, "PYTHONPATH": "tests", "PYTHONDONTWRITEBYTECODE": "1"}).returncode != 0:
            failed.append(name)
    print(f"\n== failed: {', '.join(failed)}" if failed else f"\n== all {len(parts)} parts passed", flush=True)
    return 1 if failed else 0


sys.exit(main())
