"""Observations exported from Langfuse: from its pages, its API, or to blob storage."""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from inferprint.usage import times
from inferprint.usage.base import Counts, Format, Outcome, Record, Rejected, Sample, Skipped
from inferprint.usage.pages import names_of, read_pages

_MODEL_CALLS = frozenset({"GENERATION", "EMBEDDING"})

_USAGES = frozenset({"usageDetails", "usage_details", "usage", "promptTokens"})

_TOTALS = frozenset({"total", "total_tokens", "totaltokens"})
_BASE_IN = frozenset({"input", "input_tokens", "prompt_tokens"})
_BASE_OUT = frozenset({"output", "output_tokens", "completion_tokens"})
_FINER = ("input_priority", "output_priority", "cache_creation_ephemeral_", "input_cache_creation_ephemeral_")
"""Beginnings of keys that count again what another key counts."""


class _Row(msgspec.Struct, kw_only=True, gc=False, rename={
    "trace": "traceId", "project": "projectId", "session": "sessionId", "user": "userId", "trace_called": "traceName",
    "start": "startTime", "end": "endTime", "first_token": "completionStartTime", "details": "usageDetails",
    "costs": "costDetails", "total": "totalCost", "calculated": "calculatedTotalCost", "prompt": "promptTokens",
    "completion": "completionTokens",
}):  # fmt: skip
    """An observation as the API writes it, in camel case, and as blob storage has it, in snake case."""

    id: str | None = None
    type: str | None = None
    level: str | None = None
    environment: str | None = None
    model: str | None = None
    provided_model_name: str | None = None
    trace: str | None = None
    trace_id: str | None = None
    project: str | None = None
    project_id: str | None = None
    session: str | None = None
    session_id: str | None = None
    user: str | None = None
    user_id: str | None = None
    trace_called: str | None = None
    trace_name: str | None = None
    start: str | float | None = None
    start_time: str | float | None = None
    end: str | float | None = None
    end_time: str | float | None = None
    first_token: str | float | None = None
    completion_start_time: str | float | None = None
    details: dict[str, float | None] | str | None = None
    usage_details: dict[str, float | None] | str | None = None
    usage: dict[str, Any] | str | None = None
    prompt: float | None = None
    completion: float | None = None
    costs: dict[str, float | None] | str | None = None
    cost_details: dict[str, float | None] | str | None = None
    total: float | None = None
    total_cost: float | None = None
    calculated: float | None = None
    data: msgspec.Raw = msgspec.Raw()


class _Role(NamedTuple):
    """What a key of usage counts."""

    side: str  # "in", "out", "total", or "" for no tokens.
    part: str = ""  # "cached", "written", "reasoning", "audio", or "".
    is_base: bool = False


class _Counted(NamedTuple):
    tokens_in: float | None
    tokens_out: float | None
    parts: dict[str, float]


_counts_of = msgspec.json.Decoder(dict[str, float | None], strict=False).decode


@lru_cache(maxsize=4096)
def _role(key: str) -> _Role:
    """What a key counts: a name that holds "input" is input, one that holds "output" is output."""
    name = key.lower()
    if name in _TOTALS:
        return _Role("total")
    if name.startswith(_FINER):
        return _Role("")
    if name in _BASE_IN | _BASE_OUT:
        return _Role("in" if name in _BASE_IN else "out", is_base=True)
    is_reasoning = any(word in name for word in ("reasoning", "thought", "thinking"))
    if is_reasoning or "output" in name or "completion" in name:
        return _Role("out", "reasoning" if is_reasoning else "audio" if "audio" in name else "")
    if "cach" in name:
        return _Role("in", "written" if "creat" in name or "write" in name else "cached")
    return _Role("in" if "input" in name or "prompt" in name else "")


def _counted(details: dict[str, float | None]) -> _Counted:
    """Tokens in and out, and their parts.

    The keys of an observation count apart from each other: Langfuse takes what is cached, or reasoned, from the input
    and the output. Where counts were handed over by hand with a total that is input and output alone, they are parts.
    """
    base: dict[str, float] = {}
    sums: dict[str, float] = {}
    parts: dict[str, float] = {}
    total, is_apart = None, False
    for key, count in details.items():
        if count is None:
            continue
        side, part, is_base = _role(key)
        if side == "total":
            total = count
        elif side:
            sums[side] = sums.get(side, 0) + count
            if is_base:
                base[side] = base.get(side, 0) + count
            if part:
                parts[part] = parts.get(part, 0) + count
            # Anthropic's names, whose counts are always apart.
            is_apart = is_apart or key in ("cache_read_input_tokens", "cache_creation_input_tokens")
    within = total is not None and not is_apart and sum(sums.values()) > total == sum(base.values())
    chosen = base if within else sums
    return _Counted(chosen.get("in"), chosen.get("out"), parts)


def _parsed(text: str) -> dict[str, float | None]:
    """Counts in a cell: JSON, or the way in which DuckDB writes a map of a Parquet file, `{input=12, output=3}`."""
    if text.startswith("{") and '"' not in text:
        pairs = (pair.rpartition("=") for pair in text.strip("{} ").split(", ") if pair)
        return {key: float(count) for key, _, count in pairs}
    return _counts_of(text)


def _usage_of(raw: _Row) -> dict[str, float | None]:
    """The counts of an observation, of the newest of the fields that hold them."""
    details = raw.details or raw.usage_details
    if isinstance(details, str):
        details = _parsed(details)
    if details:
        return details
    usage: Any = raw.usage
    if isinstance(usage, str):
        usage = msgspec.json.decode(usage)
    if not isinstance(usage, dict) or not usage:
        return {"input": raw.prompt, "output": raw.completion}
    if str(usage.get("unit") or "TOKENS").upper() != "TOKENS":
        return {}
    return {key: usage[key] for key in ("input", "output", "total") if isinstance(usage.get(key), int | float)}


def _cost(raw: _Row) -> float | None:
    """What an observation cost; an export writes zero where no cost is known."""
    costs = raw.costs or raw.cost_details
    stated = raw.total or raw.total_cost or raw.calculated
    if stated or not costs:
        return stated or None
    try:
        return (_parsed(costs) if isinstance(costs, str) else costs).get("total") or None
    except (msgspec.DecodeError, ValueError):
        return None


def _outcome(row: int, raw: _Row) -> Outcome:
    if raw.type is None:
        return Rejected(row, "type", "is missing: an observation states one")
    if raw.type not in _MODEL_CALLS:
        return Skipped(row, "not-inference")
    try:
        counted = _counted(_usage_of(raw))
    except (msgspec.DecodeError, ValueError):
        return Rejected(row, "usageDetails", "cannot be read as counts by name")
    if raw.level == "ERROR" and not counted.tokens_in and not counted.tokens_out:
        return Skipped(row, "failed")
    return _record(row, raw, counted)


def _record(row: int, raw: _Row, counted: _Counted) -> Record:
    start = raw.start if raw.start is not None else raw.start_time
    parts, tokens_out = counted.parts, counted.tokens_out
    if raw.type == "EMBEDDING" and tokens_out is None and counted.tokens_in is not None:
        tokens_out = 0
    return Record(
        row=row,
        model_id=raw.model or raw.provided_model_name or None,
        input_tokens=counted.tokens_in,
        output_tokens=tokens_out,
        cached_input_tokens=parts.get("cached", 0),
        cache_write_tokens=parts.get("written", 0),
        reasoning_tokens=parts.get("reasoning", 0),
        request_id=raw.id or None,
        trace_id=raw.trace or raw.trace_id or None,
        session_id=raw.session or raw.session_id or None,
        project_id=raw.project or raw.project_id or None,
        application_id=raw.trace_called or raw.trace_name or None,
        user_id=raw.user or raw.user_id or None,
        environment=None if raw.environment in (None, "", "default") else raw.environment,
        utc_datetime=times.utc(start),
        request_duration_ms=times.elapsed_ms(start, raw.end or raw.end_time),
        time_to_first_token_ms=times.elapsed_ms(start, raw.first_token or raw.completion_start_time),
        cost_usd=_cost(raw),
        output_audio_tokens=parts.get("audio"),
    )


def _recognises(sample: Sample) -> bool:
    names = names_of(sample)
    if not (names & _USAGES and {"id", "type"} <= names):
        return False
    return {"traceId", "startTime"} <= names or {"trace_id", "start_time"} <= names


LANGFUSE = Format(
    name="langfuse",
    title="Langfuse observations",
    counts=Counts(input_includes_cache=False, output_includes_reasoning=False),
    kinds=("json-lines", "json", "csv", "parquet"),
    recognises=_recognises,
    read=read_pages(_Row, _outcome),
    reference=(
        "Repository langfuse/langfuse: packages/shared/src/server/ingestion/types.ts (commit 0391b9a), "
        "worker/src/features/database-read-stream/observation-stream.ts; package langfuse 5.0.4: ObservationV2, Usage, "
        "langchain/CallbackHandler.py; documentation: Token and cost tracking, Blob storage export field reference "
        "(read in November 2026)"
    ),
    doubts=(
        "Names of usage are free: one without input, output, prompt, completion, cache or reasoning counts no tokens.",
        "Latency is taken from the times: its unit, seconds or milliseconds, depends on the age of an integration.",
        "A generation within a generation, of two integrations of one call, counts twice.",
        "The provider is not stated, only the model.",
    ),
)
