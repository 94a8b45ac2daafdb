"""Traces of OTLP/HTTP: exports in both encodings to spans and rows, and what an exporter is answered."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
from fastapi.responses import Response
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Status
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from inferprint.estimate.request import MAX_SECONDS, TOKEN_FIELDS
from inferprint.rates.setup import TIERS
from inferprint.service.bodies import answer, refused
from inferprint.service.problems import BadRequest, ServiceError, TooLarge
from inferprint.service.schemas import ImpactRow
from inferprint.units import MS_PER_S
from inferprint.usage.base import Outcome, Record, Rejected, Skipped
from inferprint.usage.opentelemetry import Document, Malformed, Span, entries_of, found_in, outcome_of
from inferprint.usage.wording import field_and_reason

PROTOBUF, JSON = "application/x-protobuf", "application/json"
"""Media types of the two encodings."""

MAX_SPANS = 100_000
"""Spans of one export."""

MOST_TOLD = 1_000
"""Characters of a message."""

_DOCUMENT = msgspec.json.Decoder(Document, strict=False)
_IDS = re.compile(r"[0-9a-f]{32}:[0-9a-f]{16}")
_SPAN_ID = re.compile(r"[0-9a-f]{16}")
_NO_IDS = ("0" * 32, "0" * 16)


# --- what is answered -------------------------------------------------------------------------------------------------


class ExportTracePartialSuccess(BaseModel):
    """Spans that were not taken, and what is to be said of these and others."""

    model_config = ConfigDict(extra="forbid")

    rejectedSpans: str | None = Field(None, description="Spans that were not taken", examples=["2"])  # noqa: N815
    errorMessage: str | None = Field(None, description="Why, or what to know of those that were taken")  # noqa: N815


class ExportTraceResponse(BaseModel):
    """The answer to an export of traces; empty where there is nothing to say."""

    model_config = ConfigDict(extra="forbid")

    partialSuccess: ExportTracePartialSuccess | None = None  # noqa: N815


@dataclass
class Report:
    """What became of the spans of an export.

    Attributes
    ----------
    spans
        How many there were.
    rejected, unestimated
        Those that were not taken, and those that are kept until they can be estimated.
    """

    spans: int
    rejected: int = 0
    unestimated: int = 0
    _reasons: dict[str, str] = field(default_factory=dict)

    def reject(self, reason: str) -> None:
        """Count a span that was not taken."""
        self.rejected += 1
        self._reasons.setdefault("rejected", reason)

    def defer(self, reason: str) -> None:
        """Count a span that is kept, and cannot be estimated yet."""
        self.unestimated += 1
        self._reasons.setdefault("unestimated", reason)

    @property
    def message(self) -> str:
        """How many and, of the first, why; empty where all is well."""
        told = [
            f"{count:,} of {self.spans:,} spans {what}, the first because: {self._reasons[name]}"
            for name, count, what in (
                ("rejected", self.rejected, "were not taken"),
                ("unestimated", self.unestimated, "are kept and cannot be estimated yet"),
            )
            if count
        ]
        return "; ".join(told)[:MOST_TOLD]

    def response(self, encoding: str) -> Response:
        """The answer in the encoding of the export."""
        message = self.message
        if encoding == PROTOBUF:
            told = ExportTraceServiceResponse()
            if message:
                told.partial_success.rejected_spans = self.rejected
                told.partial_success.error_message = message
            return Response(told.SerializeToString(), media_type=PROTOBUF)
        if not message:
            return answer({})
        # OTLP writes 64-bit integers as text, and leaves out those that are 0.
        rejected = {"rejectedSpans": str(self.rejected)} if self.rejected else {}
        return answer({"partialSuccess": rejected | {"errorMessage": message}})


def refusal(error: ServiceError) -> Response:
    """An error as the protobuf message google.rpc.Status.

    OTLP does not use its code. Its message has the number and type of that in the status of a span, so this one stands
    for it.
    """
    reason = f" {error.reason}" if error.reason else ""
    status = Status(message=f"{error.message}{reason}"[:MOST_TOLD])
    return Response(status.SerializeToString(), error.status, headers=error.headers, media_type=PROTOBUF)


# --- what is read -----------------------------------------------------------------------------------------------------


def read_export(body: bytes, encoding: str) -> list[tuple[Span, Outcome]]:
    """The spans of an export and what they tell, numbered from 1; ids are in lower case, and no parent is malformed.

    Raises
    ------
    BadRequest
        A body that is not of its encoding.
    TooLarge
        More than `MAX_SPANS`.
    """
    entries: list[tuple[Span, Outcome]] = []
    for entry in (_from_protobuf if encoding == PROTOBUF else _from_json)(body):
        if len(entries) == MAX_SPANS:
            raise TooLarge(f"more than {MAX_SPANS:,} spans in one export", reason="Export smaller batches.")
        span = entry[0]
        if span.parent_span_id and not _SPAN_ID.fullmatch(span.parent_span_id):
            span.parent_span_id = ""
        entries.append(entry)
    return entries


def _from_json(body: bytes) -> Iterator[tuple[Span, Outcome]]:
    try:
        document = _DOCUMENT.decode(body)
    except (msgspec.DecodeError, RecursionError) as error:
        place, reason = field_and_reason(error)
        raise BadRequest(f"the body is not OTLP JSON: {reason}", field=place, code="invalid_json") from error
    for span, outcome in entries_of(document):
        span.trace_id, span.span_id = span.trace_id.lower(), span.span_id.lower()
        span.parent_span_id = (span.parent_span_id or "").lower()
        yield span, outcome


def _from_protobuf(body: bytes) -> Iterator[tuple[Span, Outcome]]:
    try:
        export = ExportTraceServiceRequest.FromString(body)
    except DecodeError as error:
        raise BadRequest("the body is no ExportTraceServiceRequest of OTLP", code="invalid_protobuf") from error
    row = 0
    for resource_spans in export.resource_spans:
        try:
            resource = found_in(resource_spans.resource.attributes, _value)
        except Malformed:
            resource = {}
        for scope in resource_spans.scope_spans:
            for told in scope.spans:
                row += 1
                span = Span(
                    trace_id=told.trace_id.hex(),
                    span_id=told.span_id.hex(),
                    parent_span_id=told.parent_span_id.hex(),
                    start_time_unix_nano=told.start_time_unix_nano,
                    end_time_unix_nano=told.end_time_unix_nano,
                )
                status = told.status.code
                yield span, outcome_of(row, span, told.attributes, _value, status=status, resource=resource)


def _value(attribute: KeyValue, number: bool) -> float | str | None:
    """The value of an attribute; see `inferprint.usage.opentelemetry.ReadValue`."""
    value = attribute.value
    kind = value.WhichOneof("value")
    if kind == "string_value":
        text: str = value.string_value
        if not number:
            return text
        return float(text) if text else None
    return float(getattr(value, kind)) if number and kind in ("int_value", "double_value") else None


# --- rows -------------------------------------------------------------------------------------------------------------


def id_of(span: Span) -> str | None:
    """The id of a span in the ledger; None where it has none, which OTLP does not allow."""
    found = f"{span.trace_id}:{span.span_id}"
    named = _IDS.fullmatch(found) and span.trace_id != _NO_IDS[0] and span.span_id != _NO_IDS[1]
    return found if named else None


def response_of(span: Span, record: Record) -> str | None:
    """The id of the answer, which two spans of a trace that tell the same call share; None where none is stated."""
    found = (record.request_id or "").partition("/")[2]
    return found if found and found.lower() != span.span_id else None


def judged(span: Span, outcome: Outcome, *, use_times: bool) -> dict[str, Any] | Skipped | Rejected:
    """The row of a span that calls a model, in the fields of the API; else why there is none."""
    if not isinstance(outcome, Record):
        assert isinstance(outcome, (Skipped, Rejected)), "the reader merges nothing here"
        return outcome
    counted = [getattr(outcome, name) for name in TOKEN_FIELDS]
    if not any(count is None or count for count in counted) and not outcome.output_audio_tokens:
        return Skipped(outcome.row, "no-tokens")
    if id_of(span) is None:
        return Rejected(outcome.row, "traceId, spanId", "are not 32 and 16 hexadecimal digits")
    row = _row_of(outcome, use_times=use_times)
    try:
        ImpactRow.model_validate(row)
    except ValidationError as error:
        problem = refused(error)
        return Rejected(outcome.row, problem.field, problem.reason)
    return row


_AS_THEY_ARE = (
    "model_id",
    "session_id",
    "project_id",
    "application_id",
    "client_id",
    "user_id",
    "environment",
    "managed_service_id",
    "cloud_id",
    "cloud_region",
    "country",
    "utc_datetime",
)


def _row_of(record: Record, *, use_times: bool) -> dict[str, Any]:
    """What a record says, without what it does not."""
    row = {name: getattr(record, name) for name in _AS_THEY_ARE}
    row |= {name: _whole(getattr(record, name)) or None for name in TOKEN_FIELDS[2:]}
    row |= {name: _whole(getattr(record, name)) for name in (*TOKEN_FIELDS[:2], "output_audio_tokens")}
    if record.service_tier in TIERS:
        # The other names of tiers say nothing of how they are served.
        row["service_tier"] = record.service_tier
    if record.cost_usd is not None:
        row |= {"request_cost": record.cost_usd, "currency": "USD"}
    row |= _times(record, use_times=use_times)
    return {name: value for name, value in row.items() if value is not None}


def _times(record: Record, *, use_times: bool) -> dict[str, float]:
    """How long it took; time per token where that of the first one is known, which leaves out the wait."""
    whole, first = record.request_duration_ms or 0.0, record.time_to_first_token_ms or 0.0
    written = record.output_tokens or 0.0
    if not 0 < whole <= MAX_SECONDS * MS_PER_S:
        return {}
    if use_times and 0 < first < whole and written > 1:
        return {"time_per_output_token_ms": (whole - first) / (written - 1)}
    return {"request_duration_ms": whole}


def _whole(number: float | None) -> float | None:
    """A count without a point, as JSON tells it."""
    return int(number) if number is not None and math.isfinite(number) and number == int(number) else number
