"""Traces of OpenTelemetry as OTLP JSON: a document, or lines as the collector's file exporter writes them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec

from inferprint.units import MS_PER_S
from inferprint.usage.base import Counts, Format, Merged, Outcome, Record, Rejected, Sample, Skipped, Source
from inferprint.usage.endpoints import endpoint_of
from inferprint.usage.tiers import tier_of
from inferprint.usage.times import utc
from inferprint.usage.wording import field_and_reason


class _Attribute(msgspec.Struct, gc=False):
    key: str
    # Left undecoded, as most are not read, and some hold prompts.
    value: msgspec.Raw = msgspec.Raw(b"{}")


class _Value(msgspec.Struct, rename="camel", gc=False):
    string_value: str | None = None
    int_value: float | None = None
    double_value: float | None = None
    bool_value: bool | None = None


class _Status(msgspec.Struct, gc=False):
    code: str | int | None = None


_Nanoseconds = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class Span(msgspec.Struct, rename="camel", gc=False):
    """Which span it is, what it lies in, and when it was: ids in hexadecimal, times since 1970 [ns]."""

    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str | None = ""
    start_time_unix_nano: _Nanoseconds = 0
    end_time_unix_nano: _Nanoseconds = 0


class _Span(Span, rename="camel", gc=False):
    attributes: list[_Attribute] = []
    status: _Status | None = None


class _Scope(msgspec.Struct, gc=False):
    # Decoded one by one, so that a malformed span takes no others with it.
    spans: list[msgspec.Raw] = []


class _Resource(msgspec.Struct, gc=False):
    attributes: list[_Attribute] = []


class _ResourceSpans(msgspec.Struct, rename="camel", gc=False):
    resource: msgspec.Raw = msgspec.Raw(b"{}")
    scope_spans: list[_Scope] = []


class Document(msgspec.Struct, rename="camel", gc=False):
    """What is exported at once, in OTLP JSON; its spans are still to be decoded."""

    resource_spans: list[_ResourceSpans] = []
    resource_metrics: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    resource_logs: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


_SPAN = msgspec.json.Decoder(_Span, strict=False)
_RESOURCE = msgspec.json.Decoder(_Resource, strict=False)
_VALUE = msgspec.json.Decoder(_Value, strict=False)

_NAMES: dict[str, tuple[str, ...]] = {
    "operation": ("gen_ai.operation.name",),
    "kind": ("openinference.span.kind",),
    "request_type": ("llm.request.type",),
    "model": ("gen_ai.response.model", "llm.response.model_name", "decision.response.model_name",
              "gen_ai.request.model", "llm.model_name", "decision.model_name",
              "llm.request.model_name", "decision.request.model_name"),
    "provider": ("gen_ai.provider.name", "gen_ai.system", "llm.provider", "decision.provider", "llm.system"),
    "input": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens", "llm.usage.prompt_tokens",
              "llm.token_count.prompt", "decision.token_count.input"),
    "output": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens", "llm.usage.completion_tokens",
               "llm.token_count.completion", "decision.token_count.output"),
    "read": ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens",
             "llm.token_count.prompt_details.cache_read", "llm.token_count.prompt_details.cache_input"),
    "written": ("gen_ai.usage.cache_write.input_tokens", "gen_ai.usage.cache_creation.input_tokens",
                "gen_ai.usage.cache_creation_input_tokens", "llm.token_count.prompt_details.cache_write"),
    "reasoning": ("gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens",
                  "llm.usage.reasoning_tokens", "llm.token_count.completion_details.reasoning"),
    "audio": ("gen_ai.usage.audio.output_tokens", "llm.token_count.completion_details.audio"),
    "first_chunk_s": ("gen_ai.response.time_to_first_chunk",),
    "response": ("gen_ai.response.id",),
    "session": ("gen_ai.conversation.id", "session.id"),
    "user": ("user.id", "enduser.id", "gen_ai.user", "llm.user"),
    "address": ("server.address", "gen_ai.openai.api_base"),
    "tier": ("openai.response.service_tier", "gen_ai.openai.response.service_tier",
             "openai.request.service_tier", "gen_ai.openai.request.service_tier"),
    "cost": ("llm.cost.total",),
    "error": ("error.type",),
    "application": ("service.name",),
    "project": ("service.namespace",),
    "environment": ("deployment.environment.name", "deployment.environment"),
}  # fmt: skip
"""Attributes by what they say, the best name first: conventions of today, those before, OpenLLMetry, OpenInference."""

_SLOTS = {name: (slot, rank) for slot, names in _NAMES.items() for rank, name in enumerate(names)}

_NUMBERS = frozenset(("input", "output", "read", "written", "reasoning", "audio", "first_chunk_s", "cost"))

OPERATIONS = frozenset(("chat", "text_completion", "generate_content", "embeddings"))
"""Operations that call a model."""

OTHER_OPERATIONS = frozenset(
    ("create_agent", "invoke_agent", "invoke_workflow", "execute_tool", "plan", "retrieval", "fetch_response",
     "create_memory", "create_memory_store", "delete_memory", "delete_memory_store", "search_memory", "update_memory",
     "upsert_memory", "execute_task", "vector_db_retrieve")
)  # fmt: skip
"""Operations that call none, whatever totals they carry."""

_FRAMEWORKS = frozenset(("langchain", "Langchain", "crewai", "_OTHER"))
"""Names in the place of a provider that say nothing on who serves the model."""

_MODEL_KINDS = frozenset(("LLM", "EMBEDDING", "RERANKER", "DECISION"))
_REQUEST_TYPES = frozenset(("chat", "completion", "embedding", "rerank"))
_FAILED = frozenset((2, "2", "STATUS_CODE_ERROR"))
_NS_PER_MS = 1_000_000

LONGEST = 2_000
"""Characters of a text; what is longer is no name. That of an error may be, of which only that there is one counts."""

_BIGGEST_KEPT = 65_536
"""Bytes of a resource that is remembered."""

ReadValue = Callable[[Any, bool], float | str | None]
"""The value of an attribute: a number where the second argument says so, else text; None where it is neither.

Raises ValueError where it is not what it should be.
"""


class Malformed(Exception):
    """An attribute that cannot be read: its name and the reason."""


def found_in(attributes: Iterable[Any], read: ReadValue) -> dict[str, Any]:
    """What attributes say, by the keys of `_NAMES`; they have a `key`, and a value to `read`.

    Raises
    ------
    Malformed
        One that is read, and is not what its name promises.
    """
    found: dict[str, Any] = {}
    ranks: dict[str, int] = {}
    for attribute in attributes:
        known = _SLOTS.get(attribute.key)
        if known is None:
            continue
        slot, rank = known
        if rank >= ranks.get(slot, 99):
            continue
        try:
            value = read(attribute, slot in _NUMBERS)
        except ValueError as error:
            raise Malformed(attribute.key, "is not what its name promises") from error
        if value is not None and value != "":
            found[slot], ranks[slot] = _checked(attribute.key, slot, value), rank
    return found


def _checked(key: str, slot: str, value: float | str) -> float | str:
    if isinstance(value, str):
        if len(value) > LONGEST and slot != "error":
            raise Malformed(key, f"is longer than {LONGEST:,} characters")
    elif not math.isfinite(value):
        raise Malformed(key, "is not a finite number")
    return value


def _value(attribute: _Attribute, number: bool) -> float | str | None:
    try:
        value = _VALUE.decode(attribute.value)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if not number:
        return value.string_value
    found = value.int_value if value.int_value is not None else value.double_value
    return float(value.string_value) if found is None and value.string_value else found


def _calls_model(found: dict[str, Any]) -> bool:
    """Whether a span is one call of a model, and no tool, agent or anything else."""
    operation = found.get("operation")
    has_tokens = "input" in found or "output" in found
    if operation is not None:
        return operation in OPERATIONS or (operation not in OTHER_OPERATIONS and has_tokens and "model" in found)
    if "kind" in found:
        return found["kind"].upper() in _MODEL_KINDS
    return found.get("request_type") in _REQUEST_TYPES or (has_tokens and "model" in found)


def _where(found: dict[str, Any]) -> tuple[str | None, str | None, str | None]:
    """Service, cloud and region: the address wins over the provider, which names the flavour of the telemetry."""
    provider, address = found.get("provider"), found.get("address")
    if provider in _FRAMEWORKS:
        provider = None
    if address is None:
        return provider, None, None
    place = endpoint_of(address)
    if place.managed_service_id is None and provider == "openai":
        # Many servers and gateways speak this protocol.
        provider = None
    return place.managed_service_id or provider, place.cloud_id, place.cloud_region


def _record(row: int, span: Span, found: dict[str, Any], resource: dict[str, Any]) -> Record:
    service, cloud, region = _where(found)
    passed_ns = span.end_time_unix_nano - span.start_time_unix_nano
    first_chunk_s = found.get("first_chunk_s")
    call = found.get("response") or span.span_id
    return Record(
        row=row,
        model_id=found.get("model"),
        input_tokens=found.get("input"),
        output_tokens=found.get("output"),
        cached_input_tokens=found.get("read", 0),
        cache_write_tokens=found.get("written", 0),
        reasoning_tokens=found.get("reasoning", 0),
        output_audio_tokens=found.get("audio"),
        # Small servers number their answers from 1, so that an id of an answer holds within its trace.
        request_id=f"{span.trace_id}/{call}" if call else None,
        trace_id=span.trace_id or None,
        session_id=found.get("session"),
        project_id=resource.get("project"),
        application_id=resource.get("application"),
        user_id=found.get("user"),
        environment=resource.get("environment"),
        managed_service_id=service,
        cloud_id=cloud,
        cloud_region=region,
        service_tier=tier_of(found.get("tier")),
        utc_datetime=utc(span.start_time_unix_nano) if span.start_time_unix_nano else None,
        request_duration_ms=passed_ns / _NS_PER_MS if span.start_time_unix_nano and passed_ns > 0 else None,
        time_to_first_token_ms=None if first_chunk_s is None else first_chunk_s * MS_PER_S,
        cost_usd=found.get("cost"),
    )


def outcome_of(
    row: int, span: Span, attributes: Iterable[Any], read: ReadValue, *, status: Any, resource: dict[str, Any]
) -> Outcome:
    """What a span tells.

    Parameters
    ----------
    row
        Its number.
    span
        Which one it is.
    attributes, read
        See `found_in`.
    status
        Code of its status, as a number or by name.
    resource
        What its resource says.
    """
    try:
        found = found_in(attributes, read)
    except Malformed as error:
        return Rejected(row, *error.args)
    if not _calls_model(found):
        return Skipped(row, "not-inference")
    failed = "error" in found or status in _FAILED
    if failed and not found.get("input") and not found.get("output"):
        return Skipped(row, "failed")
    return _record(row, span, found, resource)


# --- Calls that two instrumentations describe -------------------------------------------------------------------------

Tokens = tuple[float, float]

Place = Literal["alone", "repeat", "between"]
"""A span that tells its own, one that tells another's call again, and one without a call that lies between others."""


def tokens_of(record: Record | None) -> Tokens | None:
    """Tokens in and out of a call; None where there is none."""
    return None if record is None else (record.input_tokens or 0, record.output_tokens or 0)


class Nesting:
    """Spans inside each other that tell the same call twice, as those of a framework and of its client do.

    A span repeats what is inside it where its tokens are those of one call there, or of all of them together. Spans in
    between, of whatever kind, do not matter. The inner one stands, as it knows the endpoint; where the outer one was
    read before, it stands.

    Attributes
    ----------
    inside
        By the id of a span that was not met yet: tokens of the nearest calls inside it.
    around
        By the id of a span that was met: tokens of the nearest call that it is, or lies in.
    """

    remembered = 100_000
    """Spans to wait for; ends of one trace lie close to each other."""

    def __init__(self) -> None:
        self.inside: dict[str, list[Tokens]] = {}
        self.around: dict[str, Tokens] = {}

    def place(self, span: Span, tokens: Tokens | None) -> Place:
        """Take note of a span, with the tokens of its call where it is one, and say what it is to those before."""
        key, parent = _key_and_parent(span)
        inside = self.inside.pop(key, [])
        around = None if parent is None else self.around.get(parent)
        if tokens is None or sum(tokens) == 0:
            up, down, is_repeat = inside, around, False
        else:
            total = tuple(map(sum, zip(*inside, strict=True)))
            up, down, is_repeat = [tokens], tokens, tokens in (around, total, *inside)
        if up and parent is not None:
            self._wait(parent, up)
        if down is not None:
            self._keep(self.around, key, down)
        if is_repeat:
            return "repeat"
        return "between" if parent is not None and (inside or around is not None) else "alone"

    def load(self, spans: Iterable[tuple[Span, Tokens | None]]) -> None:
        """Take note of spans that were placed before, with the tokens of their calls, in whatever order they come."""
        parents: dict[str, str | None] = {}
        calls: dict[str, Tokens] = {}
        for span, tokens in spans:
            key, parents[key] = _key_and_parent(span)
            if tokens is not None and sum(tokens) != 0:
                calls[key] = tokens
        outer: dict[str, str | None] = {}
        for key in parents:
            if key not in calls:
                around = _outwards(key, parents, calls, outer)
                if around in calls:
                    self._keep(self.around, key, calls[around])
        for key, tokens in calls.items():
            self._keep(self.around, key, tokens)
            missing = _outwards(parents[key], parents, calls, outer)
            if missing is not None and missing not in calls:
                self._wait(missing, [tokens])

    def _wait(self, key: str, inside: Sequence[Tokens]) -> None:
        waiting = self.inside.get(key)
        if waiting is None:
            self._keep(self.inside, key, [*inside])
        else:
            waiting += inside

    def _keep(self, kept: dict[str, Any], key: str, value: Any) -> None:
        kept[key] = value
        if len(kept) > self.remembered:
            del kept[next(iter(kept))]


def _key_and_parent(span: Span) -> tuple[str, str | None]:
    return span.trace_id + span.span_id, span.trace_id + span.parent_span_id if span.parent_span_id else None


def _outwards(
    key: str | None, parents: dict[str, str | None], calls: dict[str, Tokens], outer: dict[str, str | None]
) -> str | None:
    """The nearest call that a span is or lies in, else the nearest span that was not met; `outer` is what was found."""
    passed = []
    while key is not None and key in parents and key not in calls and key not in outer:
        outer[key] = None  # where spans lie in a circle, it ends here
        passed.append(key)
        key = parents[key]
    found = None if key is None else outer.get(key, key)
    outer.update(dict.fromkeys(passed, found))
    return found


def inner_first(spans: Sequence[Span]) -> list[int]:
    """Positions of spans in the order in which they are to be placed: what is inside goes before what is around it."""
    return sorted(range(len(spans)), key=lambda i: (spans[i].end_time_unix_nano, -spans[i].start_time_unix_nano))


def _without_repeats(entries: list[tuple[Span, Outcome]], nesting: Nesting) -> Iterator[Outcome]:
    """The outcomes of a document's spans, in their order."""
    outcomes = [outcome for _, outcome in entries]
    for i in inner_first([span for span, _ in entries]):
        span, outcome = entries[i]
        if nesting.place(span, tokens_of(outcome if isinstance(outcome, Record) else None)) == "repeat":
            outcomes[i] = Merged(outcome.row)
    yield from outcomes


# --- Documents --------------------------------------------------------------------------------------------------------


def _resource(raw: bytes) -> dict[str, Any]:
    """What a resource says; nothing where it cannot be read."""
    try:
        return found_in(_RESOURCE.decode(raw).attributes, _value)
    except (msgspec.DecodeError, RecursionError, Malformed):
        return {}


_known_resource = lru_cache(maxsize=1024)(_resource)
"""Documents repeat the few that there are."""


def entries_of(document: Document, row: int = 1) -> Iterator[tuple[Span, Outcome]]:
    """The spans of a document and their outcomes, numbered from a row on."""
    for resource_spans in document.resource_spans:
        raw_resource = bytes(resource_spans.resource)
        resource = (_known_resource if len(raw_resource) <= _BIGGEST_KEPT else _resource)(raw_resource)
        for scope in resource_spans.scope_spans:
            for raw in scope.spans:
                try:
                    span = _SPAN.decode(raw)
                except (msgspec.DecodeError, RecursionError) as error:
                    yield Span(), Rejected(row, *field_and_reason(error))
                else:
                    status = None if span.status is None else span.status.code
                    yield span, outcome_of(row, span, span.attributes, _value, status=status, resource=resource)
                row += 1


def _read(source: Source, state: dict[str, Any]) -> Iterator[Outcome]:
    """One outcome a span, numbered through the file; and one for each document of metrics or logs."""
    nesting = state.setdefault("opentelemetry", Nesting())
    row = 0
    for _, document in source.decoded(Document):
        for name, given, what in (
            ("resourceMetrics", document.resource_metrics, "metrics hold totals without their requests"),
            ("resourceLogs", document.resource_logs, "log records repeat what spans tell"),
        ):
            if given is not msgspec.UNSET:
                row += 1
                yield Rejected(row, name, f"{what}: export traces instead")
        entries = list(entries_of(document, row + 1))
        row += len(entries)
        yield from _without_repeats(entries, nesting)


def _recognises(sample: Sample) -> bool:
    return not sample.names.isdisjoint(("resourceSpans", "resourceMetrics", "resourceLogs"))


OPENTELEMETRY = Format(
    name="opentelemetry",
    title="Traces of OpenTelemetry: OTLP JSON with GenAI spans",
    counts=Counts(input_includes_cache=True, output_includes_reasoning=True),
    kinds=("json-lines", "json"),
    recognises=_recognises,
    read=_read,
    keeps_state=True,
    reference=(
        "open-telemetry/semantic-conventions-genai, docs/registry/attributes/gen-ai.md (002c8a6) and"
        " docs/gen-ai/client-inference.md (024a4f9); opentelemetry-semantic-conventions 0.66b2;"
        " opentelemetry-semantic-conventions-ai 0.5.1 (OpenLLMetry); openinference-semantic-conventions 0.1.42"
    ),
    doubts=(
        "Some leave cached tokens out of the input, as opentelemetry-instrumentation-bedrock 0.62.4, unnoticed.",
        "A call that two spans tell is found where one is inside the other with the same tokens, and not otherwise.",
        "cloud.region is where the caller runs, not the model, and is not read.",
        "Where the address of an 'openai' span is unknown, who serves the model is left open.",
        "Sampled traces hold a part of the requests; the rate is not in them.",
    ),
)
"""Spans of the GenAI conventions, of today and before, of OpenLLMetry and of OpenInference."""
