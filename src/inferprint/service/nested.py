"""Spans of one trace that come in several exports: each call counts once, whatever comes first or comes again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import msgspec
from sqlalchemy import Connection, select

from inferprint.service.tables import USAGE
from inferprint.usage.opentelemetry import Nesting, Span, Tokens

SOURCE = "/v1/traces"
"""What the ledger says of the rows of spans."""

MOST_KNOWN = 100_000
"""Rows of the traces of one export that are looked at, the newest ones."""

_AT_ONCE = 500

Decision = Literal["counts", "repeats", "between", "nothing"]
"""A call that counts, one that another span tells too, a span without a call that lies between those, any other."""


@dataclass(frozen=True, slots=True)
class Told:
    """A span of an export as far as nesting goes: its call's tokens and the id of its answer, where it has them."""

    span: Span
    request_id: str
    tokens: Tokens | None = None
    response_id: str | None = None


class _Stored(msgspec.Struct):
    """A row of the ledger as far as nesting goes."""

    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    response_id: str | None = None
    model_id: str | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None


_STORED = msgspec.json.Decoder(_Stored)


@dataclass(frozen=True, slots=True)
class Known:
    """A span that is in the ledger already."""

    told: Told
    decision: Decision


def known_of(connection: Connection, owner_id: int, traces: Iterable[str]) -> list[Known]:
    """The spans of traces that the ledger has of an owner."""
    wanted = sorted(set(traces))
    found: list[Known] = []
    for first in range(0, len(wanted), _AT_ONCE):
        chosen = (
            select(USAGE.c.request_id, USAGE.c.outcome, USAGE.c.request)
            .where(USAGE.c.owner_id == owner_id, USAGE.c.trace_id.in_(wanted[first : first + _AT_ONCE]))
            .where(USAGE.c.source == SOURCE)
            .order_by((USAGE.c.id + 0).desc())  # of the index by id, SQLite would read all rows of the owner
            .limit(MOST_KNOWN)
        )
        found += [_known(row.request_id, row.outcome, row.request) for row in connection.execute(chosen)]
    return found


def _known(request_id: str, outcome: str, request: str) -> Known:
    row = _STORED.decode(request)
    span = Span(trace_id=row.trace_id, span_id=row.span_id, parent_span_id=row.parent_span_id)
    tokens = (row.input_tokens or 0.0, row.output_tokens or 0.0)
    if outcome != "merged":
        return Known(Told(span, request_id, tokens, row.response_id), "counts")
    if sum(tokens) == 0 and row.response_id is None:
        return Known(Told(span, request_id), "between")
    return Known(Told(span, request_id, tokens, row.response_id), "repeats")


def decided(spans: Sequence[Told], known: Sequence[Known]) -> list[Decision]:
    """What to do with each span, which are in the order of `inner_first`, after those that are known.

    What was decided once stays, so that a span that is sent again changes nothing.
    """
    nesting = Nesting()
    before: dict[str, Decision] = {}
    answers: set[str] = set()
    nesting.load((one.told.span, one.told.tokens) for one in known)
    for one in known:
        before[one.told.request_id] = one.decision
        answers.update(_answer(one.told))
    found = []
    for told in spans:
        decision = before.get(told.request_id)
        if decision is None:
            decision = _decide(told, nesting, answers)
            before[told.request_id] = decision
        found.append(decision)
    return found


def _decide(told: Told, nesting: Nesting, answers: set[str]) -> Decision:
    place = nesting.place(told.span, told.tokens)
    if told.tokens is None:
        return "between" if place == "between" else "nothing"
    answer = _answer(told)
    repeats = place == "repeat" or not answers.isdisjoint(answer)
    answers.update(answer)
    return "repeats" if repeats else "counts"


def _answer(told: Told) -> list[str]:
    """The answer of a call within its trace: small servers number theirs from 1."""
    return [] if told.response_id is None else [f"{told.span.trace_id}/{told.response_id}"]
