"""Usage reports of Anthropic: pages of the Admin API, and the CSV file that its Console exports."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec

from inferprint.usage.base import Counts, Format, Outcome, Record, Sample, Source
from inferprint.usage.tiers import tier_of
from inferprint.usage.times import utc


class _Written(msgspec.Struct, gc=False):
    ephemeral_5m_input_tokens: float | None = None
    ephemeral_1h_input_tokens: float | None = None


class _Result(msgspec.Struct, gc=False):
    uncached_input_tokens: float | None = None
    cache_creation: _Written | None = None
    cache_read_input_tokens: float | None = None
    output_tokens: float | None = None
    model: str | None = None
    service_tier: str | None = None
    inference_geo: str | None = None
    api_key_id: str | None = None
    workspace_id: str | None = None
    account_id: str | None = None
    service_account_id: str | None = None
    context_window: str | None = None
    speed: str | None = None


class _Bucket(msgspec.Struct, gc=False):
    starting_at: str | float | None = None
    ending_at: str | float | None = None
    results: list[_Result] = []


class _Page(msgspec.Struct, gc=False):
    data: list[_Bucket] = []


class _Exported(msgspec.Struct, gc=False):
    """A row of the CSV file."""

    usage_date_utc: str | None = None
    model_version: str | None = None
    api_key: str | None = None
    workspace: str | None = None
    usage_type: str | None = None
    context_window: str | None = None
    usage_input_tokens_no_cache: float | None = None
    usage_input_tokens_cache_write: float | None = None
    usage_input_tokens_cache_write_5m: float | None = None
    usage_input_tokens_cache_write_1h: float | None = None
    usage_input_tokens_cache_read: float | None = None
    usage_output_tokens: float | None = None
    inference_geo: str | None = None
    speed: str | None = None

    def bucket(self) -> _Bucket:
        """The same as the Admin API has it."""
        written = _Written(
            (self.usage_input_tokens_cache_write or 0) + (self.usage_input_tokens_cache_write_5m or 0),
            self.usage_input_tokens_cache_write_1h,
        )
        result = _Result(
            uncached_input_tokens=self.usage_input_tokens_no_cache,
            cache_creation=written,
            cache_read_input_tokens=self.usage_input_tokens_cache_read,
            output_tokens=self.usage_output_tokens,
            model=self.model_version,
            service_tier=self.usage_type,
            inference_geo=self.inference_geo,
            api_key_id=self.api_key,
            workspace_id=self.workspace,
            context_window=self.context_window,
            speed=self.speed,
        )
        return _Bucket(starting_at=self.usage_date_utc, results=[result])


COUNTRIES: dict[str, str] = {"us": "US"}
"""Countries of the places of inference; "global" and "not_available" are none."""

_KEYS = ("model", "service_tier", "inference_geo", "api_key_id", "workspace_id", "account_id", "service_account_id",
         "context_window", "speed")  # fmt: skip
"""What results are grouped by."""


def _record(row: int, bucket: _Bucket, result: _Result) -> Record:
    written = result.cache_creation or _Written()
    write = (written.ephemeral_5m_input_tokens or 0) + (written.ephemeral_1h_input_tokens or 0)
    read, fresh = result.cache_read_input_tokens or 0, result.uncached_input_tokens
    keys = [getattr(result, name) for name in _KEYS]
    identity = (bucket.starting_at, bucket.ending_at, *keys, fresh, read, write, result.output_tokens)
    return Record(
        row=row,
        model_id=result.model,
        input_tokens=None if fresh is None else fresh + read + write,
        output_tokens=result.output_tokens,
        cached_input_tokens=read,
        cache_write_tokens=write,
        n_requests=math.nan,
        # A page that was fetched twice repeats its results to the letter.
        request_id="/".join(["" if part is None else str(part) for part in identity]),
        project_id=result.workspace_id,
        client_id=result.api_key_id,
        user_id=result.account_id or result.service_account_id,
        managed_service_id="anthropic",
        country=COUNTRIES.get((result.inference_geo or "").lower()),
        service_tier=tier_of(result.service_tier),
        utc_datetime=utc(bucket.starting_at),
    )


def _buckets(source: Source) -> Iterator[_Bucket]:
    if source.kind in ("csv", "parquet"):
        for _, exported in source.decoded(_Exported):
            yield exported.bucket()
    else:
        for _, page in source.decoded(_Page):
            yield from page.data


def _read(source: Source, state: dict[str, Any]) -> Iterator[Outcome]:  # noqa: ARG001
    """Each result of each bucket, numbered through the file."""
    row = 0
    for bucket in _buckets(source):
        for result in bucket.results:
            row += 1
            yield _record(row, bucket, result)


def _recognises(sample: Sample) -> bool:
    if sample.kind in ("csv", "parquet"):
        return {"usage_date_utc", "usage_input_tokens_no_cache"} <= sample.names
    return any(_is_page(page) for page in sample.objects)


def _is_page(page: Any) -> bool:
    """A page of buckets that start and end, with results of use where there are any."""
    if not isinstance(page, dict) or not isinstance(page.get("data"), list):
        return False
    buckets = [bucket for bucket in page["data"] if isinstance(bucket, dict) and "starting_at" in bucket]
    results = [result for bucket in buckets for result in bucket.get("results") or () if isinstance(result, dict)]
    return bool(buckets) and (not results or any("uncached_input_tokens" in result for result in results))


ANTHROPIC_USAGE = Format(
    name="anthropic_usage",
    title="Usage report of Anthropic: Admin API or CSV of the Console",
    counts=Counts(input_includes_cache=False, output_includes_reasoning=True),
    kinds=("json", "json-lines", "csv"),
    recognises=_recognises,
    read=_read,
    keeps_state=True,
    reference=(
        "Anthropic, Admin API, Get Messages Usage Report (of 2026, with inference_geo, speed, account_id); exports of"
        " the Console of 2026 in public repositories; anthropic 2.14.0, types.Usage"
    ),
    doubts=(
        "The report does not state how many requests its tokens belong to: their number is assumed.",
        "A period that is given twice, as a day and its hours, counts twice, unless results are equal to the letter.",
        "The CSV of the Console is known from files of others; Anthropic does not document it.",
        "Speed 'fast' is not told apart, nor are places of inference other than 'us'.",
    ),
)
"""Usage reports of Anthropic, in buckets of time."""
