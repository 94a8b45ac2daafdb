"""LiteLLM: counts are inclusive, details lie in the metadata, hits of its own cache are no inference."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferprint.usage.base import Outcome, Record, Rejected, Skipped
from inferprint.usage.litellm import LITELLM
from inferprint.usage.source import open_source, sample_of

SAMPLES = Path(__file__).parent / "samples"


def outcomes_of(path: Path) -> tuple[list[Outcome], list[Rejected]]:
    source = open_source(path)
    assert source.kind in LITELLM.kinds
    assert LITELLM.recognises(sample_of(source))
    return list(LITELLM.read(source, {})), source.rejects


def test_rows_of_the_table() -> None:
    outcomes, _ = outcomes_of(SAMPLES / "litellm.csv")
    assert outcomes[0] == Record(
        row=1,
        model_id="azure/gpt-4o-mini",
        input_tokens=2400,  # 1200 fresh and 1200 from the cache
        output_tokens=350,  # 260 visible and 90 of reasoning
        cached_input_tokens=1200,
        reasoning_tokens=90,
        request_id="chatcmpl-1",
        session_id="s-1",
        project_id="team-a",
        application_id="search-service",
        client_id="org-1",
        user_id="customer-7",
        managed_service_id="azure",
        cloud_id="azure",
        service_tier="flex",
        utc_datetime="2026-11-20T09:00:00.000Z",
        request_duration_ms=4000,
        time_to_first_token_ms=1000,
        cost_usd=0.0021,
    )


def test_what_is_no_inference() -> None:
    outcomes, _ = outcomes_of(SAMPLES / "litellm.csv")
    assert outcomes[1:4] == [Skipped(2, "cached-response"), Skipped(3, "failed"), Skipped(4, "not-inference")]


def test_anthropic_counts_are_inclusive_too() -> None:
    read = outcomes_of(SAMPLES / "litellm.csv")[0][4]
    assert isinstance(read, Record)
    assert (read.input_tokens, read.cached_input_tokens, read.cache_write_tokens) == (50900, 48000, 900)
    assert (read.managed_service_id, read.cloud_id, read.cloud_region) == ("bedrock", "aws", "eu-west-3")
    assert (read.project_id, read.client_id) == ("team-b", "hash-2")
    assert read.time_to_first_token_ms is None  # no stream: the first token came with the last


def test_a_batch_stands_for_its_requests() -> None:
    outcomes, _ = outcomes_of(SAMPLES / "litellm.csv")
    batch = outcomes[5]
    assert isinstance(batch, Record)
    assert (batch.n_requests, batch.service_tier, batch.input_tokens) == (100, "batch", 100000)
    assert batch.request_duration_ms is None
    unstated = outcomes[6]
    assert isinstance(unstated, Rejected)
    assert (unstated.row, unstated.field) == (7, "metadata.batch_successful_requests")


def test_metadata_that_is_no_json() -> None:
    read = outcomes_of(SAMPLES / "litellm.csv")[0][7]
    assert isinstance(read, Rejected)
    assert (read.row, read.field) == (8, "metadata")


def test_payloads() -> None:
    outcomes, rejects = outcomes_of(SAMPLES / "litellm-payloads.jsonl")
    first, second = outcomes[0], outcomes[1]
    assert first == Record(
        row=1,
        model_id="gemini-2.5-flash",
        input_tokens=1000,  # 550 fresh, 400 read from the cache, 50 written to it
        output_tokens=500,
        cached_input_tokens=400,
        cache_write_tokens=50,
        reasoning_tokens=120,
        request_id="chatcmpl-11",
        trace_id="t-1",
        session_id="s-9",
        project_id="project-x",
        application_id="bot",
        client_id="hash-9",
        managed_service_id="vertex_ai",
        cloud_id="gcp",
        cloud_region="europe-west4",
        utc_datetime="2025-11-20T09:00:00Z",
        request_duration_ms=5500,
        time_to_first_token_ms=750,
        cost_usd=0.004,
    )
    assert isinstance(second, Record)
    assert second.managed_service_id == "Groq"  # the host behind OpenRouter
    assert second.request_duration_ms is None  # the clock ran backwards
    assert outcomes[2] == Skipped(3, "cached-response")
    assert [(r.row, r.field) for r in rejects] == [(4, "prompt_tokens")]


def test_pages_of_the_api() -> None:
    outcomes, _ = outcomes_of(SAMPLES / "litellm-page.json")
    first, second = outcomes
    assert isinstance(first, Record)
    assert (first.input_tokens, first.output_tokens, first.request_duration_ms) == (800, 0, 250)
    assert isinstance(second, Rejected)
    assert (second.row, second.field) == (1, "data[1].prompt_tokens")


@pytest.mark.parametrize(
    "provider, api_base, service",
    [
        ("openai", "https://api.openai.com/v1", "openai"),
        ("openai", "http://10.0.0.1:8000/v1", None),  # a server of one's own that speaks OpenAI's protocol
        ("openai_like", "http://10.0.0.1:8000/v1", None),
        ("groq", "", "groq"),
        ("hosted_vllm", "http://10.0.0.1:8000/v1", "hosted_vllm"),
    ],
)
def test_a_protocol_is_no_host(tmp_path: Path, provider: str, api_base: str, service: str | None) -> None:
    path = tmp_path / "log.csv"
    head = "request_id,call_type,startTime,model,custom_llm_provider,api_base,prompt_tokens,completion_tokens"
    path.write_text(f"{head}\nr,completion,2026-11-20T09:00:00Z,gpt-oss-120b,{provider},{api_base},10,5\n")
    [read] = outcomes_of(path)[0]
    assert isinstance(read, Record)
    assert read.managed_service_id == service


def test_parquet(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    path = tmp_path / "log.parquet"
    duckdb.sql(f"COPY (SELECT * FROM read_csv('{SAMPLES / 'litellm.csv'}', quote='\"')) TO '{path}' (FORMAT parquet)")
    outcomes, rejects = outcomes_of(path)
    assert not rejects
    first = outcomes[0]
    assert isinstance(first, Record)
    assert (first.input_tokens, first.cached_input_tokens, first.reasoning_tokens) == (2400, 1200, 90)
    assert (first.utc_datetime, first.time_to_first_token_ms) == ("2026-11-20T09:00:00Z", 1000)
    assert outcomes[1] == Skipped(2, "cached-response")
