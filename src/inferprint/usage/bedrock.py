"""Model invocation logs of AWS Bedrock, as it delivers them to S3 and to CloudWatch Logs."""

from __future__ import annotations

import msgspec

from inferprint.usage.base import Counts, Format, Outcome, Record, Sample, Skipped, read_each
from inferprint.usage.times import utc


class _Input(msgspec.Struct, rename="camel", gc=False):
    input_token_count: float | None = None
    cache_read_input_token_count: float | None = None
    cache_write_input_token_count: float | None = None


class _Output(msgspec.Struct, rename="camel", gc=False):
    output_token_count: float | None = None
    # Left undecoded: it holds the answer, and is an object, a list of events or text as the model has it.
    output_body_json: msgspec.Raw = msgspec.Raw(b"null")


class _Tags(msgspec.Struct, gc=False):
    project: str | None = None
    team: str | None = None
    application: str | None = None
    user: str | None = None
    session: str | None = None
    environment: str | None = None


class _Identity(msgspec.Struct, gc=False):
    arn: str | None = None


class _Log(msgspec.Struct, rename="camel", gc=False):
    timestamp: str | float | None = None
    region: str | None = None
    inference_region: str | None = None
    request_id: str | None = None
    model_id: str | None = None
    error_code: str | None = None
    identity: _Identity | None = None
    request_metadata: _Tags | None = None
    input: _Input | None = None
    output: _Output | None = None


class _Latency(msgspec.Struct, rename="camel", gc=False):
    latency_ms: float | None = None
    invocation_latency: float | None = None
    first_byte_latency: float | None = None


class _Body(msgspec.Struct, gc=False):
    model: str | None = None
    metrics: _Latency | None = None
    invocation_metrics: _Latency | None = msgspec.field(default=None, name="amazon-bedrock-invocationMetrics")


_NO_INPUT, _NO_OUTPUT, _NO_TAGS, _NO_BODY, _NO_LATENCY = _Input(), _Output(), _Tags(), _Body(), _Latency()
_EVENTS = msgspec.json.Decoder(list[msgspec.Raw])
_BODY = msgspec.json.Decoder(_Body)


def _body(raw: msgspec.Raw) -> _Body:
    """What the answer's body says about itself: an object, or the last of the events of a stream."""
    try:
        if bytes(memoryview(raw)[:1]) == b"[":
            events = _EVENTS.decode(raw)
            return _BODY.decode(events[-1]) if events else _NO_BODY
        return _BODY.decode(raw)
    except msgspec.DecodeError:
        return _NO_BODY


def _convert(row: int, log: _Log) -> Outcome:
    given, answer, tags = log.input or _NO_INPUT, log.output or _NO_OUTPUT, log.request_metadata or _NO_TAGS
    fresh, out = given.input_token_count, answer.output_token_count
    if log.error_code and not fresh and not out:
        return Skipped(row, "failed")
    body = _body(answer.output_body_json)
    latency = body.metrics or body.invocation_metrics or _NO_LATENCY
    read, written = given.cache_read_input_token_count or 0, given.cache_write_input_token_count or 0
    model = log.model_id
    if model is not None and "application-inference-profile/" in model:
        # A profile of one's own has an id that says nothing; the answer of some models names the model.
        model = body.model or model
    return Record(
        row=row,
        model_id=model,
        input_tokens=None if fresh is None else fresh + read + written,
        output_tokens=out,
        cached_input_tokens=read,
        cache_write_tokens=written,
        request_id=log.request_id,
        session_id=tags.session,
        project_id=tags.project or tags.team,
        application_id=tags.application,
        client_id=None if log.identity is None else log.identity.arn,
        user_id=tags.user,
        environment=tags.environment,
        managed_service_id="aws-bedrock",
        cloud_id="aws",
        cloud_region=log.inference_region or log.region,
        utc_datetime=utc(log.timestamp),
        request_duration_ms=latency.latency_ms or latency.invocation_latency,
        time_to_first_token_ms=latency.first_byte_latency,
    )


def _recognises(sample: Sample) -> bool:
    return any(
        isinstance(line, dict)
        and (
            line.get("schemaType") == "ModelInvocationLog"
            or (isinstance(line.get("input"), dict) and "modelId" in line and "inputTokenCount" in line["input"])
        )
        for line in sample.objects
    )


BEDROCK = Format(
    name="bedrock",
    title="Model invocation log of AWS Bedrock",
    counts=Counts(input_includes_cache=False, output_includes_reasoning=True),
    kinds=("json-lines", "json"),
    recognises=_recognises,
    read=read_each(_Log, _convert),
    reference=(
        "AWS, Amazon Bedrock user guide, Monitor model invocation using CloudWatch Logs and Amazon S3, and API"
        " reference, TokenUsage; logs of April 2026 in a public repository, whose totalTokens sums up fresh, read,"
        " written and output tokens; openinference-instrumentation-bedrock 0.1.61, which adds the three of each model"
    ),
    doubts=(
        "That input tokens leave out cached ones was seen in logs of Claude; it is taken for all models.",
        "errorCode marks failed calls: the user guide that was read does not list it.",
        "Calls that make pictures or video state no tokens, and their counts of pictures are not documented.",
        "The service tier of a call is not in the log; batch jobs and the bedrock-mantle endpoint are not logged.",
        "Keys of requestMetadata are the caller's: project, team, application, user, session, environment are read.",
    ),
)
"""Model invocation logs of AWS Bedrock: one JSON object a call."""
