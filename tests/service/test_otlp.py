"""Exports of traces: both encodings read alike, hostile ones refused, records to rows, answers in both encodings."""

from __future__ import annotations

import json
import math

import pytest
from google.rpc import status_pb2
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from tests.service.otlp_here import TRACE, a_span, as_json, as_protobuf, chat

from inferprint.service.nested import Known, Told, decided
from inferprint.service.otlp import JSON, PROTOBUF, Report, id_of, judged, read_export, refusal, response_of
from inferprint.service.problems import BadRequest, TooLarge, TooMany
from inferprint.usage.base import Record, Rejected, Skipped
from inferprint.usage.opentelemetry import Nesting, Span

FULL = chat(
    1,
    attributes={
        "gen_ai.usage.cache_read.input_tokens": 40,
        "gen_ai.usage.reasoning.output_tokens": 5,
        "gen_ai.response.id": "msg-1",
        "gen_ai.conversation.id": "conv-1",
        "gen_ai.response.time_to_first_chunk": 0.25,
        "user.id": "u-1",
        "server.address": "bedrock-runtime.eu-west-3.amazonaws.com",
        "openai.response.service_tier": "flex",
        "llm.cost.total": 0.002,
        "gen_ai.request.stream": True,
        "gen_ai.prompt": "SECRET",
    },
)


def row_of(body, encoding, *, use_times=False):
    ((span, outcome),) = read_export(body, encoding)
    return judged(span, outcome, use_times=use_times)


@pytest.mark.parametrize("body, encoding", [(as_json(FULL), JSON), (as_protobuf(FULL), PROTOBUF)])
def test_a_span_becomes_a_row_of_the_api(body, encoding):
    assert row_of(body, encoding) == {
        "model_id": "gpt-4o-mini",
        "session_id": "conv-1",
        "application_id": "search",
        "user_id": "u-1",
        "managed_service_id": "aws-bedrock",
        "cloud_id": "aws",
        "cloud_region": "eu-west-3",
        "utc_datetime": "2025-11-22T08:26:40.001Z",
        "input_tokens": 100,
        "output_tokens": 20,
        "cached_input_tokens": 40,
        "reasoning_tokens": 5,
        "service_tier": "flex",
        "request_cost": 0.002,
        "currency": "USD",
        "request_duration_ms": 998,
    }


def test_both_encodings_are_read_alike():
    spans = [
        FULL,
        chat(2, 1),
        a_span(3, 2, {"http.request.method": "POST", "server.address": "x", "n": 1.5}),
        a_span(4, 1, {"gen_ai.operation.name": "execute_tool"}),
        a_span(5, 0, {"gen_ai.operation.name": "chat", "error.type": "timeout"}),
        a_span(6, 0, {"gen_ai.operation.name": "chat"}) | {"status": {"code": 2}},
        chat(7, attributes={"gen_ai.usage.input_tokens": "12"}),
        chat(8, attributes={"gen_ai.usage.input_tokens": "many"}),
        chat(9, attributes={"gen_ai.usage.input_tokens": math.inf}),
        chat(10, attributes={"gen_ai.request.model": 7}),
    ]
    # JSON has no infinity: proto3 writes it as text.
    told = as_json(*spans).replace(b"Infinity", b'"Infinity"')
    from_json, from_protobuf = read_export(told, JSON), read_export(as_protobuf(*spans), PROTOBUF)
    assert [outcome for _, outcome in from_json] == [outcome for _, outcome in from_protobuf]
    kinds = [type(outcome) for _, outcome in from_json]
    assert kinds == [Record, Record, Skipped, Skipped, Skipped, Skipped, Record, Rejected, Rejected, Record]
    assert [id_of(span) for span, _ in from_json] == [f"{TRACE}:{i:016x}" for i in range(1, 11)]
    assert from_json[1][0].parent_span_id == from_protobuf[1][0].parent_span_id == f"{1:016x}"


def test_ids_are_read_in_either_case():
    ((span, _),) = read_export(as_json(chat(10) | {"traceId": TRACE.upper(), "spanId": "00000000000000AB"}), JSON)
    assert id_of(span) == f"{TRACE}:00000000000000ab"


def test_time_per_token_leaves_out_the_wait_where_times_are_used():
    row = row_of(as_json(FULL), JSON, use_times=True)
    assert row["time_per_output_token_ms"] == pytest.approx((998 - 250) / 19)
    assert "request_duration_ms" not in row


def test_a_tier_that_says_nothing_of_serving_is_left_out():
    row = row_of(as_json(chat(1, attributes={"openai.response.service_tier": "scale"})), JSON)
    assert "service_tier" not in row


@pytest.mark.parametrize(
    "span, kind, says",
    [
        (chat(1, tokens=(0, 0)), Skipped, "no-tokens"),
        (chat(1) | {"traceId": ""}, Rejected, "traceId"),
        (chat(1) | {"traceId": "0" * 32}, Rejected, "traceId"),
        (chat(1) | {"traceId": "W47/95gDgQPSabYzgT/GDA=="}, Rejected, "traceId"),
        (chat(1) | {"spanId": "0" * 16}, Rejected, "spanId"),
        (chat(1) | {"spanId": "12"}, Rejected, "spanId"),
        (chat(1) | {"startTimeUnixNano": "-5"}, Rejected, "startTimeUnixNano"),
        (chat(1) | {"startTimeUnixNano": "9" * 400}, Rejected, "startTimeUnixNano"),
        (chat(1) | {"startTimeUnixNano": "yesterday"}, Rejected, "startTimeUnixNano"),
        (chat(1) | {"attributes": "none"}, Rejected, "attributes"),
        (chat(1, tokens=(-1, 2)), Rejected, "input_tokens"),
        (chat(1, attributes={"gen_ai.usage.output_tokens": 1.5}), Rejected, "output_tokens"),
        (chat(1, attributes={"gen_ai.usage.input_tokens": "nan"}), Rejected, "gen_ai.usage.input_tokens"),
        (chat(1, attributes={"gen_ai.usage.input_tokens": 10**18}), Rejected, "input_tokens"),
        (chat(1, attributes={"gen_ai.request.model": "m" * 301}), Rejected, "model_id"),
        (chat(1, attributes={"gen_ai.request.model": "m" * 10_000_000}), Rejected, "gen_ai.request.model"),
        (chat(1, attributes={"server.address": "a." * 5_000_000}), Rejected, "server.address"),
        (chat(1, attributes={"gen_ai.request.model": "a\x00b"}), Rejected, "model_id"),
        (chat(1, attributes={"llm.cost.total": -1.0}), Rejected, "request_cost"),
    ],
)
def test_what_cannot_be(span, kind, says):
    found = row_of(as_json(span), JSON)
    assert isinstance(found, kind)
    assert says in (found.rule if isinstance(found, Skipped) else found.field)


def test_a_long_error_is_no_name():
    (_, outcome) = read_export(as_json(chat(1, attributes={"error.type": "e" * 5000})), JSON)[0]
    assert isinstance(outcome, Record)


def test_a_parent_that_is_none_is_left_out():
    ((span, _),) = read_export(as_json(chat(1) | {"parentSpanId": "x" * 100_000}), JSON)
    assert span.parent_span_id == ""
    ((span, _),) = read_export(as_json(chat(1) | {"parentSpanId": None}), JSON)
    assert span.parent_span_id == ""


def test_times_that_are_too_long_are_left_out():
    row = row_of(as_json(chat(1) | {"startTimeUnixNano": "1"}), JSON)
    assert "request_duration_ms" not in row


def test_the_latest_moment_that_protobuf_holds():
    export = ExportTraceServiceRequest.FromString(as_protobuf(chat(1)))
    export.resource_spans[0].scope_spans[0].spans[0].start_time_unix_nano = 2**64 - 1
    assert row_of(export.SerializeToString(), PROTOBUF)["utc_datetime"].startswith("2554-07-21")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"\xff",
        b'{"resourceSpans":{}}',
        b'{"resourceSpans":[null]}',
        b'{"resourceSpans":[{"scopeSpans":[{"spans":7}]}]}',
        b'{"resourceSpans":[NaN]}',
        b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"x":' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000 + b"}",
        as_json(chat(1))[:-3],
    ],
)
def test_json_that_is_no_export(body):
    with pytest.raises(BadRequest) as refused:
        read_export(body, JSON)
    assert refused.value.code == "invalid_json"


def test_protobuf_that_is_no_export():
    whole = as_protobuf(FULL, chat(2))
    refused = 0
    for end in range(1, len(whole)):
        try:
            read_export(whole[:end], PROTOBUF)
        except BadRequest as error:
            refused += error.code == "invalid_protobuf"
    assert refused > len(whole) * 0.9
    deep = b""
    for _ in range(200):  # a list within a list, 200 times
        inner = b"\x0a" + _varint(len(deep)) + deep
        deep = b"\x2a" + _varint(len(inner)) + inner
    attribute = b"\x0a\x01k\x12" + _varint(len(deep)) + deep
    body = b"\x4a" + _varint(len(attribute)) + attribute
    for tag in (b"\x12", b"\x12", b"\x0a"):
        body = tag + _varint(len(body)) + body
    with pytest.raises(BadRequest):
        read_export(body, PROTOBUF)


def _varint(number):
    found = b""
    while number > 127:
        found += bytes([number & 127 | 128])
        number >>= 7
    return found + bytes([number])


@pytest.mark.parametrize("depth", range(100, 1100, 50))
def test_values_that_lie_deep_spoil_one_span_at_most(depth):
    spans = json.dumps(document_with_value("[" * depth + "]" * depth)).replace('"DEEP', "").replace('DEEP"', "")
    try:
        read = read_export(spans.encode(), JSON)
    except BadRequest:
        return
    assert len(read) == 2
    assert isinstance(read[1][1], Record)


def document_with_value(value):
    body = json.loads(as_json(chat(1), chat(2)))
    attributes = body["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"]
    attributes.append({"key": "gen_ai.response.model", "value": {"arrayValue": f"DEEP{value}DEEP"}})
    return body


def test_too_many_spans(monkeypatch):
    monkeypatch.setattr("inferprint.service.otlp.MAX_SPANS", 2)
    assert len(read_export(as_json(chat(1), chat(2)), JSON)) == 2
    with pytest.raises(TooLarge):
        read_export(as_json(chat(1), chat(2), chat(3)), JSON)


def test_a_resource_that_cannot_be_read_says_nothing():
    body = json.loads(as_json(chat(1)))
    body["resourceSpans"][0]["resource"] = {"attributes": 7}
    assert "application_id" not in row_of(json.dumps(body).encode(), JSON)
    body["resourceSpans"][0]["resource"] = {
        "attributes": [{"key": "service.name", "value": {"stringValue": "s" * 3000}}]
    }
    assert "application_id" not in row_of(json.dumps(body).encode(), JSON)


# --- answers ----------------------------------------------------------------------------------------------------------


def test_all_is_well():
    report = Report(3)
    assert report.response(JSON).body == b"{}"
    assert report.response(PROTOBUF).body == b""
    assert report.response(PROTOBUF).media_type == "application/x-protobuf"


def test_spans_that_were_not_taken():
    report = Report(5)
    report.reject("span 2: traceId is wrong")
    report.reject("span 3: x")
    report.defer("'foo' is unknown")
    message = (
        "2 of 5 spans were not taken, the first because: span 2: traceId is wrong; "
        "1 of 5 spans are kept and cannot be estimated yet, the first because: 'foo' is unknown"
    )
    assert json.loads(report.response(JSON).body) == {"partialSuccess": {"rejectedSpans": "2", "errorMessage": message}}
    told = ExportTraceServiceResponse.FromString(report.response(PROTOBUF).body)
    assert (told.partial_success.rejected_spans, told.partial_success.error_message) == (2, message)


def test_a_warning_rejects_none():
    report = Report(5)
    report.defer("x" * 5000)
    told = ExportTraceServiceResponse.FromString(report.response(PROTOBUF).body).partial_success
    assert (told.rejected_spans, len(told.error_message)) == (0, 1000)
    assert set(json.loads(report.response(JSON).body)["partialSuccess"]) == {"errorMessage"}


def test_an_error_is_a_status_of_google():
    response = refusal(TooMany("too fast", retry_after_s=7, reason="Slow down."))
    assert status_pb2.Status.FromString(response.body).message == "too fast Slow down."
    assert (response.status_code, response.headers["retry-after"]) == (429, "7")


# --- nesting ----------------------------------------------------------------------------------------------------------


def told(span, parent="", tokens=(100.0, 20.0), response_id=None):
    return Told(Span(trace_id="t", span_id=span, parent_span_id=parent), f"t:{span}", tokens, response_id)


INNER, BETWEEN, OUTER = told("c", "b"), told("b", "a", None), told("a")


def decisions(exports):
    """What is decided of exports one after the other, each time from what is known alone."""
    known, found = [], []
    for spans in exports:
        new = decided(spans, known)
        found.append(new)
        there = {one.told.request_id for one in known}
        known += [
            Known(span, what)
            for span, what in zip(spans, new, strict=True)
            if what != "nothing" and span.request_id not in there
        ]
        known.sort(key=lambda one: one.told.request_id)  # as the ledger may give them
    return found


@pytest.mark.parametrize(
    "exports, expected",
    [
        ([[INNER, BETWEEN, OUTER]], [["counts", "between", "repeats"]]),
        ([[INNER], [BETWEEN], [OUTER]], [["counts"], ["between"], ["repeats"]]),
        ([[OUTER], [BETWEEN], [INNER]], [["counts"], ["between"], ["repeats"]]),
        ([[INNER], [BETWEEN, OUTER], [OUTER]], [["counts"], ["between", "repeats"], ["repeats"]]),
        ([[INNER, BETWEEN, OUTER], [OUTER, INNER]], [["counts", "between", "repeats"], ["repeats", "counts"]]),
        ([[BETWEEN], [INNER]], [["nothing"], ["counts"]]),
        # Two calls, and what is around them tells both together; a third one comes late.
        (
            [
                [told("x", "p"), told("y", "p", (1.0, 2.0))],
                [told("p", "", (101.0, 22.0))],
                [told("z", "p", (5.0, 5.0))],
            ],
            [["counts", "counts"], ["repeats"], ["counts"]],
        ),
        ([[told("x", "p")], [told("y", "p")]], [["counts"], ["counts"]]),
        # Nested, and not the same call.
        ([[told("x", "p")], [told("p", "", (9.0, 9.0))]], [["counts"], ["counts"]]),
        # The same answer.
        ([[told("x", "", response_id="r")], [told("y", "", response_id="r")]], [["counts"], ["repeats"]]),
        ([[told("x"), told("x")]], [["counts", "counts"]]),
    ],
)
def test_a_call_counts_once_whatever_comes_first(exports, expected):
    assert decisions(exports) == expected


def test_spans_in_a_circle_end():
    circle = [told("a", "b", None), told("b", "c", None), told("c", "a", None), told("s", "s", None)]
    nesting = Nesting()
    nesting.load((one.span, one.tokens) for one in [*circle, told("x", "b")])
    assert nesting.inside == {}
    assert list(nesting.around) == ["tx"]


def test_a_long_chain_is_walked_once():
    chain = [told(str(i), str(i + 1), None) for i in range(50_000)]
    nesting = Nesting()
    nesting.load((one.span, one.tokens) for one in [*chain, told("x", "0")])
    assert list(nesting.inside) == ["t50000"]


def test_an_answer_s_id_is_known_from_that_of_its_span():
    (span, outcome) = read_export(as_json(FULL), JSON)[0]
    assert response_of(span, outcome) == "msg-1"
    (span, outcome) = read_export(as_json(chat(2)), JSON)[0]
    assert response_of(span, outcome) is None
