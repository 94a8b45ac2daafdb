"""Transcripts of Claude Code: one event of a session a line, under `projects/` of its configuration folder."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from inferprint.usage.base import Counts, Format, Merged, Outcome, Record, Rejected, Sample, Skipped, Source
from inferprint.usage.tiers import tier_of
from inferprint.usage.times import utc


class _OutputDetails(msgspec.Struct, kw_only=True, gc=False):
    thinking_tokens: float | None = None


class _Iteration(msgspec.Struct, kw_only=True, gc=False):
    type: str | None = None


class _Usage(msgspec.Struct, kw_only=True, gc=False):
    input_tokens: float | None = None
    output_tokens: float | None = None
    cache_creation_input_tokens: float | None = None
    cache_read_input_tokens: float | None = None
    output_tokens_details: _OutputDetails | None = None
    iterations: list[_Iteration] | None = None
    service_tier: str | None = None
    inference_geo: str | None = None


class _Message(msgspec.Struct, kw_only=True, gc=False):
    id: str | None = None
    model: str | None = None
    usage: _Usage | None = None


class _Line(msgspec.Struct, kw_only=True, gc=False, rename="camel"):
    type: str | None = None
    uuid: str | None = None
    timestamp: str | float | None = None
    session_id: str | None = None
    request_id: str | None = None
    cwd: str | None = None
    is_api_error_message: bool | None = None
    cost_usd: float | None = msgspec.field(name="costUSD", default=None)
    message: _Message | str | None = None


_SYNTHETIC = "<synthetic>"
_COUNTRIES = {"us": "US"}
"""Values of `inference_geo` that name a country; "global" and "not_available" name none."""


def _service(model: str | None, message_id: str | None) -> str | None:
    """Who answered, by the beginning of the message's id; None for other models behind the same interface."""
    if model is None or message_id is None or "claude" not in model or not message_id.startswith("msg_"):
        return None
    if message_id.startswith("msg_bdrk_"):
        return "aws-bedrock"
    return "google-vertex" if message_id.startswith("msg_vrtx_") else "anthropic"


def _record(row: int, line: _Line, message: _Message, usage: _Usage) -> Record:
    fresh, read, written = (
        usage.input_tokens,
        usage.cache_read_input_tokens or 0,
        usage.cache_creation_input_tokens or 0,
    )
    details = usage.output_tokens_details
    sampled = sum(i.type == "message" for i in usage.iterations) if usage.iterations else 1
    return Record(
        row=row,
        model_id=message.model,
        input_tokens=None if fresh is None else fresh + read + written,
        output_tokens=usage.output_tokens,
        cached_input_tokens=read,
        cache_write_tokens=written,
        reasoning_tokens=(details.thinking_tokens or 0) if details else 0,
        n_requests=max(sampled, 1),
        request_id=message.id or line.request_id or line.uuid,
        session_id=line.session_id,
        project_id=line.cwd,
        application_id="claude-code",
        managed_service_id=_service(message.model, message.id),
        country=_COUNTRIES.get(usage.inference_geo) if usage.inference_geo else None,
        service_tier=tier_of(usage.service_tier),
        utc_datetime=utc(line.timestamp),
        cost_usd=line.cost_usd,
    )


def _outcome(row: int, line: _Line) -> Outcome:
    message = line.message
    if line.is_api_error_message:
        return Skipped(row, "failed")
    if not isinstance(message, _Message) or line.type not in ("assistant", None) or message.model == _SYNTHETIC:
        return Skipped(row, "not-inference")
    if message.usage is None:
        # Lines of the first versions have no type: without counts they may be anything.
        return Rejected(row, "message.usage", "missing") if line.type else Skipped(row, "not-inference")
    return _record(row, line, message, message.usage)


def _tokens(record: Record) -> float:
    return (record.input_tokens or 0) + (record.output_tokens or 0)


def _read(source: Source, state: dict[str, Any]) -> Iterator[Outcome]:  # noqa: ARG001
    """Outcomes of a transcript.

    A message is written again and again while it streams in, and its output grows: the fullest line stands. Copies in
    resumed sessions and side conversations are told by the same id, since their requestId may be missing or another.
    """
    fullest: dict[str, Record] = {}
    for row, line in source.decoded(_Line):
        outcome = _outcome(row, line)
        if not isinstance(outcome, Record) or outcome.request_id is None:
            yield outcome
            continue
        before = fullest.setdefault(outcome.request_id, outcome)
        if before is outcome:
            continue
        if _tokens(outcome) > _tokens(before):
            fullest[outcome.request_id], outcome = outcome, before
        yield Merged(outcome.row)
    yield from fullest.values()


def _recognises(sample: Sample) -> bool:
    return sample.kind == "json-lines" and any(_is_event(event) for event in sample.objects if isinstance(event, dict))


def _is_event(event: dict[str, Any]) -> bool:
    if "sessionId" in event and ("isSidechain" in event or event.get("type") == "queue-operation"):
        return True
    kind = event.get("type")
    return (kind == "summary" and "leafUuid" in event) or (kind == "file-history-snapshot" and "messageId" in event)


CLAUDE_CODE = Format(
    name="claude_code",
    title="Claude Code transcripts",
    counts=Counts(input_includes_cache=False, output_includes_reasoning=True),
    kinds=("json-lines",),
    recognises=_recognises,
    read=_read,
    # What a line counts depends on others of its file: none is taken up in the middle.
    keeps_state=True,
    reference=(
        "ccusage 20: adapter README and loader of Claude Code, issues 901, 913, 938, 976 and pull request 1155; "
        "anthropic 2.14.0: types/usage.py, types/beta/beta_usage.py; observed lines of Claude Code 2.1"
    ),
    doubts=(
        "The layout is Claude Code's own and not documented by its maker.",
        "Repeats are told by message.id alone; requests of a gateway that reuses ids of messages would be lost.",
        "Where a message stands in several files, the counts of the first one stand, even if it was cut off there.",
        "What a request used is missing where Claude Code was stopped before the last line of an answer.",
        "Tokens of compaction by the server are beside the counts of a message, and are left out.",
        "The fast mode (usage.speed) is not told apart.",
        "Who served a message is told by the beginning of its id (msg_bdrk_, msg_vrtx_), which is observed only.",
    ),
)
