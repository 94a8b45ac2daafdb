"""Request-response logs of Vertex AI: thoughts stand beside candidates, results of tools beside the prompt."""

from __future__ import annotations

from pathlib import Path

from inferprint.usage.base import Outcome, Record, Rejected, Skipped
from inferprint.usage.source import open_source, sample_of
from inferprint.usage.vertex import VERTEX

SAMPLE = Path(__file__).parent / "samples" / "vertex.jsonl"


def read_sample(path: Path = SAMPLE) -> list[Outcome]:
    source = open_source(path)
    assert VERTEX.recognises(sample_of(source))
    assert source.kind in VERTEX.kinds
    outcomes = list(VERTEX.read(source, {}))
    assert not source.rejects
    return outcomes


def record(number: int) -> Record:
    found = read_sample()[number - 1]
    assert isinstance(found, Record)
    return found


def test_thoughts_and_tools_are_added() -> None:
    assert record(1) == Record(
        row=1,
        model_id="gemini-2.5-flash",
        input_tokens=2500,  # 2400 of the prompt + 100 of tools
        output_tokens=350,  # 260 + 90
        cached_input_tokens=1200,
        reasoning_tokens=90,
        request_id="1001",
        project_id="shop",
        managed_service_id="google-vertex",
        cloud_id="gcp",
        cloud_region="europe-west4",
        utc_datetime="2026-11-20T09:00:01Z",
        request_duration_ms=4200.5,
    )


def test_the_last_usage_of_a_stream_counts() -> None:
    second = record(2)
    assert (second.input_tokens, second.output_tokens) == (50, 11)
    assert (second.service_tier, second.request_duration_ms) == ("flex", 812)


def test_an_answer_kept_as_text_with_nothing_visible() -> None:
    third = record(3)
    assert (third.input_tokens, third.output_tokens, third.reasoning_tokens) == (30, 64, 64)
    assert third.service_tier == "provisioned"
    assert third.model_id == "publishers/google/models/gemini-2.5-flash"


def test_claude_leaves_the_cache_out_of_its_input() -> None:
    fourth, streamed = record(4), record(5)
    assert (fourth.input_tokens, fourth.output_tokens) == (48912, 640)  # 12 + 48000 + 900
    assert (fourth.cached_input_tokens, fourth.cache_write_tokens) == (48000, 900)
    assert (fourth.model_id, fourth.cloud_region) == ("claude-sonnet-4-20250514", "us-east5")
    assert (streamed.input_tokens, streamed.output_tokens) == (15, 77)
    assert streamed.model_id == "claude-sonnet-4-20250514"


def test_errors_and_rows_without_an_answer() -> None:
    outcomes = read_sample()
    assert outcomes[5] == Skipped(6, "failed")
    missing = outcomes[6]
    assert isinstance(missing, Rejected)
    assert (missing.row, missing.field) == (7, "full_response")


def test_sound_and_no_region() -> None:
    eighth = record(8)
    assert (eighth.output_tokens, eighth.output_audio_tokens, eighth.cloud_region) == (30, 25, None)


def test_rows_exported_as_a_table(tmp_path: Path) -> None:
    path = tmp_path / "vertex.csv"
    path.write_text(
        "logging_time,endpoint,request_id,model,full_response,metadata\n"
        '2026-11-20 09:00:00 UTC,projects/p/locations/us-central1,7,gemini-2.5-flash,"{""usageMetadata"":'
        '{""promptTokenCount"":3,""candidatesTokenCount"":4}}","{""request_latency"":9}"\n'
        "2026-11-20 09:00:00,projects/p/locations/us-central1,8,gemini-2.5-flash,no JSON,\n"
    )
    first, second = read_sample(path)
    assert isinstance(first, Record)
    assert (first.request_id, first.input_tokens, first.output_tokens) == ("7", 3, 4)
    assert (first.utc_datetime, first.request_duration_ms) == ("2026-11-20T09:00:00Z", 9)
    assert isinstance(second, Rejected)


def test_no_prompt_is_kept() -> None:
    assert "SECRET" not in repr(read_sample())
