"""The whole API against its own description, by Schemathesis: no 5xx, nothing outside the schema."""

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, settings
from schemathesis.specs.openapi.checks import (
    ignored_auth,
    negative_data_rejection,
    positive_data_acceptance,
    unsupported_method,
)
from tests.service.server_here import key, serving

EXAMPLES = 25

OTHERWISE = [
    positive_data_acceptance,  # names of models and services are a matter of the catalogue, not of the schema
    unsupported_method,  # "0/alias" may be the id of a model: GET /model/0/alias is one of that model
    ignored_auth,  # many wrong keys in a row get 429; tests of their own hold keys to it
]
"""Checks that ask for something else than is meant here."""


@schemathesis.serializer("application/x-protobuf")
def as_it_is(context, value):
    """Binary bodies are generated as bytes."""
    return value


schema = schemathesis.openapi.from_path("docs/openapi.json")


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    """Where to ask, and with which headers."""
    database = str(tmp_path_factory.mktemp("schema") / "ledger.db")
    token = key(database, "tester", ["admin"])
    with serving(database, "--requests-per-minute", "0") as server:
        yield {"base_url": server.url, "headers": {"Authorization": f"Bearer {token}"}}
    traced = [line for line in server.said if "Traceback" in line]
    assert not traced, traced[0]


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.generate],
)
def test_every_answer_is_as_described(case, asked):
    excluded = OTHERWISE if sent_as_made(case) else [*OTHERWISE, negative_data_rejection]
    case.call_and_validate(**asked, excluded_checks=excluded)


def sent_as_made(case) -> bool:
    """Whether what makes a case wrong is sent: the key is always added, and empty parameters are never sent."""
    return "Authorization" in (case.headers or {}) and all(value not in ([], {}, None) for value in case.query.values())
