"""Langfuse: free names of usage, whose counts stand beside each other unless the total says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferprint.usage.base import Outcome, Record, Rejected, Skipped
from inferprint.usage.langfuse import LANGFUSE
from inferprint.usage.source import open_source, sample_of

SAMPLES = Path(__file__).parent / "samples"


def outcomes_of(path: Path) -> list[Outcome]:
    source = open_source(path)
    assert source.kind in LANGFUSE.kinds
    assert LANGFUSE.recognises(sample_of(source))
    outcomes = list(LANGFUSE.read(source, {}))
    assert not source.rejects
    return outcomes


def counted(read: Outcome) -> tuple[float | None, ...]:
    assert isinstance(read, Record)
    return (
        read.input_tokens,
        read.cached_input_tokens,
        read.cache_write_tokens,
        read.output_tokens,
        read.reasoning_tokens,
    )


def test_an_observation_of_blob_storage() -> None:
    assert outcomes_of(SAMPLES / "langfuse.jsonl")[0] == Record(
        row=1,
        model_id="gpt-4o-mini",
        input_tokens=2400,  # 1200 + 1200, as the total of 2750 is of all four
        output_tokens=350,  # 260 + 90
        cached_input_tokens=1200,
        reasoning_tokens=90,
        request_id="o-1",
        trace_id="t-1",
        session_id="s-1",
        project_id="p-1",
        application_id="search",
        user_id="u-1",
        environment="production",
        utc_datetime="2026-11-20T09:00:00.000Z",
        request_duration_ms=4000,
        time_to_first_token_ms=1000,
        cost_usd=0.0009,
    )


def test_left_out() -> None:
    assert outcomes_of(SAMPLES / "langfuse.jsonl")[1:3] == [Skipped(2, "not-inference"), Skipped(3, "failed")]


def test_counts_of_anthropic_are_apart() -> None:
    read = outcomes_of(SAMPLES / "langfuse.jsonl")[3]
    assert counted(read) == (12 + 48000 + 900, 48000, 900, 640, 0)
    assert isinstance(read, Record)
    assert (read.environment, read.cost_usd, read.request_duration_ms) == (None, None, None)


def test_a_total_of_input_and_output_alone_holds_their_parts() -> None:
    assert counted(outcomes_of(SAMPLES / "langfuse.jsonl")[4]) == (2400, 1200, 0, 350, 90)


def test_embeddings_give_no_tokens() -> None:
    assert counted(outcomes_of(SAMPLES / "langfuse.jsonl")[5]) == (800, 0, 0, 0, 0)


def test_usage_that_cannot_be_read() -> None:
    read = outcomes_of(SAMPLES / "langfuse.jsonl")[6]
    assert isinstance(read, Rejected)
    assert (read.row, read.field) == (7, "usageDetails")


def test_pages_of_the_api() -> None:
    first, second = outcomes_of(SAMPLES / "langfuse-api.json")
    assert counted(first) == (100, 0, 0, 20, 0)
    assert isinstance(first, Record)
    assert (first.environment, first.cost_usd, first.request_duration_ms) == ("staging", 0.002, 2500)
    assert counted(second)[0] is None  # characters are no tokens


def test_an_export_as_table() -> None:
    [read] = outcomes_of(SAMPLES / "langfuse-export.csv")
    assert counted(read) == (100, 30, 0, 20, 0)
    assert isinstance(read, Record)
    assert (read.cost_usd, read.time_to_first_token_ms, read.application_id) == (0.003, 500, "search")


def test_parquet(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "observations.parquet"
    duckdb.sql(
        "COPY (SELECT 'o-1' AS id, 't-1' AS trace_id, 'p-1' AS project_id, 'GENERATION' AS type, "
        "TIMESTAMP '2026-11-20 09:00:00' AS start_time, TIMESTAMP '2026-11-20 09:00:02.5' AS end_time, "
        "'gpt-4o-mini' AS provided_model_name, "
        "MAP {'input': 70, 'input_cached_tokens': 30, 'output': 20, 'total': 120} AS usage_details, "
        f"MAP {{'total': 0.003}} AS cost_details) TO '{path}' (FORMAT parquet)"
    )
    [read] = outcomes_of(path)
    assert counted(read) == (100, 30, 0, 20, 0)
    assert isinstance(read, Record)
    assert (read.request_duration_ms, read.cost_usd) == (2500, 0.003)


@pytest.mark.parametrize(
    "usage, expected",
    [
        ('{"input": 5, "output": 3}', (5, 0, 0, 3, 0)),
        ('{"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}', (5, 0, 0, 3, 0)),
        ('{"input": 0, "input_modality_TEXT": 50, "cached_modality_TEXT": 40, "output": 3}', (90, 40, 0, 3, 0)),
        ('{"input": 5, "input_cache_creation": 7, "output": 3, "output_audio": 4}', (12, 0, 7, 7, 0)),
        ('{"input": 9, "input_priority": 9, "output": 3, "output_priority": 3, "total": 24}', (9, 0, 0, 3, 0)),
        ('{"input": 5, "output": 3, "thoughts_token_count": 2, "web_search_requests": 6}', (5, 0, 0, 5, 2)),
        ('{"images": 2}', (None, 0, 0, None, 0)),
    ],
)
def test_names_of_usage(tmp_path: Path, usage: str, expected: tuple[float | None, ...]) -> None:
    path = tmp_path / "observations.jsonl"
    path.write_text(
        '{"id": "o", "traceId": "t", "type": "GENERATION", "startTime": "2026-11-20T09:00:00Z", "model": "m", '
        f'"usageDetails": {usage}}}\n'
    )
    [read] = outcomes_of(path)
    assert counted(read) == expected
