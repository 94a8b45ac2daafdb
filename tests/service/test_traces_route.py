"""`/v1/traces`: what an exporter is answered, and what the ledger has of it, also after a restart."""

from __future__ import annotations

import gzip
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from google.rpc import status_pb2
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from sqlalchemy import select
from starlette.testclient import TestClient
from tests.postgres_here import postgres
from tests.service.databases import DIALECTS, url_for
from tests.service.otlp_here import JSON, PROTOBUF, TRACE, a_span, as_json, as_protobuf, chat

from inferprint.service.app import create_app
from inferprint.service.database import Database
from inferprint.service.routes import traces as module
from inferprint.service.settings import Settings
from inferprint.service.tables import USAGE

HERE = ("127.0.0.1", 50_000)


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture(scope="module")
def postgresql():
    with postgres() as started:
        yield started


@contextmanager
def client_of(url, token="", **settings):
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    app = create_app(Settings(database_url=url, **settings))
    with TestClient(app, base_url="http://127.0.0.1:8080", headers=headers, client=HERE) as client:
        yield client


@pytest.fixture
def client(url):
    with client_of(url) as found:
        yield found


def rows(url) -> dict[int, tuple[str, dict[str, Any]]]:
    """Outcome and row of all that the ledger has, by the number of the span."""
    database = Database(url)
    with database.begin(write=False) as connection:
        found = connection.execute(select(USAGE.c.outcome, USAGE.c.request, USAGE.c.source)).all()
    database.close()
    assert all(row.source == "/v1/traces" for row in found)
    told = [(row.outcome, json.loads(row.request)) for row in found]
    return {int(row["span_id"], 16): (outcome, row) for outcome, row in told}


def outcomes(url):
    return {number: outcome for number, (outcome, _) in sorted(rows(url).items())}


def send(client, *spans, encoding="protobuf"):
    """Export spans; what was rejected, and the message."""
    body, headers = (as_protobuf(*spans), PROTOBUF) if encoding == "protobuf" else (as_json(*spans), JSON)
    response = client.post("/v1/traces", content=body, headers=headers)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"] == headers["Content-Type"]
    if encoding == "protobuf":
        told = ExportTraceServiceResponse.FromString(response.content)
        assert told.HasField("partial_success") == bool(told.partial_success.error_message)
        return told.partial_success.rejected_spans, told.partial_success.error_message
    found = response.json().get("partialSuccess", {})
    return int(found.get("rejectedSpans", 0)), found.get("errorMessage", "")


# --- what is kept -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_calls_are_kept_and_other_spans_dropped(client, url, encoding):
    spans = [chat(1), chat(2), a_span(3, 0, {"http.request.method": "GET"}), chat(4, tokens=(0, 0))]
    assert send(client, *spans, encoding=encoding) == (0, "")
    assert outcomes(url) == {1: "estimated", 2: "estimated"}
    row = rows(url)[1][1]
    assert row["request_id"] == f"{TRACE}:{1:016x}"
    assert (row["trace_id"], row["span_id"], row["model_id"]) == (TRACE, f"{1:016x}", "gpt-4o-mini")
    assert (row["input_tokens"], row["output_tokens"], row["application_id"]) == (100, 20, "search")


def test_what_is_sent_again_in_another_encoding_is_the_same(client, url):
    for encoding in ("protobuf", "json", "protobuf"):
        assert send(client, chat(1), chat(2), encoding=encoding) == (0, "")
    assert outcomes(url) == {1: "estimated", 2: "estimated"}


def test_a_span_twice_in_one_export(client, url):
    assert send(client, chat(1), chat(1)) == (0, "")
    assert outcomes(url) == {1: "estimated"}


def test_an_id_that_another_span_has(client, url):
    send(client, chat(1))
    rejected, message = send(client, chat(1, tokens=(7, 7)), chat(2))
    assert rejected == 1
    assert f"{TRACE}:{1:016x}" in message
    assert rows(url)[1][1]["input_tokens"] == 100
    assert set(rows(url)) == {1, 2}


def test_what_cannot_be_estimated_yet_is_kept(client, url):
    unknown = chat(1, attributes={"gen_ai.request.model": "no-such-model-9"})
    for _ in range(2):
        rejected, message = send(client, unknown, chat(2))
        assert rejected == 0
        assert "1 of 2 spans are kept and cannot be estimated yet" in message
        assert "no-such-model-9" in message
    assert outcomes(url) == {1: "unestimated", 2: "estimated"}


def test_malformed_spans_take_no_others_with_them(client, url):
    wrong = [
        chat(2) | {"spanId": "2"},
        chat(3, tokens=(-5, 1)),
        chat(4, attributes={"gen_ai.usage.input_tokens": "NaN"}),
        chat(5, attributes={"gen_ai.usage.input_tokens": "many"}),
        chat(6, attributes={"gen_ai.request.model": "m" * 1_000_000}),
        chat(7) | {"startTimeUnixNano": {}},
        chat(8) | {"attributes": [[]]},
    ]
    rejected, message = send(client, chat(1), *wrong, encoding="json")
    assert rejected == len(wrong)
    assert "7 of 8 spans were not taken" in message
    assert outcomes(url) == {1: "estimated"}


def test_ten_thousand_spans(client, url):
    spans = [chat(i, trace=f"{i % 700 + 1:032x}") for i in range(1, 10_001)]
    assert send(client, *spans) == (0, "")
    assert send(client, *spans) == (0, "")
    assert len(rows(url)) == 10_000


def test_measured_times_are_used_where_the_server_is_told_to(url):
    with client_of(url, use_times=True) as client:
        timed = chat(1, attributes={"gen_ai.response.time_to_first_chunk": 0.25})
        assert send(client, timed) == (0, "")
    assert rows(url)[1][1]["time_per_output_token_ms"] == pytest.approx(748 / 19)


# --- nesting ----------------------------------------------------------------------------------------------------------


INNER, WRAP, OUTER = chat(3, 2), a_span(2, 1), chat(1)


@pytest.mark.parametrize("encoding", ["protobuf", "json"])
def test_a_call_that_two_spans_tell_in_one_export(client, url, encoding):
    for spans in ((OUTER, WRAP, INNER), (INNER, OUTER), (OUTER,)):
        assert send(client, *spans, encoding=encoding) == (0, "")
        assert outcomes(url) == {1: "merged", 2: "merged", 3: "estimated"}


def test_a_call_that_two_spans_tell_in_two_exports(client, url):
    send(client, INNER)
    send(client, WRAP, OUTER)
    assert outcomes(url) == {1: "merged", 2: "merged", 3: "estimated"}
    send(client, OUTER)
    send(client, INNER)
    assert outcomes(url) == {1: "merged", 2: "merged", 3: "estimated"}


def test_a_call_that_two_spans_tell_over_restarts(url):
    for spans in ((INNER,), (WRAP,), (OUTER,), (OUTER, INNER), (WRAP,)):
        with client_of(url) as client:
            assert send(client, *spans) == (0, "")
    assert outcomes(url) == {1: "merged", 2: "merged", 3: "estimated"}


def test_the_outer_one_stands_where_it_came_first(url):
    for spans in ((OUTER,), (WRAP,), (INNER,), (INNER, OUTER)):
        with client_of(url) as client:
            send(client, *spans)
    assert outcomes(url) == {1: "estimated", 2: "merged", 3: "merged"}


def test_siblings_count_both_and_their_sum_does_not(url):
    siblings = [chat(2, 1), chat(3, 1)]
    with client_of(url) as client:
        send(client, siblings[0])
        send(client, siblings[1])
    with client_of(url) as client:
        send(client, chat(1, tokens=(200, 40)))
    assert outcomes(url) == {1: "merged", 2: "estimated", 3: "estimated"}


def test_an_answer_that_two_spans_name_counts_once(url):
    for number in (1, 2):
        with client_of(url) as client:
            send(client, chat(number, attributes={"gen_ai.response.id": "msg-1"}))
    assert outcomes(url) == {1: "estimated", 2: "merged"}


def test_what_is_around_no_call_is_not_kept(client, url):
    send(client, a_span(5, 4), a_span(4, 3), a_span(9))
    assert outcomes(url) == {}


@pytest.mark.parametrize("dialect", DIALECTS)
def test_two_servers_that_get_a_trace_at_the_same_time(dialect, tmp_path, postgresql):
    """The outer span by one, the inner one by the other: each call counts once."""
    url = url_for(dialect, tmp_path, postgresql)
    traces = [f"{i:032x}" for i in range(1, 31)]
    together = threading.Barrier(2)

    def export(client, spans):
        found = []
        for span in spans:
            together.wait(30)
            found.append(send(client, span))
        return found

    with client_of(url) as one, client_of(url) as other, ThreadPoolExecutor(2) as pool:
        for client in (one, other):
            send(client)  # FastAPI makes ready what it needs in a way that two apps of one process may not at a time
        inner = pool.submit(export, one, [chat(2, 1, trace=trace) for trace in traces])
        outer = pool.submit(export, other, [chat(1, trace=trace) for trace in traces])
        assert inner.result() == outer.result() == [(0, "")] * 30
    assert_each_counts_once(url, traces)


def assert_each_counts_once(url, traces):
    """Of the two spans of each trace one counts."""
    database = Database(url)
    with database.begin(write=False) as connection:
        kept = connection.execute(select(USAGE.c.trace_id, USAGE.c.outcome)).all()
    database.close()
    assert sorted(kept) == sorted((trace, outcome) for trace in traces for outcome in ("estimated", "merged"))


def test_exports_that_come_at_the_same_time(client, url):
    traces = [f"{i:032x}" for i in range(1, 21)]
    exports = [(chat(2, 1, trace=trace), chat(1, trace=trace)) for trace in traces]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda span: send(client, span), [span for pair in exports for span in pair]))
    assert found == [(0, "")] * 40
    assert_each_counts_once(url, traces)


def test_two_exports_are_read_at_a_time(client, url, monkeypatch):
    real, busy, most = module.read_export, [], []

    def slow(body, encoding):
        busy.append(None)
        most.append(len(busy))
        time.sleep(0.05)
        busy.pop()
        return real(body, encoding)

    monkeypatch.setattr(module, "read_export", slow)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: send(client, chat(i)), range(1, 9)))
    assert max(most) == 2
    assert set(rows(url)) == set(range(1, 9))


# --- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body, headers", [(b"", PROTOBUF), (b"{}", JSON), (as_json(), JSON), (as_protobuf(), PROTOBUF)]
)
def test_an_empty_export(client, body, headers):
    response = client.post("/v1/traces", content=body, headers=headers)
    assert response.status_code == 200
    assert response.content == (b"" if headers is PROTOBUF else b"{}")


def test_bodies_that_are_no_export(client):
    response = client.post("/v1/traces", content=as_protobuf(chat(1))[:-5], headers=PROTOBUF)
    assert (response.status_code, response.headers["content-type"]) == (400, "application/x-protobuf")
    assert "ExportTraceServiceRequest" in status_pb2.Status.FromString(response.content).message
    deep = b'{"resourceSpans":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    for body in (b"", b"{", b"[]", deep):
        response = client.post("/v1/traces", content=body, headers=JSON)
        assert response.status_code == 400
        assert response.json()["code"] == "invalid_json"


@pytest.mark.parametrize("kind", ["text/plain", "application/grpc", ""])
def test_other_types(client, kind):
    response = client.post("/v1/traces", content=b"x", headers={"Content-Type": kind})
    assert response.status_code == 415
    assert "application/x-protobuf" in response.json()["details"]["reason"]


def test_parameters_of_the_type(client, url):
    headers = {"Content-Type": "Application/JSON; charset=utf-8"}
    assert client.post("/v1/traces", content=as_json(chat(1)), headers=headers).json() == {}
    assert set(rows(url)) == {1}


def test_compressed(client, url):
    headers = PROTOBUF | {"Content-Encoding": "gzip"}
    assert client.post("/v1/traces", content=gzip.compress(as_protobuf(chat(1))), headers=headers).status_code == 200
    assert set(rows(url)) == {1}


def test_a_server_that_has_no_time_says_when_to_come_again(url):
    with client_of(url, max_busy=0) as client:
        response = client.post("/v1/traces", content=as_protobuf(chat(1)), headers=PROTOBUF)
        assert (response.status_code, response.headers["retry-after"]) == (503, "2")
        assert "wait" in status_pb2.Status.FromString(response.content).message
        response = client.post("/v1/traces", content=as_json(chat(1)), headers=JSON)
        assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    assert rows(url) == {}


def test_only_with_a_key_that_may_write(url):
    with client_of(url) as client:
        keys = client.app.state.service.keys
        reads, writes, other = (keys.create("a", ["read"]), keys.create("a", ["write"]), keys.create("b", ["write"]))
    for token, status in (("", 401), ("ipk_wrong", 401), (reads, 403)):
        with client_of(url, token) as client:
            response = client.post("/v1/traces", content=as_protobuf(chat(1)), headers=PROTOBUF)
            assert (response.status_code, response.headers["content-type"]) == (status, "application/x-protobuf")
            assert status_pb2.Status.FromString(response.content).message
            response = client.post("/v1/traces", content=as_json(chat(1)), headers=JSON)
            assert (response.status_code, "message" in response.json()) == (status, True)
    # Two owners whose traces have the same ids know nothing of each other.
    with client_of(url, writes) as client:
        assert send(client, INNER) == (0, "")
    with client_of(url, other) as client:
        assert send(client, OUTER, WRAP) == (0, "")
    database = Database(url)
    with database.begin(write=False) as connection:
        found = connection.execute(select(USAGE.c.owner_id, USAGE.c.request_id, USAGE.c.outcome)).all()
    database.close()
    assert len({row.owner_id for row in found}) == 2
    assert {row.outcome for row in found if int(row.request_id[-16:], 16) != 2} == {"estimated"}


def test_both_types_are_described(client):
    operation = client.get("/openapi.json").json()["paths"]["/v1/traces"]["post"]
    kinds = {"application/x-protobuf", "application/json"}
    assert set(operation["requestBody"]["content"]) == kinds
    assert set(operation["responses"]["200"]["content"]) == kinds
    assert set(operation["responses"]["400"]["content"]) == kinds
    assert set(operation["responses"]["415"]["content"]) == {"application/json"}
    assert {"400", "401", "403", "413", "415", "429", "503"} <= set(operation["responses"])


# --- the SDK of OpenTelemetry against a server ------------------------------------------------------------------------


class Twice(OTLPSpanExporter):
    """An exporter that sends everything twice, as after an answer that was lost."""

    results: list[SpanExportResult]

    def export(self, spans):
        self.results = [*getattr(self, "results", []), super().export(spans), super().export(spans)]
        return self.results[-1]


@contextmanager
def serving(url):
    """A server on a port of its own, and a key for it."""
    app = create_app(Settings(database_url=url))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}", app.state.service.keys.create("team", ["write"])
    finally:
        server.should_exit = True
        thread.join()


def test_the_sdk_and_its_exporter(url):
    with serving(url) as (address, token):
        exporter = Twice(
            f"{address}/v1/traces", headers={"Authorization": f"Bearer {token}"}, compression=Compression.Gzip
        )
        provider = TracerProvider(resource=Resource({"service.name": "search", "service.namespace": "shop"}))
        memory = InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        provider.add_span_processor(SimpleSpanProcessor(memory))
        tracer = provider.get_tracer("test")
        call = {
            "gen_ai.operation.name": "chat",
            "gen_ai.request.model": "gpt-4o-mini",
            "gen_ai.usage.input_tokens": 12,
            "gen_ai.usage.output_tokens": 3,
        }
        with tracer.start_as_current_span("framework", attributes=call), tracer.start_as_current_span("wrap"):  # noqa: SIM117
            with tracer.start_as_current_span("client", attributes={**call, "server.address": "api.openai.com"}):
                pass
        provider.shutdown()
        assert exporter.results == [SpanExportResult.SUCCESS] * 6
        names = {span.context.span_id: span.name for span in memory.get_finished_spans()}
        refused = httpx.post(f"{address}/v1/traces", content=b"x", headers=PROTOBUF)
        assert refused.status_code == 401
    found = rows(url)
    assert {names[number]: outcome for number, (outcome, _) in found.items()} == {
        "client": "estimated",
        "wrap": "merged",
        "framework": "merged",
    }
    (client,) = [row for outcome, row in found.values() if outcome == "estimated"]
    assert (client["managed_service_id"], client["project_id"], client["application_id"]) == (
        "openai",
        "shop",
        "search",
    )
