"""Where the stack's services answer, and how the tests talk to them."""

import json
import os
import urllib.error
import urllib.request

PROVIDERS = ("billing", "ledger", "gateway")
CONSUMERS = ("ledger", "gateway")
# The components that keep something, each as the owner of its own schema.
KEEPERS = ("billing", "ledger")
ANSWER_AT_MOST = 4 * 1024 * 1024


def url(service):
    return os.environ.get(f"{service.upper()}_URL", f"http://{service}:8080")


def database_url(keeper, database):
    return f"postgresql://{keeper}:{keeper}@{os.environ.get('POSTGRES_HOST', 'postgres')}/{database}"


def call(service, method, path, document=None):
    """Returns the status and the decoded answer."""
    body = None if document is None else json.dumps(document).encode()
    headers = {} if body is None else {"Content-Type": "application/json"}
    request = urllib.request.Request(url(service) + path, body, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status, json.loads(response.read(ANSWER_AT_MOST))
    except urllib.error.HTTPError as answer:
        return answer.code, json.loads(answer.read(ANSWER_AT_MOST))


def ask(service, path):
    """Returns the answer to a GET that has to succeed."""
    status, document = call(service, "GET", path)
    assert status == 200, f"{service} answers GET {path} with {status}: {document}"
    return document
