"""Helicone: what is read from a cache, and reasoning, stand beside the other counts."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferprint.usage.base import Outcome, Record, Rejected, Skipped
from inferprint.usage.helicone import HELICONE
from inferprint.usage.source import open_source, sample_of

SAMPLES = Path(__file__).parent / "samples"


def outcomes_of(path: Path) -> tuple[list[Outcome], list[Rejected]]:
    source = open_source(path)
    assert source.kind in HELICONE.kinds
    assert HELICONE.recognises(sample_of(source))
    return list(HELICONE.read(source, {})), source.rejects


def test_parts_are_added() -> None:
    outcomes, rejects = outcomes_of(SAMPLES / "helicone.jsonl")
    assert outcomes[0] == Record(
        row=1,
        model_id="gpt-4o-mini",
        input_tokens=2400,  # 1200 fresh + 1200 read from the cache
        output_tokens=350,  # 260 visible + 90 of reasoning
        cached_input_tokens=1200,
        reasoning_tokens=90,
        request_id="h-1",
        session_id="s-1",
        project_id="search",
        application_id="web",
        user_id="u-1",
        environment="production",
        managed_service_id="openai",
        utc_datetime="2026-11-20T09:00:00.000Z",
        request_duration_ms=4200,
        time_to_first_token_ms=620,
        cost_usd=0.0004,
    )
    assert [(r.row, r.field) for r in rejects] == [(5, "prompt_tokens")]


def test_left_out() -> None:
    outcomes, _ = outcomes_of(SAMPLES / "helicone.jsonl")
    assert outcomes[1:3] == [Skipped(2, "cached-response"), Skipped(3, "failed")]


def test_the_address_tells_the_region() -> None:
    read = outcomes_of(SAMPLES / "helicone.jsonl")[0][3]
    assert isinstance(read, Record)
    assert (read.input_tokens, read.cached_input_tokens, read.cache_write_tokens) == (12 + 48000 + 900, 48000, 900)
    assert (read.managed_service_id, read.cloud_id, read.cloud_region) == ("aws-bedrock", "aws", "eu-central-1")


def test_the_export_as_table_doubles_quotation_marks() -> None:
    [read], _ = outcomes_of(SAMPLES / "helicone.csv")
    assert isinstance(read, Record)
    assert (read.model_id, read.project_id, read.environment) == ("gpt-4o-mini", "search", None)
    assert (read.input_tokens, read.output_tokens, read.request_duration_ms) == (120, 30, 1500)


@pytest.mark.parametrize(
    "provider, service", [("X", "xai"), ("CUSTOM", None), ("HELICONE", None), ("GROQ", "GROQ"), ("", None)]
)
def test_providers(tmp_path: Path, provider: str, service: str | None) -> None:
    path = tmp_path / "export.csv"
    path.write_text(
        "request_id,request_created_at,delay_ms,request_model,provider,prompt_tokens,completion_tokens\n"
        f"h,2026-11-20T09:00:00Z,10,gpt-4o-mini,{provider},10,5\n"
    )
    [read], _ = outcomes_of(path)
    assert isinstance(read, Record)
    assert read.managed_service_id == service
