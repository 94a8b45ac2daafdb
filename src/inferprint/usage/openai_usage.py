"""Usage reports of OpenAI: pages of the usage API, and the CSV files that its dashboard exports."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec

from inferprint.usage.base import Counts, Format, Outcome, Record, Rejected, Sample, Skipped, Source
from inferprint.usage.tiers import tier_of
from inferprint.usage.times import utc


class _Result(msgspec.Struct, gc=False):
    object: str | None = None
    num_model_requests: float | None = None
    model: str | None = None
    batch: bool | str | None = None
    service_tier: str | None = None
    project_id: str | None = None
    user_id: str | None = None
    api_key_id: str | None = None
    size: str | None = None
    source: str | None = None
    api_source: str | None = None
    input_tokens: float | None = None
    output_tokens: float | None = None
    input_cached_tokens: float | None = None
    input_cache_write_tokens: float | None = None
    output_audio_tokens: float | None = None
    images: float | None = None
    seconds: float | None = None
    characters: float | None = None


class _Bucket(msgspec.Struct, gc=False):
    start_time: float | str | None = None
    end_time: float | str | None = None
    results: list[_Result] = []


class _Page(_Bucket, gc=False):
    """A page of buckets, or a bucket by itself."""

    data: list[_Bucket] = []


class _Exported(_Result, gc=False):
    """A row of the CSV file: a result with the period of its bucket."""

    start_time: float | str | None = None
    end_time: float | str | None = None


NOT_MODELS = frozenset(("vector_stores", "code_interpreter_sessions", "file_searches", "web_searches", "costs"))
"""Results that hold no work of a model. That of answers which searched stands among the completions."""

ENCODERS = frozenset(("embeddings", "moderations"))
"""Endpoints whose models write no tokens."""


def _endpoint(result: _Result) -> str:
    """The endpoint in "organization.usage.completions.result"; "" where a file does not say."""
    words = (result.object or "").split(".")
    return words[-2] if len(words) > 1 else ""


def _tier(result: _Result) -> str | None:
    """The tier; a batch is one, whatever is stated beside it."""
    if str(result.batch).lower() == "true":
        return "batch"
    return tier_of(result.service_tier)


def _each(amount: float | None, requests: float | None) -> float | None:
    """Pictures or seconds of one request."""
    return amount / requests if amount is not None and requests else amount


def _outcome(row: int, result: _Result, start: float | str | None, end: float | str | None) -> Outcome:
    endpoint = _endpoint(result)
    if endpoint in NOT_MODELS:
        return Skipped(row, "not-inference")
    if result.characters is not None and result.input_tokens is None:
        return Rejected(row, "characters", "speech is counted in characters here: neither tokens nor seconds are known")
    requests = result.num_model_requests
    if requests is None and result.input_tokens is None and result.images is None and result.seconds is None:
        return Skipped(row, "no-tokens")
    identity = (start, end, *msgspec.structs.astuple(result))
    return Record(
        row=row,
        model_id=result.model,
        input_tokens=result.input_tokens,
        output_tokens=0 if result.output_tokens is None and endpoint in ENCODERS else result.output_tokens,
        cached_input_tokens=result.input_cached_tokens or 0,
        cache_write_tokens=result.input_cache_write_tokens or 0,
        n_requests=math.nan if requests is None else requests,
        # A page that was fetched twice repeats its results to the letter.
        request_id="/".join(["" if part is None else str(part) for part in identity]),
        project_id=result.project_id,
        client_id=result.api_key_id,
        user_id=result.user_id,
        managed_service_id="openai",
        service_tier=_tier(result),
        utc_datetime=utc(start),
        input_audio_seconds=_each(result.seconds, requests),
        output_audio_tokens=_each(result.output_audio_tokens or None, requests),
        output_images=_each(result.images, requests),
    )


def _results(source: Source) -> Iterator[tuple[_Result, float | str | None, float | str | None]]:
    if source.kind in ("csv", "parquet"):
        for _, exported in source.decoded(_Exported):
            yield exported, exported.start_time, exported.end_time
    else:
        for _, page in source.decoded(_Page):
            for bucket in (page, *page.data):
                for result in bucket.results:
                    yield result, bucket.start_time, bucket.end_time


def _read(source: Source, state: dict[str, Any]) -> Iterator[Outcome]:  # noqa: ARG001
    """Each result of each bucket, numbered through the file."""
    for row, (result, start, end) in enumerate(_results(source), 1):
        yield _outcome(row, result, start, end)


def _recognises(sample: Sample) -> bool:
    if sample.kind in ("csv", "parquet"):
        return {"start_time", "end_time", "num_model_requests"} <= sample.names
    return any(_is_page(page) for page in sample.objects)


def _is_page(page: Any) -> bool:
    if not isinstance(page, dict):
        return False
    if page.get("object") == "page":
        buckets = page.get("data")
        return isinstance(buckets, list) and all(_is_bucket(bucket) for bucket in buckets)
    return _is_bucket(page)


def _is_bucket(bucket: Any) -> bool:
    return isinstance(bucket, dict) and bucket.get("object") == "bucket" and "start_time" in bucket


OPENAI_USAGE = Format(
    name="openai_usage",
    title="Usage report of OpenAI: usage API or CSV of the dashboard",
    counts=Counts(input_includes_cache=True, output_includes_reasoning=True),
    kinds=("json", "json-lines", "csv"),
    recognises=_recognises,
    read=_read,
    keeps_state=True,
    reference=(
        "openai 3.57.0, types.admin.organization, Usage...Response of all endpoints; columns of the dashboard's CSV of"
        " October 2025 in a public repository"
    ),
    doubts=(
        "Requests of a bucket are taken to be of their mean length, which hides the longer work of long prompts.",
        "A period that is given twice, as a day and its hours, counts twice, unless results are equal to the letter.",
        "Pictures of models that are billed by token may stand among both images and completions.",
        "The CSV of the dashboard is known from a file of others; OpenAI does not document it.",
    ),
)
"""Usage reports of OpenAI, in buckets of time."""
