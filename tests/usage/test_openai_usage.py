"""Usage reports of OpenAI: totals of buckets, whose input includes what the cache holds."""

from __future__ import annotations

import json
import math
from pathlib import Path

from inferprint.usage.base import Outcome, Record, Rejected, Skipped
from inferprint.usage.openai_usage import OPENAI_USAGE
from inferprint.usage.source import open_source, sample_of

SAMPLES = Path(__file__).parent / "samples"


def outcomes(path: Path, n_rejects: int = 0) -> list[Outcome]:
    source = open_source(path)
    assert OPENAI_USAGE.recognises(sample_of(source))
    assert source.kind in OPENAI_USAGE.kinds
    read = list(OPENAI_USAGE.read(source, {}))
    assert len(source.rejects) == n_rejects
    return read


def records(name: str, n_rejects: int = 0) -> list[Record]:
    return [outcome for outcome in outcomes(SAMPLES / name, n_rejects) if isinstance(outcome, Record)]


def test_completions() -> None:
    first, batch, flex, ungrouped = records("openai_usage.json")
    request_id = first.request_id
    assert first == Record(
        row=1,
        model_id="gpt-4o-mini-2024-07-18",
        input_tokens=480000,
        output_tokens=70000,
        cached_input_tokens=200000,
        cache_write_tokens=30000,
        n_requests=200,
        request_id=request_id,
        project_id="proj_a",
        client_id="key_1",
        managed_service_id="openai",
        utc_datetime="2025-11-20T00:00:00Z",
    )
    assert (batch.service_tier, batch.n_requests) == ("batch", 50)
    assert (flex.service_tier, flex.user_id) == ("flex", "user-1")
    assert flex.output_audio_tokens == 50  # 1000 of 20 requests
    assert (ungrouped.model_id, ungrouped.row, ungrouped.service_tier) == (None, 4, None)
    assert len({record.request_id for record in (first, batch, flex, ungrouped)}) == 4


def test_other_endpoints() -> None:
    read = outcomes(SAMPLES / "openai_usage-endpoints.jsonl")
    assert [outcome.row for outcome in read] == list(range(1, 11))
    embeddings, moderations, images, heard, spoken, stores, searches, costs, decisions, again = read
    assert isinstance(embeddings, Record)
    assert (embeddings.input_tokens, embeddings.output_tokens, embeddings.n_requests) == (9000, 0, 90)
    assert isinstance(moderations, Record)
    assert isinstance(images, Record)
    assert (images.output_images, images.n_requests, images.input_tokens) == (1.5, 20, None)
    assert isinstance(heard, Record)
    assert (heard.input_audio_seconds, heard.n_requests, heard.output_tokens) == (60, 60, None)
    assert isinstance(spoken, Rejected)
    assert spoken.field == "characters"
    assert stores == Skipped(6, "not-inference")
    assert searches == Skipped(7, "not-inference")
    assert costs == Skipped(8, "not-inference")
    assert isinstance(decisions, Record)
    assert isinstance(again, Record)
    assert again.request_id == embeddings.request_id


def test_dashboard() -> None:
    first, batch = records("openai_usage-dashboard.csv", n_rejects=1)
    assert (first.input_tokens, first.cached_input_tokens, first.output_tokens) == (59200, 5760, 10646)
    assert (first.n_requests, first.service_tier, first.output_audio_tokens) == (10, None, None)
    assert (first.model_id, first.utc_datetime) == ("gpt-4o-2024-08-06", "2025-11-20T00:00:00Z")
    assert batch.service_tier == "batch"
    assert outcomes(SAMPLES / "openai_usage-dashboard.csv", n_rejects=1)[2] == Skipped(3, "no-tokens")


def test_a_bucket_by_itself_without_its_number_of_requests(tmp_path: Path) -> None:
    bucket = {"object": "bucket", "start_time": 1763596800, "end_time": 1763600400, "results": []}
    result = {"object": "organization.usage.completions.result", "input_tokens": 9, "output_tokens": 1}
    path = tmp_path / "buckets.json"
    path.write_text(json.dumps([bucket, {**bucket, "results": [result]}]))
    (found,) = outcomes(path)
    assert isinstance(found, Record)
    assert math.isnan(found.n_requests)


def test_pages_of_others_are_not_recognised(tmp_path: Path) -> None:
    path = tmp_path / "page.json"
    for page in ({"object": "list", "data": []}, {"object": "page", "data": [{"object": "model"}]}, {"data": []}):
        path.write_text(json.dumps(page))
        assert not OPENAI_USAGE.recognises(sample_of(open_source(path)))
