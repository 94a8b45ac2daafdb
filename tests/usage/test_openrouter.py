"""OpenRouter: days of activity, generations with native counts, responses."""

from __future__ import annotations

from pathlib import Path

from inferprint.usage.base import Outcome, Record, Rejected, Skipped
from inferprint.usage.openrouter import OPENROUTER
from inferprint.usage.source import open_source, sample_of

SAMPLES = Path(__file__).parent / "samples"


def outcomes_of(path: Path) -> list[Outcome]:
    source = open_source(path)
    assert source.kind in OPENROUTER.kinds
    assert OPENROUTER.recognises(sample_of(source))
    outcomes = list(OPENROUTER.read(source, {}))
    assert not source.rejects
    return outcomes


def test_a_day_stands_for_its_requests() -> None:
    first, second = outcomes_of(SAMPLES / "openrouter.json")
    assert first == Record(
        row=1,
        model_id="openai/gpt-4.1",
        input_tokens=5200,
        output_tokens=1250,
        reasoning_tokens=300,
        n_requests=5,
        managed_service_id="Azure",
        utc_datetime="2026-11-20T00:00:00Z",
        cost_usd=0.015 + 0.012,  # what OpenRouter charged, and what the provider did
    )
    assert isinstance(second, Record)
    assert (second.managed_service_id, second.n_requests) == ("openrouter", 2)


def test_activity_as_table() -> None:
    [day] = outcomes_of(SAMPLES / "openrouter-activity.csv")
    assert isinstance(day, Record)
    assert (day.input_tokens, day.n_requests, day.managed_service_id, day.cost_usd) == (5200, 5, "OpenAI", 0.015)


def test_the_export_has_generations() -> None:
    first, second = outcomes_of(SAMPLES / "openrouter-export.csv")
    assert first == Record(
        row=1,
        model_id="openai/gpt-oss-120b",
        input_tokens=10389,
        output_tokens=137,
        cached_input_tokens=4096,
        reasoning_tokens=64,
        request_id="gen-1",
        application_id="My App",
        client_id="ci",
        user_id="user_1",
        managed_service_id="Groq",
        utc_datetime="2026-11-20T09:00:00.713Z",
        time_to_first_token_ms=212,
        cost_usd=0.0123,
    )
    assert second == Skipped(2, "failed")


def test_native_counts_are_used() -> None:
    first, second, third, fourth = outcomes_of(SAMPLES / "openrouter-generations.jsonl")
    assert first == Record(
        row=1,
        model_id="anthropic/claude-sonnet-4.5",
        input_tokens=100,  # and not the 90 of OpenRouter's own tokeniser
        output_tokens=25,
        cached_input_tokens=30,
        reasoning_tokens=5,
        request_id="gen-3",
        session_id="s-3",
        application_id="12345",
        user_id="user-123",
        managed_service_id="Amazon Bedrock",
        service_tier="priority",
        utc_datetime="2026-11-20T09:33:19.433Z",
        request_duration_ms=1250,
        cost_usd=0.0015 + 0.0012,  # with a key of one's own
    )
    assert second == Skipped(2, "cached-response")
    assert isinstance(third, Record)
    assert (third.input_tokens, third.output_tokens, third.managed_service_id) == (7, 3, "openrouter")
    assert isinstance(fourth, Rejected)
    assert (fourth.row, fourth.field) == (4, "data.native_tokens_prompt")


def test_responses() -> None:
    first, second = outcomes_of(SAMPLES / "openrouter-responses.jsonl")
    assert isinstance(first, Record)
    # 74 fresh, 20 read from the cache, 100 written to it.
    assert (first.input_tokens, first.cached_input_tokens, first.cache_write_tokens) == (194, 20, 100)
    assert (first.output_tokens, first.reasoning_tokens, first.cost_usd) == (40, 12, 0.95)
    assert (first.request_id, first.managed_service_id) == ("gen-7", "OpenAI")
    assert second == Skipped(2, "failed")
