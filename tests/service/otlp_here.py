"""Exports of traces for tests, in both encodings."""

from __future__ import annotations

import json
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

TRACE = "5b8efff798038103d269b633813fc60c"
START_NS = 1_763_800_000_000_000_000

PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}


def chat(span: int, parent: int = 0, tokens: tuple[int, int] = (100, 20), **more: Any) -> dict[str, Any]:
    """A span of a call, whose number tells when it was: a lower one is around a higher one."""
    attributes = {
        "gen_ai.operation.name": "chat",
        "gen_ai.request.model": "gpt-4o-mini",
        "gen_ai.usage.input_tokens": tokens[0],
        "gen_ai.usage.output_tokens": tokens[1],
    }
    return a_span(span, parent, {**attributes, **more.pop("attributes", {})}, **more)


def a_span(span: int, parent: int = 0, attributes: dict[str, Any] | None = None, trace: str = TRACE) -> dict[str, Any]:
    """Any span."""
    kinds = {str: "stringValue", int: "intValue", float: "doubleValue", bool: "boolValue"}
    return {
        "traceId": trace,
        "spanId": f"{span:016x}",
        "parentSpanId": f"{parent:016x}" if parent else "",
        "name": "span",
        "kind": 3,
        "startTimeUnixNano": str(START_NS + span * 1_000_000),
        "endTimeUnixNano": str(START_NS + 1_000_000_000 - span * 1_000_000),
        "attributes": [
            {"key": key, "value": {kinds[type(value)]: str(value) if type(value) is int else value}}
            for key, value in (attributes or {}).items()
        ],
        "status": {},
    }


def document(*spans: dict[str, Any]) -> dict[str, Any]:
    """An export of spans of one service."""
    service = {"attributes": [{"key": "service.name", "value": {"stringValue": "search"}}]}
    return {"resourceSpans": [{"resource": service, "scopeSpans": [{"scope": {"name": "x"}, "spans": list(spans)}]}]}


def as_json(*spans: dict[str, Any]) -> bytes:
    """The export in JSON."""
    return json.dumps(document(*spans)).encode()


def as_protobuf(*spans: dict[str, Any]) -> bytes:
    """The same in protobuf."""
    export = ExportTraceServiceRequest()
    resource_spans = export.resource_spans.add()
    resource_spans.resource.attributes.add(key="service.name").value.string_value = "search"
    scope = resource_spans.scope_spans.add()
    fields = {"stringValue": "string_value", "intValue": "int_value", "doubleValue": "double_value"}
    fields["boolValue"] = "bool_value"
    for told in spans:
        span = scope.spans.add(
            trace_id=bytes.fromhex(told["traceId"]),
            span_id=bytes.fromhex(told["spanId"]),
            parent_span_id=bytes.fromhex(told["parentSpanId"]),
            start_time_unix_nano=int(told["startTimeUnixNano"]),
            end_time_unix_nano=int(told["endTimeUnixNano"]),
        )
        span.status.code = told["status"].get("code", 0)
        for attribute in told["attributes"]:
            ((kind, value),) = attribute["value"].items()
            given = int(value) if kind == "intValue" else value
            setattr(span.attributes.add(key=attribute["key"]).value, fields[kind], given)
    body: bytes = export.SerializeToString()
    return body
