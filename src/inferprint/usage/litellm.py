"""Spend logs of the LiteLLM proxy, and the standard logging payloads that its callbacks get."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import msgspec

from inferprint.usage import times
from inferprint.usage.base import Counts, Format, Outcome, Record, Rejected, Sample, Skipped
from inferprint.usage.endpoints import endpoint_of
from inferprint.usage.pages import names_of, read_pages
from inferprint.usage.tiers import tier_of

_MARKS = frozenset({"call_type", "startTime", "prompt_tokens", "completion_tokens"})


_PROTOCOLS = frozenset({"openai_like", "custom_openai", "aiohttp_openai", "custom", "litellm_proxy", "auto_router"})
"""Providers that say how a server is spoken to, and not whose it is."""

_OPENAI = frozenset({"openai", "text-completion-openai"})

_BATCH = frozenset({"retrieve_batch", "aretrieve_batch"})
"""Calls whose tokens are those of all requests of a finished batch."""

_NO_MODEL = (
    "get_responses", "delete_responses", "cancel_responses", "list_input_items", "create_batch", "cancel_batch",
    "retrieve_batch", "file_", "create_file", "vector_store_", "create_fine_tuning_job", "cancel_fine_tuning_job",
    "list_fine_tuning_jobs", "retrieve_fine_tuning_job", "get_assistants", "create_assistants", "delete_assistant",
    "create_thread", "get_thread", "add_message", "get_messages", "call_mcp_tool", "list_mcp_tools", "search",
    "video_retrieve", "video_content", "video_list", "video_delete",
)  # fmt: skip
"""Beginnings of calls that run no model; one that is asynchronous has an "a" or "a_" before it."""


class _PromptDetails(msgspec.Struct, kw_only=True, gc=False):
    cached_tokens: float | None = None
    cache_write_tokens: float | None = None
    cache_creation_tokens: float | None = None
    audio_length_seconds: float | None = None


class _CompletionDetails(msgspec.Struct, kw_only=True, gc=False):
    reasoning_tokens: float | None = None
    audio_tokens: float | None = None


class _Usage(msgspec.Struct, kw_only=True, gc=False):
    cache_read_input_tokens: float | None = None
    cache_creation_input_tokens: float | None = None
    prompt_tokens_details: _PromptDetails | None = None
    completion_tokens_details: _CompletionDetails | None = None


class _CostBreakdown(msgspec.Struct, kw_only=True, gc=False):
    service_tier: str | None = None
    vertex_location: str | None = None


class _Metadata(msgspec.Struct, kw_only=True, gc=False):
    usage_object: _Usage | None = None
    additional_usage_values: _Usage | None = None
    cost_breakdown: _CostBreakdown | None = None
    batch_successful_requests: float | None = None
    upstream_provider: str | None = None
    status: str | None = None
    user_api_key_alias: str | None = None
    user_api_key_hash: str | None = None
    user_api_key_team_id: str | None = None
    user_api_key_project_id: str | None = None


class _Row(msgspec.Struct, kw_only=True, gc=False, rename={"start": "startTime", "end": "endTime",
                                                           "first_token": "completionStartTime"}):  # fmt: skip
    """A row of the table and a payload alike: what only one of them has is None in the other."""

    request_id: str | None = None
    id: str | None = None
    trace_id: str | None = None
    session_id: str | None = None
    call_type: str | None = None
    status: str | None = None
    cache_hit: str | bool | None = None
    model: str | None = None
    model_group: str | None = None
    custom_llm_provider: str | None = None
    api_base: str | None = None
    api_key: str | None = None
    user: str | None = None
    end_user: str | None = None
    team_id: str | None = None
    organization_id: str | None = None
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    spend: float | None = None
    response_cost: float | None = None
    cost_breakdown: _CostBreakdown | str | None = None
    start: str | float | None = None
    end: str | float | None = None
    first_token: str | float | None = None
    request_duration_ms: float | None = None
    metadata: _Metadata | str | None = None
    hidden_params: _Metadata | str | None = None
    data: msgspec.Raw = msgspec.Raw()


_NO_METADATA, _NO_USAGE, _NO_BREAKDOWN = _Metadata(), _Usage(), _CostBreakdown()
_NO_PROMPT, _NO_COMPLETION = _PromptDetails(), _CompletionDetails()
_metadata_of = msgspec.json.Decoder(_Metadata, strict=False).decode


class _Parts(NamedTuple):
    """Parts of the counts, which lie in two objects and under several names."""

    cached: float
    written: float
    reasoning: float
    audio_out: float | None
    audio_in_s: float | None


_MEDIA = ("image_generation", "image_edit", "image_variation", "transcription", "speech", "video_generation")
"""Calls whose work is pictures, sound or clips; one that is asynchronous has an "a" before it."""


@lru_cache(maxsize=4096)
def _is_of_media(call_type: str | None) -> bool:
    return (call_type or "").removeprefix("a") in _MEDIA


@lru_cache(maxsize=4096)
def _runs_no_model(call_type: str | None) -> bool:
    name = call_type or ""
    return any(name.startswith((start, f"a{start}", f"a_{start}")) for start in _NO_MODEL)


@lru_cache(maxsize=4096)
def _host(provider: str | None, api_base: str | None, upstream: str | None) -> str | None:
    """Who serves: the host behind OpenRouter where it is known, nobody known where only the protocol is stated."""
    if provider == "openrouter" and upstream:
        return upstream
    if not provider or provider in _PROTOCOLS:
        return endpoint_of(api_base or "").managed_service_id
    if provider in _OPENAI and api_base and "openai.com" not in api_base:
        # The usual way to reach a server of one's own that speaks OpenAI's protocol.
        return endpoint_of(api_base).managed_service_id
    return provider


@lru_cache(maxsize=4096)
def _place(api_base: str | None, vertex_location: str | None) -> tuple[str | None, str | None]:
    """Cloud and region."""
    found = endpoint_of(api_base or "")
    if found.cloud_region is None and vertex_location and vertex_location != "global":
        return "gcp", vertex_location
    return found.cloud_id, found.cloud_region


def _parts(metadata: _Metadata) -> _Parts:
    usage = metadata.usage_object or metadata.additional_usage_values or _NO_USAGE
    more = metadata.additional_usage_values or usage
    prompt = usage.prompt_tokens_details or more.prompt_tokens_details or _NO_PROMPT
    completion = usage.completion_tokens_details or more.completion_tokens_details or _NO_COMPLETION
    cached = usage.cache_read_input_tokens or prompt.cached_tokens or more.cache_read_input_tokens or 0
    written = usage.cache_creation_input_tokens or prompt.cache_write_tokens or prompt.cache_creation_tokens
    return _Parts(
        cached,
        written or more.cache_creation_input_tokens or 0,
        completion.reasoning_tokens or 0,
        completion.audio_tokens or None,
        prompt.audio_length_seconds or None,
    )


def _left_out(raw: _Row, metadata: _Metadata) -> str | None:
    """The rule by which a record is left out, if one does."""
    if (raw.cache_hit and str(raw.cache_hit).lower() == "true") or "_cache_hit" in (raw.request_id or raw.id or ""):
        return "cached-response"
    if raw.prompt_tokens or raw.completion_tokens:
        return None
    if (raw.status or metadata.status) == "failure":
        return "failed"
    return "not-inference" if _runs_no_model(raw.call_type) else None


def _requests(raw: _Row, metadata: _Metadata, hidden: _Metadata) -> float | None:
    """How many requests a record stands for; None for a batch that does not say it."""
    if raw.call_type not in _BATCH:
        return 1
    return metadata.batch_successful_requests or hidden.batch_successful_requests or None


def _outcome(row: int, raw: _Row) -> Outcome:
    metadata = raw.metadata
    if type(metadata) is str:
        try:
            metadata = _metadata_of(metadata)
        except msgspec.DecodeError as error:
            return Rejected(row, "metadata", f"is no JSON of LiteLLM's: {error}")
    metadata = metadata or _NO_METADATA
    assert isinstance(metadata, _Metadata)
    hidden = raw.hidden_params if isinstance(raw.hidden_params, _Metadata) else _NO_METADATA
    rule = _left_out(raw, metadata)
    if rule is not None:
        return Skipped(row, rule)
    if not (raw.prompt_tokens or raw.completion_tokens) and _is_of_media(raw.call_type):
        return Rejected(row, "call_type", f"'{raw.call_type}' makes or reads what this log does not count")
    n_requests = _requests(raw, metadata, hidden)
    if n_requests is None:
        return Rejected(row, "metadata.batch_successful_requests", "a batch that does not state its number of requests")
    return _record(row, raw, metadata, hidden, n_requests)


def _record(row: int, raw: _Row, metadata: _Metadata, hidden: _Metadata, n_requests: float) -> Record:
    cached, written, reasoning, audio_out, audio_in_s = _parts(metadata)
    breakdown = raw.cost_breakdown if isinstance(raw.cost_breakdown, _CostBreakdown) else metadata.cost_breakdown
    breakdown = breakdown or _NO_BREAKDOWN
    cloud, region = _place(raw.api_base, breakdown.vertex_location)
    is_batch = raw.call_type in _BATCH
    # Without a stream the first token is said to have come with the last.
    first_token = None if is_batch or raw.first_token == raw.end else raw.first_token
    return Record(
        row=row,
        model_id=raw.model or raw.model_group or None,
        input_tokens=raw.prompt_tokens,
        output_tokens=raw.completion_tokens,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        reasoning_tokens=reasoning,
        n_requests=n_requests,
        request_id=raw.request_id or raw.id or None,
        trace_id=raw.trace_id or None,
        session_id=raw.session_id or None,
        project_id=metadata.user_api_key_project_id or raw.team_id or metadata.user_api_key_team_id or None,
        application_id=metadata.user_api_key_alias or None,
        client_id=raw.organization_id or raw.api_key or metadata.user_api_key_hash or None,
        user_id=raw.end_user or raw.user or None,
        managed_service_id=_host(
            raw.custom_llm_provider, raw.api_base, metadata.upstream_provider or hidden.upstream_provider
        ),
        cloud_id=cloud,
        cloud_region=region,
        service_tier="batch" if is_batch else tier_of(breakdown.service_tier),
        utc_datetime=times.utc(raw.start),
        request_duration_ms=None if is_batch else raw.request_duration_ms or times.elapsed_ms(raw.start, raw.end),
        time_to_first_token_ms=times.elapsed_ms(raw.start, first_token) if first_token else None,
        cost_usd=raw.spend if raw.spend is not None else raw.response_cost,
        input_audio_seconds=audio_in_s,
        output_audio_tokens=audio_out,
    )


def _recognises(sample: Sample) -> bool:
    return names_of(sample) >= _MARKS


LITELLM = Format(
    name="litellm",
    title="LiteLLM spend logs and standard logging payloads",
    counts=Counts(input_includes_cache=True, output_includes_reasoning=True),
    kinds=("json-lines", "json", "csv", "parquet"),
    recognises=_recognises,
    read=read_pages(_Row, _outcome),
    reference=(
        "Package litellm 1.110.2: proxy/schema.prisma (LiteLLM_SpendLogs), proxy/spend_tracking/"
        "spend_tracking_utils.py, types/utils.py (StandardLoggingPayload, Usage, CostBreakdown), and the usage that "
        "llms/anthropic, llms/bedrock and llms/vertex_ai turn into OpenAI's meaning"
    ),
    doubts=(
        "Older releases left tokens written to a cache out of prompt_tokens; since when they are in was not found.",
        "Requests of a batch that failed are not counted; whether their tokens are in the total is not stated.",
        "Generated pictures are counted by no field of the log.",
    ),
)
