"""Each consumer's expectations against the documents of the providers that stand in the stack now.

Both come from the running services, so they are those of the very images under test.
"""

import pytest
from expectations import mistakes
from stack import CONSUMERS, PROVIDERS, ask


@pytest.mark.parametrize("consumer", CONSUMERS)
def test_the_providers_offer_what_the_consumer_expects(consumer):
    expected = ask(consumer, "/expectations.json")
    assert expected["consumer"] == consumer
    assert expected["providers"], f"{consumer} names no provider"
    found = []
    for provider, operations in expected["providers"].items():
        assert provider in PROVIDERS, f"{consumer} expects something of {provider}, which is not in the stack"
        assert operations, f"{consumer} names no operation of {provider}"
        found += mistakes(consumer, provider, operations, ask(provider, "/openapi.json"))
    if found:
        pytest.fail("\n".join(found), pytrace=False)
