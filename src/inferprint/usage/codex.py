"""Sessions of Codex, also called rollouts: one event a line, under `sessions/` of its home."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from inferprint.usage.base import Counts, Format, Merged, Outcome, Record, Rejected, Sample, Skipped, Source
from inferprint.usage.times import utc
from inferprint.usage.wording import field_and_reason


class _Line(msgspec.Struct, kw_only=True):
    timestamp: str | float | None = None
    type: str | None = None
    payload: msgspec.Raw = msgspec.Raw(b"null")


class _Spawn(msgspec.Struct, kw_only=True, gc=False):
    parent_thread_id: str | None = None


class _Subagent(msgspec.Struct, kw_only=True, gc=False):
    thread_spawn: _Spawn | None = None


class _Origin(msgspec.Struct, kw_only=True, gc=False):
    subagent: _Subagent | str | None = None


class _Meta(msgspec.Struct, kw_only=True, gc=False):
    id: str | None = None
    forked_from_id: str | None = None
    source: _Origin | str | None = None
    cwd: str | None = None
    originator: str | None = None
    model_provider: str | None = None


class _Turn(msgspec.Struct, kw_only=True, gc=False):
    model: str | None = None
    cwd: str | None = None


class _Tokens(msgspec.Struct, kw_only=True, gc=False, frozen=True):
    input_tokens: float | None = None
    cached_input_tokens: float | None = None
    cache_write_input_tokens: float | None = None
    output_tokens: float | None = None
    reasoning_output_tokens: float | None = None


class _Info(msgspec.Struct, kw_only=True, gc=False):
    total_token_usage: _Tokens | None = None
    last_token_usage: _Tokens | None = None


class _Settings(msgspec.Struct, kw_only=True, gc=False):
    model: str | None = None
    service_tier: str | None = None


class _Kind(msgspec.Struct, kw_only=True, gc=False):
    type: str | None = None


class _Event(msgspec.Struct, kw_only=True, gc=False):
    info: _Info | None = None
    thread_settings: _Settings | None = None


_TIERS = {"default": None, "fast": "priority"}
"""Tiers under another name: "fast" is the older word for priority."""


@dataclass
class _Session:
    """What the lines so far say about the requests to come."""

    id: str | None = None
    lineage: str | None = None
    model: str | None = None
    cwd: str | None = None
    originator: str | None = None
    provider: str | None = None
    tier: str | None = None
    total: _Tokens | None = None

    def meta(self, meta: _Meta) -> None:
        """Take the session's head, or the head of an ancestor, whose events are repeated after it."""
        if self.id is None:
            self.id, self.cwd = meta.id, meta.cwd
            self.originator, self.provider = meta.originator, meta.model_provider
            self.lineage = _parent(meta) or meta.id
        elif meta.id != self.id:
            self.lineage = _parent(meta) or meta.id

    def counted(self, row: int, moment: Any, info: _Info) -> Outcome:
        """A count of tokens: the request it reports, or Merged where it repeats the one before."""
        total, before = info.total_token_usage, self.total
        if total is not None:
            self.total = total
            if total == before:
                return Merged(row)
        used = info.last_token_usage or _difference(total, before)
        if used is None:
            return Skipped(row, "not-inference")
        return Record(
            row=row,
            model_id=self.model,
            input_tokens=used.input_tokens,
            output_tokens=used.output_tokens,
            cached_input_tokens=used.cached_input_tokens or 0,
            cache_write_tokens=used.cache_write_input_tokens or 0,
            reasoning_tokens=used.reasoning_output_tokens or 0,
            request_id=self._request(total),
            session_id=self.id,
            project_id=self.cwd,
            application_id=self.originator or "codex",
            managed_service_id=self.provider,
            service_tier=self.tier,
            utc_datetime=utc(moment),
        )

    def _request(self, total: _Tokens | None) -> str | None:
        """What a request has in common with its copies in forks: the first session of all, and all tokens so far."""
        if total is None or self.lineage is None:
            return None
        given, cached = total.input_tokens or 0, total.cached_input_tokens or 0
        answered, thought = total.output_tokens or 0, total.reasoning_output_tokens or 0
        return f"{self.lineage}:{given:.0f}/{cached:.0f}/{answered:.0f}/{thought:.0f}"


def _parent(meta: _Meta) -> str | None:
    """The session that this one was forked from, or whose sub-agent it is."""
    if meta.forked_from_id or not isinstance(meta.source, _Origin):
        return meta.forked_from_id or None
    subagent = meta.source.subagent
    return subagent.thread_spawn.parent_thread_id if isinstance(subagent, _Subagent) and subagent.thread_spawn else None


def _difference(total: _Tokens | None, before: _Tokens | None) -> _Tokens | None:
    """What was used since the total before; all of it where the count began anew."""
    if total is None or before is None or (total.input_tokens or 0) < (before.input_tokens or 0):
        return total
    names = _Tokens.__struct_fields__
    return _Tokens(**{name: (getattr(total, name) or 0) - (getattr(before, name) or 0) for name in names})


_META = msgspec.json.Decoder(_Meta, strict=False)
_TURN = msgspec.json.Decoder(_Turn, strict=False)
_KIND = msgspec.json.Decoder(_Kind, strict=False)
_EVENT = msgspec.json.Decoder(_Event, strict=False)


def _read(source: Source, state: dict[str, Any]) -> Iterator[Outcome]:  # noqa: ARG001
    """Outcomes of a session.

    A fork or sub-agent begins with a copy of its parent's events, with moments of its own: their totals so far are the
    parent's, by which they are told to be the same requests, whichever file is read first.
    """
    session = _Session()
    for row, line in source.decoded(_Line):
        try:
            yield _outcome(session, row, line)
        except msgspec.ValidationError as error:
            place, reason = field_and_reason(error)
            yield Rejected(row, f"payload.{place}".rstrip("."), reason)


def _outcome(session: _Session, row: int, line: _Line) -> Outcome:
    if line.type == "session_meta":
        session.meta(_META.decode(line.payload))
    elif line.type == "turn_context":
        turn = _TURN.decode(line.payload)
        session.model, session.cwd = turn.model or session.model, turn.cwd or session.cwd
    elif line.type == "event_msg":
        kind = _KIND.decode(line.payload).type
        if kind == "token_count":
            info = _EVENT.decode(line.payload).info
            return session.counted(row, line.timestamp, info) if info else Skipped(row, "not-inference")
        if kind == "thread_settings_applied":
            settings = _EVENT.decode(line.payload).thread_settings or _Settings()
            session.model = settings.model or session.model
            session.tier = _TIERS.get(settings.service_tier or "default", settings.service_tier)
    return Skipped(row, "not-inference")


def _recognises(sample: Sample) -> bool:
    events = [event for event in sample.objects if isinstance(event, dict)]
    return sample.kind == "json-lines" and any(
        event.get("type") in ("session_meta", "turn_context", "event_msg")
        and isinstance(event.get("payload"), dict)
        and "timestamp" in event
        for event in events
    )


CODEX = Format(
    name="codex",
    title="Codex sessions",
    counts=Counts(input_includes_cache=True, output_includes_reasoning=True),
    kinds=("json-lines",),
    recognises=_recognises,
    read=_read,
    # What a line counts depends on others of its file: none is taken up in the middle.
    keeps_state=True,
    reference=(
        "openai/codex: codex-rs/protocol/src/protocol.rs (TokenUsage, TokenUsageInfo), pull requests 9330, 25087; "
        "ccusage: guide and adapter README of Codex, issues 824, 884, 1288, 1349, 1370; "
        "agentsview pull request 657 on forks"
    ),
    doubts=(
        "The layout is Codex's own and changes between versions.",
        "What a fork or sub-agent repeats of its parent counts at the moment of the fork where the parent is not read.",
        "Two sub-agents of one parent whose first requests are equal in all counts are taken for copies of each other.",
        "Sessions before September 2025 have no counts, and some of that month no model.",
        "The label codex-auto-review stands for a model that is not named.",
        "The output of `codex exec --json` is another format.",
        "cache_write_input_tokens was seen in programs that read sessions, not in Codex's own sources.",
    ),
)
