"""Runs all parts of the integration test; a part that fails does not keep the others from running."""

import json
import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from stack import PROVIDERS, ask, url

REPORTS = Path("reports")
# With the same seed the same requests are made: what was green stays green until something changes.
SEED = "20260105"
EXAMPLES = "25"
REASON_AT_MOST = 400


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


def reasons(report):
    """Returns the first words of each failure in a JUnit report."""
    if not report.is_file():
        return []
    found = []
    for case in ElementTree.parse(report).iter("testcase"):
        for failure in (*case.iter("failure"), *case.iter("error")):
            words = failure.get("message") or ""
            if " " not in words:
                # A bare code of schemathesis; what it stands for is in the text.
                words = f"{words}\n{failure.text or ''}"
            lines = [line.strip() for line in words.splitlines() if line.strip()]
            found.append(f"{case.get('name')}: {' '.join(lines)[:REASON_AT_MOST]}")
    return found


def main():
    REPORTS.mkdir(exist_ok=True)
    parts = [(name, name, pytest(name)) for name in ("comparison", "migrations", "expectations", "interoperability")]
    parts += [(f"contract of {provider}", f"contract-{provider}", schemathesis(provider, path)) for provider, path in documents()]
    environment = {**os.environ, "PYTHONPATH": "tests", "PYTHONDONTWRITEBYTECODE": "1"}
    failed = []
    for title, report, command in parts:
        print(f"\n== {title}", flush=True)
        if subprocess.run(command, env=environment).returncode != 0:
            failed.append((title, REPORTS / f"{report}.xml"))
    if not failed:
        print(f"\n== all {len(parts)} parts passed")
        return 0
    print(f"\n== {len(failed)} of {len(parts)} parts failed")
    for title, report in failed:
        print(f"{title}:")
        for reason in reasons(report) or ["it did not come to an end; see above"]:
            print(f"  - {reason}")
    return 1


sys.exit(main())
