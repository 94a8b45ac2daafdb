"""`POST /v1/traces`: traces of OpenTelemetry over HTTP, as OTLP 1 says."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from fastapi.responses import Response
from sqlalchemy import Connection

from inferprint.service.bodies import check_type, errors
from inferprint.service.caller import Caller
from inferprint.service.engine import Outcome
from inferprint.service.guard import needs
from inferprint.service.ledger import Choice
from inferprint.service.nested import SOURCE, Decision, Told, decided, known_of
from inferprint.service.otlp import (
    JSON,
    PROTOBUF,
    ExportTraceResponse,
    Report,
    id_of,
    judged,
    read_export,
    refusal,
    response_of,
)
from inferprint.service.problems import ServiceError
from inferprint.service.routing import CheckedRoute
from inferprint.service.services import Service, service_of
from inferprint.service.turns import Turns
from inferprint.usage.base import Record, Rejected
from inferprint.usage.opentelemetry import inner_first, tokens_of


class OtlpRoute(CheckedRoute):
    """An endpoint whose errors are protobuf where the request is."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler with its errors turned."""
        handle = super().get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except ServiceError as error:
                if request.headers.get("content-type", "").split(";")[0].strip().lower() != PROTOBUF:
                    raise
                return refusal(error)

        return handled


router = APIRouter(route_class=OtlpRoute)

_BINARY = {PROTOBUF: {"schema": {"type": "string", "format": "binary"}}}


def _lists(name: str, items: dict[str, Any]) -> dict[str, Any]:
    """A schema of an object with a list."""
    return {"type": "object", "properties": {name: {"type": "array", "items": items}}}


_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "description": "An ExportTraceServiceRequest; spans of GenAI, OpenLLMetry and OpenInference count",
        "content": {
            **_BINARY,
            JSON: {"schema": _lists("resourceSpans", _lists("scopeSpans", _lists("spans", {})))},
        },
    }
}

READ_AT_A_TIME = 2
"""Exports that are read at a time: their spans take much more memory than their bytes."""

_CHOICES: dict[Decision, Choice] = {
    "counts": "counts",
    "repeats": "merged",
    "between": "merged",
    "nothing": "dropped",
}

_TAKEN = {
    "model": ExportTraceResponse,
    "description": "Taken, in the encoding of the request; where something is to be said of spans, in partialSuccess",
}


@dataclass(frozen=True, slots=True)
class _Entry:
    """A span, and its row where it calls a model."""

    told: Told
    row: dict[str, Any] | None


@router.post(
    "/v1/traces",
    operation_id="exportTraces",
    summary="Traces of OpenTelemetry",
    response_model=None,
    responses={
        code: reply if code == 415 else {**reply, "content": _BINARY}  # there is no encoding to answer in
        for code, reply in {200: _TAKEN, **errors(415)}.items()
    },
    openapi_extra=_BODY,
)
async def export_traces(request: Request, caller: Annotated[Caller, Depends(needs("write"))]) -> Response:
    """Keep the calls of models that spans tell of in the ledger, each once: by its trace and span, and however nested.

    Spans of anything else are accepted and dropped. Calls that cannot be estimated yet are kept.
    """
    encoding = check_type(request, PROTOBUF, JSON)
    service = service_of(request)
    read = partial(_read, await request.body(), encoding, service.settings.use_times)
    report, entries = await _readers(request).run(read)
    if entries:
        request.app.state.metrics.rows(SOURCE, await _keep(service, caller, entries, report))
    return report.response(encoding)


def _readers(request: Request) -> Turns:
    """The turns of those who send exports, made with the first one."""
    state = request.app.state
    if not hasattr(state, "trace_readers"):
        state.trace_readers = Turns(READ_AT_A_TIME, "their traces to be read")
    readers: Turns = state.trace_readers
    return readers


def _read(body: bytes, encoding: str, use_times: bool) -> tuple[Report, list[_Entry]]:
    """Spans that may matter to the ledger, inner ones first, and a report on the others."""
    read = read_export(body, encoding)
    report, found = Report(len(read)), []
    for i in inner_first([span for span, _ in read]):
        span, outcome = read[i]
        row = judged(span, outcome, use_times=use_times)
        if isinstance(row, Rejected):
            report.reject(f"span {row.row}: {row.field} {row.reason}")
            continue
        request_id = id_of(span)
        if request_id is None:
            continue
        if isinstance(row, dict):
            assert isinstance(outcome, Record), "only records become rows"
            told = Told(span, request_id, tokens_of(outcome), response_of(span, outcome))
            found.append(_Entry(told, row))
        else:
            found.append(_Entry(Told(span, request_id), None))
    return report, found


async def _keep(service: Service, caller: Caller, entries: Sequence[_Entry], report: Report) -> list[Outcome]:
    """Keep those that matter in the ledger, and report on them; the outcomes of those that count."""
    rows = [_row(entry) for entry in entries]
    calls = [i for i, entry in enumerate(entries) if entry.row is not None]
    outcomes = [Outcome(row, None, None) for row in rows]
    estimated = await service.engine.estimated(caller.owner_id, [rows[i] for i in calls])
    for i, outcome in zip(calls, estimated, strict=True):
        outcomes[i] = outcome
    spans = [entry.told for entry in entries]
    traces = {told.span.trace_id for told in spans}

    def choose(connection: Connection) -> list[Choice]:
        known = known_of(connection, caller.owner_id, traces)
        return [_CHOICES[what] for what in decided(spans, known)]

    kept = await service.ledger.keep(caller, outcomes, source=SOURCE, choose=choose)
    for row, outcome, one in zip(rows, outcomes, kept, strict=True):
        if one.status == "conflict":
            report.reject(f"another span has the ids {row['request_id']}")
        elif one.outcome == "unestimated":
            report.defer(outcome.error["message"] if outcome.error else "it could not be estimated before")
    return [outcome for outcome, one in zip(outcomes, kept, strict=True) if one.outcome in ("estimated", "unestimated")]


def _row(entry: _Entry) -> dict[str, Any]:
    """What the ledger keeps of a span: its row, and what nesting needs."""
    span = entry.told.span
    ids = {
        "request_id": entry.told.request_id,
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_span_id": span.parent_span_id or None,
        "response_id": entry.told.response_id,
    }
    return {**(entry.row or {}), **{name: value for name, value in ids.items() if value}}
