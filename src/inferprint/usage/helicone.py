"""Requests exported from Helicone."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import msgspec

from inferprint.usage import times
from inferprint.usage.base import Counts, Format, Outcome, Record, Sample, Skipped
from inferprint.usage.endpoints import Endpoint, endpoint_of
from inferprint.usage.pages import names_of, read_pages

_ALWAYS = frozenset({"request_created_at", "prompt_tokens", "completion_tokens"})
_ONE_OF = frozenset({"response_status", "response_created_at", "request_properties", "delay_ms"})

_NO_REFERENCE = "00000000-0000-0000-0000-000000000000"
"""What stands in `cache_reference_id` of a request that the model answered."""

_NO_HOSTS = frozenset({"", "custom", "helicone", "vercel", "qstash", "openpipe"})
"""Providers that serve no model themselves, or say nothing."""

_PROJECT, _APPLICATION = ("project", "project_id"), ("app", "appname", "application", "service")
_ENVIRONMENT, _SESSION = ("environment", "env"), ("helicone-session-id",)
"""Names of properties, which users choose, that mean a field of ours."""


class _Body(msgspec.Struct, gc=False):
    """A request, without its prompt."""

    model: str | None = None


class _Row(msgspec.Struct, kw_only=True, gc=False):
    request_id: str | None = None
    response_id: str | None = None
    request_created_at: str | None = None
    response_created_at: str | None = None
    response_status: float | None = None
    model_override: str | None = None
    response_model: str | None = None
    model: str | None = None
    request_model: str | None = None
    request_body: _Body | str | None = None
    provider: str | None = None
    target_url: str | None = None
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    reasoning_tokens: float | None = None
    prompt_cache_read_tokens: float | None = None
    prompt_cache_write_tokens: float | None = None
    prompt_audio_tokens: float | None = None
    completion_audio_tokens: float | None = None
    delay_ms: float | None = None
    latency: float | None = None
    time_to_first_token: float | None = None
    cost: float | None = None
    cost_usd: float | None = None
    costUSD: float | None = None  # noqa: N815
    cache_reference_id: str | None = None
    request_user_id: str | None = None
    request_properties: dict[str, Any] | str | None = None
    data: msgspec.Raw = msgspec.Raw()


_body_of = msgspec.json.Decoder(_Body, strict=False).decode
_properties_of = msgspec.json.Decoder(dict[str, Any]).decode


@lru_cache(maxsize=4096)
def _served_by(provider: str | None, target_url: str | None) -> Endpoint:
    """Service, cloud and region: the provider's name, and what the address adds."""
    name = (provider or "").lower()
    found = endpoint_of(target_url or "")
    service = {"x": "xai"}.get(name, provider)
    return found._replace(managed_service_id=found.managed_service_id or (None if name in _NO_HOSTS else service))


@lru_cache(maxsize=4096)
def _properties_in(text: str) -> dict[str, Any]:
    """The properties in a cell, none where it cannot be read; the export writes each quotation mark in it twice."""
    for written in (text, text.replace('""', '"')):
        try:
            return _properties_of(written)
        except msgspec.DecodeError:
            continue
    return {}


def _model_in(body: _Body | str | None) -> str | None:
    """The model that a request asks for."""
    if isinstance(body, _Body):
        return body.model
    for written in (body, body.replace('""', '"')) if body else ():
        try:
            return _body_of(written).model
        except msgspec.DecodeError:
            continue
    return None


def _model_of(raw: _Row) -> str | None:
    stated = raw.model_override or raw.response_model or raw.model or raw.request_model
    return stated or _model_in(raw.request_body)


def _property(properties: dict[str, Any], names: tuple[str, ...]) -> str | None:
    for name in names:
        value = properties.get(name)
        if value not in (None, ""):
            return str(value)
    return None


def _summed(count: float | None, *parts: float | None) -> float | None:
    """A count with the parts that it leaves out; None where nothing is counted."""
    if count is None and not any(parts):
        return None
    return (count or 0) + sum(part for part in parts if part is not None)


def _left_out(raw: _Row) -> str | None:
    if raw.cache_reference_id not in (None, "", _NO_REFERENCE):
        return "cached-response"
    status = raw.response_status
    # Below zero stands what never got an answer: out of time, cancelled, blocked.
    if status is not None and not 0 <= status < 400 and not raw.prompt_tokens and not raw.completion_tokens:
        return "failed"
    return None


def _outcome(row: int, raw: _Row) -> Outcome:
    rule = _left_out(raw)
    if rule is not None:
        return Skipped(row, rule)
    given = raw.request_properties
    found = (_properties_in(given) if isinstance(given, str) else given) or {}
    properties = {name.lower(): value for name, value in found.items()}
    served = _served_by(raw.provider, raw.target_url)
    read, written = raw.prompt_cache_read_tokens, raw.prompt_cache_write_tokens
    delay = raw.delay_ms or raw.latency
    return Record(
        row=row,
        model_id=_model_of(raw),
        input_tokens=_summed(raw.prompt_tokens, read, written, raw.prompt_audio_tokens),
        output_tokens=_summed(raw.completion_tokens, raw.reasoning_tokens, raw.completion_audio_tokens),
        cached_input_tokens=read or 0,
        cache_write_tokens=written or 0,
        reasoning_tokens=raw.reasoning_tokens or 0,
        request_id=raw.request_id or raw.response_id,
        session_id=_property(properties, _SESSION),
        project_id=_property(properties, _PROJECT),
        application_id=_property(properties, _APPLICATION),
        user_id=raw.request_user_id or None,
        environment=_property(properties, _ENVIRONMENT),
        managed_service_id=served.managed_service_id,
        cloud_id=served.cloud_id,
        cloud_region=served.cloud_region,
        utc_datetime=times.utc(raw.request_created_at),
        request_duration_ms=delay or times.elapsed_ms(raw.request_created_at, raw.response_created_at),
        time_to_first_token_ms=raw.time_to_first_token or None,
        cost_usd=next((cost for cost in (raw.cost_usd, raw.costUSD, raw.cost) if cost is not None), None),
        output_audio_tokens=raw.completion_audio_tokens or None,
    )


def _recognises(sample: Sample) -> bool:
    names = names_of(sample)
    return names >= _ALWAYS and bool(names & _ONE_OF)


HELICONE = Format(
    name="helicone",
    title="Helicone's export of requests",
    counts=Counts(input_includes_cache=False, output_includes_reasoning=False),
    kinds=("json-lines", "json", "csv"),
    recognises=_recognises,
    read=read_pages(_Row, _outcome),
    reference=(
        "Repository Helicone/helicone: examples/export/typescript (commit c7feb31), packages/cost/usage (commit "
        "69ffd3c), valhalla/jawn: toHeliconeRequest and the query of /v1/request/query-clickhouse"
    ),
    doubts=(
        "Older releases left tokens read from a cache in OpenAI's prompt_tokens; until when was not found.",
        "The query behind the export leaves out tokens of sound, which are no part of prompt_tokens.",
        "Gemini's reasoning is left out of completion_tokens by some releases.",
        "Projects, applications and environments are properties that users name: project, app, environment.",
        "country_code is the client's and is not used.",
    ),
)
