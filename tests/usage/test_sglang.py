"""Metrics of SGLang."""

from __future__ import annotations

from pathlib import Path

import pytest

from inferprint.usage.base import Record
from inferprint.usage.sglang import SGLANG
from inferprint.usage.source import open_source, sample_of

SAMPLES = Path(__file__).parent / "samples"


def test_counts_since_the_start() -> None:
    (record,) = SGLANG.read(open_source(SAMPLES / "sglang.prom"), {})
    assert isinstance(record, Record)
    assert (record.model_id, record.n_requests) == ("qwen/qwen3-32b", 11228)
    assert (record.input_tokens, record.output_tokens) == (8_128_902, 757_557)
    assert record.cached_input_tokens == 3_000_000 + 500_000, "from all caches"
    assert record.time_to_first_token_ms == pytest.approx(500)


def test_recognised() -> None:
    assert SGLANG.recognises(sample_of(open_source(SAMPLES / "sglang.prom")))
    assert not SGLANG.recognises(sample_of(open_source(SAMPLES / "vllm.prom")))
