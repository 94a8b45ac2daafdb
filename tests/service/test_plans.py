"""How SQLite finds rows of usage: by an index that has them in order, without sorting all rows of an owner."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import event
from tests.service.databases import caller, parts_on, row

from inferprint.service import nested
from inferprint.service.export import exported
from inferprint.service.usage_queries import listed, unestimated

QUESTIONS = (
    {},
    {"project_id": "support"},
    {"from": "2026-09-01"},
    {"from": "2026-09-01", "to": "2026-09-30"},
    {"month": "2026-09"},
    {"day": "2026-09-01"},
    {"outcome": "estimated"},
    {"trace_id": "t"},
)


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    with parts_on(f"sqlite:///{tmp_path_factory.mktemp('plans')}/x.db") as made:
        asyncio.run(made.ledger.keep(caller(), made.outcomes([row(1)]), source="test"))
        yield made


def plans(parts, work):
    """The plan of each statement on usage that a piece of work makes."""
    found = []

    def note(connection, _cursor, statement, parameters, *_further):
        if "FROM usage" in statement and not statement.startswith("EXPLAIN"):
            found.append((statement, parameters))

    event.listen(parts.database._engine, "before_cursor_execute", note)
    try:
        work()
    finally:
        event.remove(parts.database._engine, "before_cursor_execute", note)
    assert found
    with parts.database.begin(write=False) as connection:
        return [
            " ".join(step[3] for step in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters))
            for statement, parameters in found
        ]


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("cursor", [{}, {"cursor": 100}])
def test_rows_are_listed_in_the_order_of_an_index(parts, question, cursor):
    for plan in plans(parts, lambda: listed(parts.database, caller(), {**question, **cursor})):
        assert "USING INDEX ix_usage_owner_id" in plan
        assert "TEMP B-TREE" not in plan


@pytest.mark.parametrize("question", QUESTIONS)
def test_rows_are_exported_in_the_order_of_an_index(parts, question):
    for plan in plans(parts, lambda: exported(parts.ledger, caller(), question).close()):
        assert "USING INDEX ix_usage_owner_id" in plan
        assert "TEMP B-TREE" not in plan


def test_what_could_not_be_estimated_is_found_by_its_index(parts):
    (plan,) = plans(parts, lambda: unestimated(parts.database, 1, 0))
    assert "ix_usage_owner_id_outcome" in plan
    assert "TEMP B-TREE" not in plan


def test_traces_are_found_by_their_index(parts):
    def look():
        with parts.database.begin(write=False) as connection:
            nested.known_of(connection, 1, ["a", "b"])

    (plan,) = plans(parts, look)
    assert "ix_usage_owner_id_trace_id" in plan
