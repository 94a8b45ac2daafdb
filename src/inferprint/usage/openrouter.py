"""What OpenRouter keeps of use: daily activity, the generations exported from it, generation records, and responses."""

from __future__ import annotations

import msgspec

from inferprint.usage import times
from inferprint.usage.base import Counts, Format, Outcome, Record, Sample, Skipped
from inferprint.usage.pages import names_of, read_pages
from inferprint.usage.tiers import tier_of

_ACTIVITY = frozenset({"model_permaslug", "provider_name", "requests", "prompt_tokens", "completion_tokens"})
_EXPORT = frozenset({"generation_id", "tokens_prompt", "tokens_completion"})
_GENERATION = frozenset({"native_tokens_prompt", "native_tokens_completion"})
_RESPONSE = frozenset({"id", "provider", "model", "usage"})


class _Details(msgspec.Struct, kw_only=True, gc=False):
    cached_tokens: float | None = None
    cache_write_tokens: float | None = None
    reasoning_tokens: float | None = None


class _CostDetails(msgspec.Struct, kw_only=True, gc=False):
    upstream_inference_cost: float | None = None


class _Usage(msgspec.Struct, kw_only=True, gc=False):
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    prompt_tokens_details: _Details | None = None
    completion_tokens_details: _Details | None = None
    cost: float | None = None
    cost_details: _CostDetails | None = None
    is_byok: bool | None = None


class _Row(msgspec.Struct, kw_only=True, gc=False):
    """A record of any of the four kinds, or a page of them."""

    model: str | None = None
    model_permaslug: str | None = None
    provider_name: str | None = None
    provider: str | None = None
    # Daily activity.
    date: str | None = None
    requests: float | None = None
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    reasoning_tokens: float | None = None
    byok_usage_inference: float | None = None
    # A generation, as record or exported.
    id: str | None = None
    generation_id: str | None = None
    created_at: str | None = None
    native_tokens_prompt: float | None = None
    native_tokens_completion: float | None = None
    native_tokens_reasoning: float | None = None
    native_tokens_cached: float | None = None
    tokens_prompt: float | None = None
    tokens_completion: float | None = None
    tokens_reasoning: float | None = None
    tokens_cached: float | None = None
    total_cost: float | None = None
    cost_total: float | None = None
    upstream_inference_cost: float | None = None
    is_byok: bool | None = None
    latency: float | None = None
    time_to_first_token_ms: float | None = None
    cancelled: bool | None = None
    finish_reason: str | None = None
    finish_reason_normalized: str | None = None
    response_cache_source_id: str | None = None
    service_tier: str | None = None
    app_id: int | str | None = None
    app_name: str | None = None
    api_key_name: str | None = None
    external_user: str | None = None
    user: str | None = None
    session_id: str | None = None
    # A response. The activity's costs have the name of its counts.
    created: float | None = None
    usage: _Usage | float | None = None
    data: msgspec.Raw = msgspec.Raw()


_NO_DETAILS = _Details()


def _sum(*costs: float | None) -> float | None:
    """Costs together, of which some may be unknown; None where all are."""
    known = [cost for cost in costs if cost is not None]
    return sum(known) if known else None


def _first(*values: float | None) -> float | None:
    return next((value for value in values if value is not None), None)


def _activity(row: int, raw: _Row) -> Record:
    """A day's requests to one model at one provider."""
    spent = raw.usage if isinstance(raw.usage, float) else None
    return Record(
        row=row,
        model_id=raw.model or raw.model_permaslug,
        input_tokens=raw.prompt_tokens,
        output_tokens=raw.completion_tokens,
        reasoning_tokens=raw.reasoning_tokens or 0,
        n_requests=1 if raw.requests is None else raw.requests,
        managed_service_id=raw.provider_name or "openrouter",
        utc_datetime=times.utc(raw.date),
        cost_usd=_sum(spent, raw.byok_usage_inference),
    )


def _generation(row: int, raw: _Row) -> Outcome:
    """One request, as its record or a row of the export tells it."""
    if raw.response_cache_source_id:
        return Skipped(row, "cached-response")
    tokens_in = _first(raw.native_tokens_prompt, raw.tokens_prompt)
    tokens_out = _first(raw.native_tokens_completion, raw.tokens_completion)
    ended_badly = raw.cancelled or "error" in (raw.finish_reason, raw.finish_reason_normalized)
    if ended_badly and not tokens_in and not tokens_out:
        return Skipped(row, "failed")
    return Record(
        row=row,
        model_id=raw.model or raw.model_permaslug,
        input_tokens=tokens_in,
        output_tokens=tokens_out,
        cached_input_tokens=_first(raw.native_tokens_cached, raw.tokens_cached, 0) or 0,
        reasoning_tokens=_first(raw.native_tokens_reasoning, raw.tokens_reasoning, 0) or 0,
        request_id=raw.generation_id or raw.id,
        session_id=raw.session_id,
        application_id=raw.app_name or (None if raw.app_id is None else str(raw.app_id)),
        client_id=raw.api_key_name,
        user_id=raw.external_user or raw.user,
        managed_service_id=raw.provider_name or "openrouter",
        service_tier=tier_of(raw.service_tier),
        utc_datetime=times.utc(raw.created_at),
        request_duration_ms=raw.latency or None,
        time_to_first_token_ms=raw.time_to_first_token_ms or None,
        cost_usd=_sum(
            _first(raw.total_cost, raw.cost_total),
            raw.upstream_inference_cost if raw.is_byok else raw.byok_usage_inference,
        ),
    )


def _response(row: int, raw: _Row, usage: _Usage) -> Record:
    """One request, as its answer tells it."""
    prompt = usage.prompt_tokens_details or _NO_DETAILS
    completion = usage.completion_tokens_details or _NO_DETAILS
    upstream = usage.cost_details.upstream_inference_cost if usage.cost_details and usage.is_byok else None
    return Record(
        row=row,
        model_id=raw.model,
        input_tokens=usage.prompt_tokens,
        output_tokens=usage.completion_tokens,
        cached_input_tokens=prompt.cached_tokens or 0,
        cache_write_tokens=prompt.cache_write_tokens or 0,
        reasoning_tokens=completion.reasoning_tokens or 0,
        request_id=raw.id,
        managed_service_id=raw.provider or "openrouter",
        service_tier=tier_of(raw.service_tier),
        utc_datetime=times.utc(raw.created),
        cost_usd=_sum(usage.cost, upstream),
    )


def _outcome(row: int, raw: _Row) -> Outcome:
    if isinstance(raw.usage, _Usage):
        return _response(row, raw, raw.usage)
    if raw.date is not None:
        return _activity(row, raw)
    if raw.provider is not None:
        # A response without counts is what a failed request leaves.
        return Skipped(row, "failed")
    return _generation(row, raw)


def _recognises(sample: Sample) -> bool:
    names = names_of(sample)
    if names >= _ACTIVITY or names >= _EXPORT or names >= _GENERATION:
        return True
    first = sample.objects[0] if sample.objects else None
    usage = first.get("usage") if isinstance(first, dict) and names >= _RESPONSE else None
    if not isinstance(usage, dict) or "prompt_tokens" not in usage:
        return False
    return "cost" in usage or str(sample.objects[0]["id"]).startswith("gen-")


OPENROUTER = Format(
    name="openrouter",
    title="OpenRouter activity, generations and responses",
    counts=Counts(input_includes_cache=True, output_includes_reasoning=True),
    kinds=("json-lines", "json", "csv"),
    recognises=_recognises,
    read=read_pages(_Row, _outcome),
    reference=(
        "OpenRouter documentation: ActivityItem, GenerationResponseData, Usage accounting, Response caching (read in "
        "November 2026); the columns of the export of the activity page as public repositories that read it have them"
    ),
    doubts=(
        "The activity does not state tokens read from a cache: they count as fresh.",
        "Daily activity holds sums; the lengths of its single requests are not known.",
        "Whether the export of the activity page counts native tokens is not documented.",
        "Whether the native count of a provider that counts its cache apart includes it is not documented.",
        "Generation records do not state tokens written to a cache.",
        "generation_time_ms of the export is not taken for a duration: whether it includes the first token is unclear.",
    ),
)
