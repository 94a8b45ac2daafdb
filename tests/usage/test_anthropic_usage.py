"""Usage reports of Anthropic: totals of buckets, whose input leaves the cache out, of an unknown number of requests."""

from __future__ import annotations

import json
import math
from pathlib import Path

from inferprint.usage.anthropic_usage import ANTHROPIC_USAGE
from inferprint.usage.base import Record
from inferprint.usage.source import open_source, sample_of

SAMPLES = Path(__file__).parent / "samples"


def records(path: Path) -> list[Record]:
    source = open_source(path)
    assert ANTHROPIC_USAGE.recognises(sample_of(source))
    assert source.kind in ANTHROPIC_USAGE.kinds
    read = [outcome for outcome in ANTHROPIC_USAGE.read(source, {}) if isinstance(outcome, Record)]
    assert not source.rejects
    return read


def test_a_page() -> None:
    first, batch, ungrouped = records(SAMPLES / "anthropic_usage.json")
    assert (first.row, first.model_id) == (1, "claude-sonnet-4-20250514")
    assert first.input_tokens == 1071000  # 150000 fresh + 900000 read + 20000 and 1000 written
    assert (first.cached_input_tokens, first.cache_write_tokens, first.output_tokens) == (900000, 21000, 42000)
    assert math.isnan(first.n_requests)
    assert (first.country, first.service_tier, first.managed_service_id) == ("US", None, "anthropic")
    assert (first.project_id, first.client_id, first.user_id) == ("wrkspc_1", "apikey_1", None)
    assert first.utc_datetime == "2026-11-20T00:00:00Z"
    assert (batch.row, batch.country, batch.service_tier) == (2, None, "batch")
    assert (ungrouped.model_id, ungrouped.country, ungrouped.user_id) == (None, None, "user_9")
    assert len({record.request_id for record in (first, batch, ungrouped)}) == 3


def test_pages_that_repeat() -> None:
    read = records(SAMPLES / "anthropic_usage-pages.jsonl")
    assert [record.row for record in read] == [1, 2, 3, 4, 5, 6]
    assert [record.request_id for record in read[3:]] == [record.request_id for record in read[:3]]


def test_the_file_of_the_console() -> None:
    first, batch = records(SAMPLES / "anthropic_usage-console.csv")
    assert first.input_tokens == 69950  # 46981 + 15969 + 7000
    assert (first.cached_input_tokens, first.cache_write_tokens, first.output_tokens) == (7000, 15969, 16932)
    assert (first.country, first.service_tier, first.client_id) == (None, None, "Search App")
    assert first.utc_datetime == "2026-08-05T00:00:00Z"
    assert (batch.input_tokens, batch.service_tier, batch.country) == (120, "batch", "US")
    assert math.isnan(batch.n_requests)


def test_other_reports_are_not_recognised(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    cost = {"starting_at": "2026-11-20T00:00:00Z", "results": [{"amount": "12", "currency": "USD"}]}
    for page in ({"data": []}, {"data": [{"actor": {}}]}, {"data": [cost]}):
        path.write_text(json.dumps(page))
        assert not ANTHROPIC_USAGE.recognises(sample_of(open_source(path)))
