"""Request-response logs of Google Vertex AI: rows of the BigQuery table, saved as JSON lines."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TypeVar

import msgspec

from inferprint.usage.base import Counts, Format, Outcome, Record, Rejected, Sample, Skipped, read_each
from inferprint.usage.endpoints import location_of
from inferprint.usage.times import utc


class _Modality(msgspec.Struct, rename="camel", gc=False):
    modality: str | None = None
    token_count: float | None = None


class _Gemini(msgspec.Struct, rename="camel", gc=False):
    prompt_token_count: float | None = None
    cached_content_token_count: float | None = None
    tool_use_prompt_token_count: float | None = None
    candidates_token_count: float | None = None
    thoughts_token_count: float | None = None
    total_token_count: float | None = None
    candidates_tokens_details: list[_Modality] | None = None
    traffic_type: str | None = None


class _Claude(msgspec.Struct, gc=False):
    input_tokens: float | None = None
    cache_read_input_tokens: float | None = None
    cache_creation_input_tokens: float | None = None
    output_tokens: float | None = None


class _Message(msgspec.Struct, gc=False):
    model: str | None = None
    usage: _Claude | None = None


class _Fault(msgspec.Struct, gc=False):
    pass


class _Response(msgspec.Struct, rename="camel", gc=False):
    usage_metadata: _Gemini | None = None
    model_version: str | None = None
    model: str | None = None
    usage: _Claude | None = None
    message: _Message | str | None = None
    error: _Fault | str | None = None


class _Metadata(msgspec.Struct, gc=False):
    request_latency: float | None = None


class _Row(msgspec.Struct, gc=False):
    logging_time: str | float | None = None
    endpoint: str | None = None
    request_id: str | int | None = None
    model: str | None = None
    full_response: _Response | list[_Response] | str | None = None
    metadata: _Metadata | str | None = None


class _Tokens(msgspec.Struct, gc=False):
    """Tokens in the terms of a record, and the tier that the usage states."""

    given: float | None
    out: float | None
    cached: float = 0
    written: float = 0
    reasoning: float = 0
    audio: float | None = None
    tier: str | None = None


TIERS: dict[str, str] = {
    "ON_DEMAND_FLEX": "flex",
    "ON_DEMAND_PRIORITY": "priority",
    "ON_DEMAND_OFFPEAK": "off-peak",
    "PROVISIONED_THROUGHPUT": "provisioned",
}
"""Tiers of the types of traffic; ordinary traffic has none."""

_Shape = TypeVar("_Shape")


def _from_text(text: str, shape: type[_Shape]) -> _Shape | None:
    """JSON that an export keeps as text; None where it is none."""
    try:
        return msgspec.json.decode(text, type=shape, strict=False)
    except msgspec.DecodeError:
        return None


def _responses(row: _Row) -> list[_Response]:
    """The answer, or the parts of a streamed one."""
    full = row.full_response
    if isinstance(full, str):
        full = _from_text(full, _Response | list[_Response])  # type: ignore[arg-type]
    if full is None:
        return []
    return full if isinstance(full, list) else [full]


def _gemini(usage: _Gemini) -> _Tokens:
    """The table counts thoughts beside candidates, and what tools returned beside the prompt."""
    thoughts, tools = usage.thoughts_token_count or 0, usage.tool_use_prompt_token_count or 0
    given, visible, total = usage.prompt_token_count, usage.candidates_token_count, usage.total_token_count
    if visible is None and total is not None:
        # Nothing visible was written: fields that are zero are left out, and the total tells.
        visible = total - (given or 0) - tools - thoughts
    audio = None
    for part in usage.candidates_tokens_details or ():
        if part.modality == "AUDIO":
            audio = (audio or 0) + (part.token_count or 0)
    return _Tokens(
        given=None if given is None else given + tools,
        out=None if visible is None else visible + thoughts,
        cached=usage.cached_content_token_count or 0,
        reasoning=thoughts,
        audio=audio,
        tier=TIERS.get(usage.traffic_type or ""),
    )


def _claude(usages: list[_Claude]) -> _Tokens:
    """The events of a stream repeat counts that grow: of each field, the last one that is given."""
    last = _Claude()
    for usage in usages:
        for field in _Claude.__struct_fields__:
            value = getattr(usage, field)
            if value is not None:
                setattr(last, field, value)
    fresh, read, written = last.input_tokens, last.cache_read_input_tokens or 0, last.cache_creation_input_tokens or 0
    return _Tokens(
        given=None if fresh is None else fresh + read + written, out=last.output_tokens, cached=read, written=written
    )


def _counted(parts: list[_Response]) -> tuple[_Tokens | None, str | None]:
    """Tokens and the model of an answer."""
    model, gemini = None, None
    claude: list[_Claude] = []
    for part in parts:
        message = part.message if isinstance(part.message, _Message) else None
        model = part.model_version or part.model or (message and message.model) or model
        gemini = part.usage_metadata or gemini
        claude += [usage for usage in (part.usage, message and message.usage) if usage]
    if gemini is not None:
        return _gemini(gemini), model
    return (_claude(claude) if claude else None), model


@lru_cache(maxsize=4096)
def _place(endpoint: str) -> tuple[str | None, str | None]:
    """Project and region in the resource name of an endpoint."""
    project = re.search(r"projects/([^/]+)", endpoint)
    return (project[1] if project else None), location_of(endpoint)


def _moment(logged: str | float | None) -> str | float | None:
    """BigQuery writes "2026-11-20 09:00:00.123456 UTC"."""
    return logged.removesuffix(" UTC") if isinstance(logged, str) else logged


def _convert(row: int, log: _Row) -> Outcome:
    parts = _responses(log)
    tokens, model = _counted(parts)
    if tokens is None:
        if any(part.error for part in parts):
            return Skipped(row, "failed")
        what = "holds no usage" if parts else "is missing or is no JSON"
        return Rejected(row, "full_response", f"{what}, so the tokens are unknown")
    metadata = _from_text(log.metadata, _Metadata) if isinstance(log.metadata, str) else log.metadata
    latency = metadata.request_latency if metadata else None
    project, region = _place(log.endpoint or "")
    return Record(
        row=row,
        model_id=model or log.model,
        input_tokens=tokens.given,
        output_tokens=tokens.out,
        cached_input_tokens=tokens.cached,
        cache_write_tokens=tokens.written,
        reasoning_tokens=tokens.reasoning,
        output_audio_tokens=tokens.audio,
        request_id=None if log.request_id is None else str(log.request_id),
        project_id=project,
        managed_service_id="google-vertex",
        cloud_id="gcp",
        cloud_region=region,
        service_tier=tokens.tier,
        utc_datetime=utc(_moment(log.logging_time)),
        request_duration_ms=latency if latency and latency > 0 else None,
    )


def _recognises(sample: Sample) -> bool:
    return {"logging_time", "full_response"} <= sample.names


VERTEX = Format(
    name="vertex",
    title="Request-response log of Google Vertex AI",
    counts=Counts(input_includes_cache=True, output_includes_reasoning=False),
    kinds=("json-lines", "json", "csv", "parquet"),
    recognises=_recognises,
    read=read_each(_Row, _convert),
    reference=(
        "Google Cloud, Log requests and responses (of 2026); google-genai 3.6.1,"
        " types.GenerateContentResponseUsageMetadata and TrafficType; elastic/integrations, gcp_vertexai, fields of"
        " prompt_response_logs"
    ),
    doubts=(
        "The log may be a sample: its rate is not in the table, so that totals are those of the logged requests alone.",
        "Of several rows with one request_id the first one counts; whether there are such rows is not documented.",
        "How the log lays out streamed answers of Claude was not seen; events as its API sends them are read.",
        "request_latency is in milliseconds by the queries that others run on it, not by Google's documentation.",
    ),
)
"""Request-response logs of Vertex AI, of Gemini and of Claude."""
