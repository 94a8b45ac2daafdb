"""Traces of OpenTelemetry: counts by the GenAI conventions, where input includes cached tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from inferprint.usage.base import Merged, Outcome, Record, Rejected, Skipped
from inferprint.usage.opentelemetry import OPENTELEMETRY
from inferprint.usage.source import open_source, sample_of

SAMPLES = Path(__file__).parent / "samples"
TRACE = "5b8efff798038103d269b633813fc60c"


def outcomes(path: Path, state: dict[str, Any] | None = None) -> list[Outcome]:
    source = open_source(path)
    assert OPENTELEMETRY.recognises(sample_of(source))
    assert source.kind in OPENTELEMETRY.kinds
    read = list(OPENTELEMETRY.read(source, {} if state is None else state))
    assert not source.rejects
    return read


def test_a_span_of_todays_conventions() -> None:
    assert outcomes(SAMPLES / "opentelemetry.json")[0] == Record(
        row=1,
        model_id="claude-sonnet-4-20250514",
        input_tokens=2400,
        output_tokens=350,
        cached_input_tokens=1200,
        cache_write_tokens=300,
        reasoning_tokens=90,
        request_id=f"{TRACE}/msg-1",
        trace_id=TRACE,
        session_id="conv-1",
        project_id="shop",
        application_id="search",
        user_id="u-1",
        environment="prod",
        managed_service_id="aws-bedrock",
        cloud_id="aws",
        cloud_region="eu-west-3",
        utc_datetime="2025-11-22T08:26:40Z",
        request_duration_ms=4200,
        time_to_first_token_ms=620,
    )


def test_names_of_before() -> None:
    second = outcomes(SAMPLES / "opentelemetry.json")[1]
    assert isinstance(second, Record)
    assert (second.input_tokens, second.cached_input_tokens, second.cache_write_tokens) == (100, 64, 8)
    assert (second.output_tokens, second.service_tier, second.managed_service_id) == (20, "flex", "openai")
    assert second.request_id == f"{TRACE}/0000000000000002"
    assert second.request_duration_ms == 10


def test_outcomes_of_all_spans() -> None:
    read = outcomes(SAMPLES / "opentelemetry.json")
    assert [(outcome.row, type(outcome)) for outcome in read] == [
        (1, Record),
        (2, Record),
        (3, Record),
        (4, Skipped),  # a tool
        (5, Skipped),  # failed
        (6, Skipped),  # an agent's total
        (7, Skipped),  # an HTTP request
        (8, Record),
        (9, Skipped),  # a chain
        (10, Record),
        (11, Skipped),  # a workflow
        (12, Rejected),
        (13, Rejected),
    ]
    assert read[3] == Skipped(4, "not-inference")
    assert read[4] == Skipped(5, "failed")
    assert read[5] == Skipped(6, "not-inference")
    assert isinstance(read[11], Rejected)
    assert read[11].field == "gen_ai.usage.input_tokens"
    assert isinstance(read[12], Rejected)
    assert read[12].field == "attributes"


def test_openinference_and_openllmetry() -> None:
    read = outcomes(SAMPLES / "opentelemetry.json")
    phoenix, vllm = read[7], read[9]
    assert isinstance(phoenix, Record)
    assert isinstance(vllm, Record)
    assert (phoenix.model_id, phoenix.input_tokens, phoenix.output_tokens) == ("gpt-4o-mini-2024-07-18", 500, 60)
    assert (phoenix.cached_input_tokens, phoenix.reasoning_tokens, phoenix.cost_usd) == (128, 40, 0.0021)
    assert (phoenix.session_id, phoenix.managed_service_id) == ("s-9", "openai")
    assert (vllm.input_tokens, vllm.output_tokens, vllm.reasoning_tokens) == (40, 5, 2)
    # Its protocol is OpenAI's, its address is not.
    assert vllm.managed_service_id is None
    assert vllm.request_duration_ms is None


def test_embeddings_state_no_output() -> None:
    third = outcomes(SAMPLES / "opentelemetry.json")[2]
    assert isinstance(third, Record)
    assert (third.input_tokens, third.output_tokens) == (12, None)
    assert (third.managed_service_id, third.cloud_id) == ("azure-openai", "azure")


def test_no_prompt_is_kept() -> None:
    for outcome in outcomes(SAMPLES / "opentelemetry.json"):
        assert "SECRET" not in repr(outcome)


def test_a_call_that_two_spans_tell_counts_once() -> None:
    read = outcomes(SAMPLES / "opentelemetry.jsonl")
    assert [(outcome.row, type(outcome)) for outcome in read] == [
        (1, Merged),  # the framework's
        (2, Skipped),
        (3, Record),  # the client's, inside it
        (4, Record),
        (5, Record),
        (6, Merged),  # 70 + 30 and 7 + 3 tokens
        (7, Record),
        (8, Merged),  # a gateway's, inside one that was read before
        (9, Record),  # inside the next, but another call
        (10, Record),
        (11, Record),
        (12, Record),  # the same span again: its request_id tells
    ]
    records = [outcome for outcome in read if isinstance(outcome, Record)]
    assert records[-1].request_id == records[-2].request_id
    assert records[0].managed_service_id == "openai"


def test_spans_of_one_trace_in_two_files(tmp_path: Path) -> None:
    lines = (SAMPLES / "opentelemetry.jsonl").read_text().splitlines()
    state: dict[str, Any] = {}
    found = []
    for number in (1, 2):
        path = tmp_path / f"traces-{number}.jsonl"
        path.write_text(lines[number] + "\n")
        found += outcomes(path, state)
    assert [type(outcome) for outcome in found] == [Record, Record, Merged]


def test_spans_that_are_waited_for_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inferprint.usage.opentelemetry.Nesting.remembered", 1)
    state: dict[str, Any] = {}
    outcomes(SAMPLES / "opentelemetry.jsonl", state)
    assert len(state["opentelemetry"].inside) <= 1
    assert len(state["opentelemetry"].around) <= 1


@pytest.mark.parametrize("key", ["resourceMetrics", "resourceLogs"])
def test_metrics_and_logs_are_refused(key: str, tmp_path: Path) -> None:
    path = tmp_path / "telemetry.json"
    path.write_text(json.dumps({key: [{"resource": {}}]}))
    (outcome,) = outcomes(path)
    assert isinstance(outcome, Rejected)
    assert (outcome.row, outcome.field) == (1, key)
    assert "export traces" in outcome.reason


def test_the_sample_of_metrics_is_refused() -> None:
    (outcome,) = outcomes(SAMPLES / "opentelemetry-metrics.json")
    assert isinstance(outcome, Rejected)


def one_span(tmp_path: Path, attributes: dict[str, Any], **fields: Any) -> Outcome:
    kinds = {str: "stringValue", int: "intValue", float: "doubleValue"}
    span = {
        "traceId": "t",
        "spanId": "s",
        "attributes": [{"key": key, "value": {kinds[type(value)]: value}} for key, value in attributes.items()],
    }
    path = tmp_path / "span.json"
    path.write_text(json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [span | fields]}]}]}))
    (outcome,) = outcomes(path)
    return outcome


def test_a_clock_that_ran_backwards(tmp_path: Path) -> None:
    found = one_span(
        tmp_path, {"gen_ai.operation.name": "chat"}, startTimeUnixNano=1763800000000000000, endTimeUnixNano="1"
    )
    assert isinstance(found, Record)
    assert found.request_duration_ms is None
    assert found.utc_datetime == "2025-11-22T08:26:40Z"


def test_a_failed_call_with_tokens_counts(tmp_path: Path) -> None:
    found = one_span(
        tmp_path,
        {"gen_ai.operation.name": "chat", "gen_ai.usage.input_tokens": 7, "error.type": "timeout"},
        status={"code": "STATUS_CODE_ERROR"},
    )
    assert isinstance(found, Record)


def test_an_operation_that_the_conventions_do_not_name(tmp_path: Path) -> None:
    tokens = {"gen_ai.usage.input_tokens": 7, "gen_ai.request.model": "m"}
    assert isinstance(one_span(tmp_path, {"gen_ai.operation.name": "responses", **tokens}), Record)
    assert isinstance(one_span(tmp_path, {"gen_ai.operation.name": "handoff"}), Skipped)
    assert isinstance(one_span(tmp_path, {"gen_ai.operation.name": "plan", **tokens}), Skipped)


def test_frameworks_serve_no_models(tmp_path: Path) -> None:
    found = one_span(tmp_path, {"gen_ai.operation.name": "chat", "gen_ai.system": "langchain"})
    assert isinstance(found, Record)
    assert found.managed_service_id is None


def test_today_s_names_win(tmp_path: Path) -> None:
    found = one_span(
        tmp_path,
        {"gen_ai.operation.name": "chat", "gen_ai.usage.prompt_tokens": 1, "gen_ai.usage.input_tokens": 7,
         "gen_ai.response.model": "used", "gen_ai.request.model": "asked", "openai.request.service_tier": "auto"},
    )  # fmt: skip
    assert isinstance(found, Record)
    assert (found.input_tokens, found.model_id, found.service_tier) == (7, "used", None)
