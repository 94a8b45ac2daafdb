"""Metrics of vLLM."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferprint.usage.base import Record
from inferprint.usage.source import open_source, sample_of
from inferprint.usage.vllm import VLLM

SAMPLES = Path(__file__).parent / "samples"


def _read(name: str) -> list[Record]:
    outcomes = list(VLLM.read(open_source(SAMPLES / name), {}))
    records = [outcome for outcome in outcomes if isinstance(outcome, Record)]
    assert len(records) == len(outcomes)
    return records


def test_engines_and_reasons_are_added_up() -> None:
    (record,) = _read("vllm.prom")
    assert record.model_id == "meta-llama/Llama-3.1-8B-Instruct"
    assert (record.input_tokens, record.cached_input_tokens) == (150_000, 60_000)
    assert (record.output_tokens, record.n_requests) == (36_000, 70 + 8 + 2 + 40)
    assert record.request_duration_ms == pytest.approx((200 + 40) / 120 * 1000)
    assert (record.time_to_first_token_ms, record.utc_datetime, record.row) == (None, None, 6)


def test_timestamps_put_scrapes_in_order() -> None:
    records = _read("vllm-scrapes.prom")
    assert [record.model_id for record in records] == ['a "b"}'] * 3
    assert [record.utc_datetime for record in records] == [f"2025-11-20T{hour}:00:00Z" for hour in ("09", "10", "11")]
    counts = [(r.input_tokens, r.cached_input_tokens, r.output_tokens, r.n_requests) for r in records]
    assert counts == [(1000, 200, 100, 10), (600, 250, 80, 4), (500, 0, 40, 5)]


@pytest.mark.parametrize("name", ["vllm.prom", "vllm-scrapes.prom"])
def test_recognised(name: str) -> None:
    assert VLLM.recognises(sample_of(open_source(SAMPLES / name)))


def test_sglang_is_not_recognised() -> None:
    assert not VLLM.recognises(sample_of(open_source(SAMPLES / "sglang.prom")))
