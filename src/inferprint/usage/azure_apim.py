"""Calls of language models through Azure API Management: the table ApiManagementGatewayLlmLog and its event stream."""

from __future__ import annotations

import msgspec

from inferprint.usage import times
from inferprint.usage.base import Counts, Format, Merged, Outcome, Record, Rejected, Sample, Skipped, read_each
from inferprint.usage.wording import field_and_reason

_MARKS = frozenset({"CorrelationId", "PromptTokens", "CompletionTokens"})
_CATEGORY = "GatewayLlmLogs"


class _Call(msgspec.Struct, kw_only=True, gc=False, rename="pascal"):
    """A row of the table; the last three are of ApiManagementGatewayLogs, where that was joined."""

    correlation_id: str | None = None
    request_id: str | None = None
    sequence_number: float | None = None
    deployment_name: str | None = None
    model_name: str | None = None
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    prompt_cached_tokens: float | None = None
    time_generated: str | float | None = None
    time_generated_utc: str | None = msgspec.field(default=None, name="TimeGenerated [UTC]")
    apim_subscription_id: str | None = None
    api_id: str | None = None
    total_time: float | None = None
    # An event of a diagnostic setting has the call within it.
    category: str | None = msgspec.field(default=None, name="category")
    time: str | None = msgspec.field(default=None, name="time")
    correlation: str | None = msgspec.field(default=None, name="correlationId")
    properties: msgspec.Raw = msgspec.field(default=msgspec.Raw(), name="properties")


class _Properties(msgspec.Struct, kw_only=True, gc=False, rename="camel"):
    """A call within an event."""

    correlation_id: str | None = None
    request_id: str | None = None
    sequence_number: float | None = None
    deployment_name: str | None = None
    model_name: str | None = None
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    prompt_cached_tokens: float | None = None


_call_of = msgspec.json.Decoder(_Call, strict=False).decode
_properties_of = msgspec.json.Decoder(_Properties, strict=False).decode


def _moment(call: _Call) -> str | None:
    """When a call was made; the portal exports "11/20/2026, 9:00:00.250 AM"."""
    text = call.time_generated_utc
    if text is None or "/" not in text:
        return times.utc(text or call.time_generated)
    try:
        date, clock, half = text.split()
        month, day, year = date.rstrip(",").split("/")
        hour, rest = clock.split(":", 1)
        return f"{year}-{month:0>2}-{day:0>2}T{int(hour) % 12 + 12 * (half == 'PM'):02d}:{rest}Z"
    except ValueError:
        return text


def _outcome(row: int, call: _Call) -> Outcome:
    cached, tokens_in = call.prompt_cached_tokens or 0, call.prompt_tokens
    is_counted = tokens_in or call.completion_tokens or cached
    if not is_counted and call.sequence_number:
        # Entries after the first hold what was said, in pieces; the first one holds the counts.
        return Merged(row)
    if not is_counted and not call.model_name and not call.deployment_name:
        return Skipped(row, "not-inference")
    if (call.request_id or "").startswith("msg_"):
        # Anthropic's own protocol, whose count of input leaves out what is read from the cache.
        tokens_in = (tokens_in or 0) + cached
    return Record(
        row=row,
        model_id=call.model_name or call.deployment_name or None,
        input_tokens=tokens_in,
        output_tokens=call.completion_tokens,
        cached_input_tokens=cached,
        request_id=call.correlation_id or call.request_id or None,
        application_id=call.api_id or None,
        client_id=call.apim_subscription_id or None,
        managed_service_id="azure-openai" if call.deployment_name else None,
        utc_datetime=_moment(call),
        request_duration_ms=call.total_time or None,
    )


def _within(event: _Call) -> _Call:
    """The call in an event, whose properties are written in camel case or as the table has them."""
    properties = bytes(event.properties)
    if b'"CompletionTokens"' in properties:
        call = _call_of(properties)
    else:
        found = _properties_of(properties)
        call = _Call(**{name: getattr(found, name) for name in found.__struct_fields__})
    call.time_generated = call.time_generated or event.time
    call.correlation_id = call.correlation_id or event.correlation
    return call


def _call_or_event(row: int, raw: _Call) -> Outcome:
    if raw.category is None:
        return _outcome(row, raw)
    if raw.category != _CATEGORY or not raw.properties:
        return Skipped(row, "not-inference")
    try:
        return _outcome(row, _within(raw))
    except msgspec.DecodeError as error:
        place, reason = field_and_reason(error)
        return Rejected(row, f"properties.{place}", reason)


def _recognises(sample: Sample) -> bool:
    if sample.names >= _MARKS:
        return True
    return any(isinstance(event, dict) and event.get("category") == _CATEGORY for event in sample.objects)


AZURE_APIM = Format(
    name="azure_apim",
    title="Azure API Management's log of language models",
    counts=Counts(input_includes_cache=True, output_includes_reasoning=True),
    kinds=("json-lines", "json", "csv"),
    recognises=_recognises,
    read=read_each(_Call, _call_or_event),
    reference=(
        "Microsoft documentation: table ApiManagementGatewayLlmLog, Log token usage, prompts, and completions for "
        "language model APIs (read in November 2026); the query of Azure-Samples/AI-Gateway, which counts entries that "
        "name a deployment"
    ),
    doubts=(
        "That entry 0 holds the counts, and the others messages, is what public repositories found.",
        "PromptCachedTokens is in no documentation that was read; a public repository measured what it means.",
        "Region is where the gateway is, and not the model: it is not used.",
        "A named deployment is taken to be Azure's own; a gateway can have other backends.",
        "What a hit of the gateway's semantic cache leaves in the log is not documented.",
    ),
)
