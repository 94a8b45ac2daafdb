"""What is told of a body or a parameter that cannot be: where, what was sent, why, and what to do."""

from __future__ import annotations

import json

import pytest
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel

from inferprint.service.app import api
from inferprint.service.bodies import errors, parameter_refused, parsed
from inferprint.service.faults import PATTERNS
from inferprint.service.openapi import BODIES
from inferprint.service.problems import BadRequest
from inferprint.service.record_schemas import GPUCreateRequest, ModelCreateRequest, NodeCreateRequest
from inferprint.service.rows import BIGQUERY
from inferprint.service.schemas import ImpactBigQueryRequest, ImpactRequest

GPU = {
    "id": "a", "name": "A", "max_power_w": 300, "embodied_emissions_kgco2e": 100, "embodied_water_mlh2o": 1,
    "performance_ratio_to_h200": 0.5, "ols_coefficient_gpu_count": 0, "ols_intercept": 0,
}  # fmt: skip
NODE = {"id": "my-node", "gpu_id": "h100", "gpu_count": 1, "cpu_count": 1}
CALLS = {"requestId": "1", "caller": "", "sessionUser": ""}


def refusal(model: type[BaseModel], body: object) -> BadRequest:
    """What is said of a body; texts are sent as they are."""
    sent = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    with pytest.raises(BadRequest) as refused:
        parsed(model, sent)
    return refused.value


def row(**fields: object) -> tuple[type[BaseModel], object]:
    return ImpactRequest, {"rows": [{}, fields]}


CASES = [
    (row(input_tokens=-5), "rows[1].input_tokens: -5 is too small",
     "It must be at least 0 and at most 1,000,000,000,000,000."),
    (row(batch_size=0), "rows[1].batch_size: 0 is too small", "It must be above 0 and at most 1,000,000."),
    (row(active_share=1.5), "rows[1].active_share: 1.5 is too large", "It must be above 0 and at most 1."),
    (row(input_tokens="5"), "rows[1].input_tokens: '5' is not a whole number",
     "A whole number, at least 0 and at most 1,000,000,000,000,000."),
    (row(input_tokens=10**100), "rows[1].input_tokens: a number of many digits is too large",
     "It must be at least 0 and at most 1,000,000,000,000,000."),
    (row(pue=True), "rows[1].pue: true is not a number", "A number, at least 1 and at most 5."),
    (row(media_tokens_included="yes"), "rows[1].media_tokens_included: 'yes' is not true or false",
     "Send true or false."),
    (row(techniques="x"), "rows[1].techniques: 'x' is not a list", "Send a list."),
    (row(techniques=["x"] * 21), "rows[1].techniques: 21 techniques; at most 20", "Send at most 20 at a time."),
    (row(input_token=5), "rows[1]: 'input_token' is not a field", "Nearest: input_tokens"),
    (row(frobnicate=5), "rows[1]: 'frobnicate' is not a field",
     "Leave it out. ImpactRow is described in /openapi.json."),
    (row(country="fr"), "rows[1].country: 'fr' is not written as it must be", "Two capital letters, such as FR."),
    (row(input_images=["1024 x 1024"]), "rows[1].input_images[0]: '1024 x 1024' is not written as it must be",
     "Width x height in pixels, such as 1024x1024."),
    (row(request_id="a\nb"), "rows[1].request_id: 'a\\nb' is not written as it must be",
     "Text without line breaks and other control characters."),
    (row(request_id="x" * 301), f"rows[1].request_id: '{'x' * 40}'... is too long, with 301 characters",
     "At most 300 characters."),
    (row(request_id={"a": 1}), "rows[1].request_id: an object is not a text",
     "Text without line breaks and other control characters."),
    (row(utc_datetime="yesterday"), "rows[1].utc_datetime: 'yesterday' is not a moment",
     "A date and a time with its offset, such as 2026-11-01T12:00:00Z."),
    (row(task="chatt"), "rows[1].task: 'chatt' is not one of those there are",
     "Nearest: chat. One of text-generation, chat,"),
    (row(environment=None, session_id="ipk_aaaaaaaaaaaa_secret\n"),
     "rows[1].session_id: a key is not written as it must be", "Text without"),
    ((ImpactRequest, {"rows": [{}] * 1001}), "rows: 1,001 rows; at most 1,000", "Send 1 to 1,000 at a time."),
    ((ImpactRequest, {"rows": []}), "rows: 0 rows; at least 1", "Send 1 to 1,000 at a time."),
    ((ImpactRequest, {}), "rows is missing", "It is required."),
    ((ImpactRequest, {"rows": [{}], "raws": 1}), "'raws' is not a field", "Nearest: rows."),
    ((ImpactRequest, {"rows": [{}], "x": 1}), "'x' is not a field", "Known: rows."),
    ((ImpactRequest, {"rows": [5]}), "rows[0]: 5 is not an object", "Send an object."),
    ((ImpactRequest, []), "the body: a list is not an object", "Send an object."),
    ((ImpactRequest, '{"rows": ['), "the body is not JSON: EOF while parsing", "Send one JSON object in UTF-8."),
    ((ImpactRequest, '{"rows": [{"pue": 1e999}]}'), "rows[0].pue: inf is not a finite number",
     "A number, at least 1 and at most 5."),
    ((NodeCreateRequest, NODE | {"id": "My_Node"}), "id: 'My_Node' is not written as it must be",
     "Small letters, digits and dashes, such as my-node-1."),
    ((NodeCreateRequest, NODE | {"id": "a"}), "id: 'a' is too short, with 1 characters", "3 to 64 characters."),
    ((GPUCreateRequest, GPU | {"id": "a/alias"}), "id: 'a/alias' cannot be: 'alias' cannot be a part of an id",
     "Change it"),
    ((GPUCreateRequest, {**GPU, "max_power_w": None}), "max_power_w: null is not a number",
     "A number, "),
    ((ModelCreateRequest, {"name": "x"}), "id is missing", "It is required, such as 'my-model'."),
    ((ImpactBigQueryRequest, CALLS | {"calls": [["a", "b"]]}), "calls[0]: 2 arguments; at least 17",
     f"17 to 21 arguments, in this order: {', '.join(BIGQUERY)}."),
    ((ImpactBigQueryRequest, CALLS | {"calls": [[None] * 16 + [{}]]}),
     "calls[0][16]: an object is of none of the types that are allowed", "Send a text or a number or null."),
]  # fmt: skip


@pytest.mark.parametrize("asked, message, reason", CASES, ids=[case[1][:60] for case in CASES])
def test_a_fault_says_where_what_why_and_what_to_do(asked, message, reason):
    told = refusal(*asked)
    assert told.message.startswith(message)
    assert told.reason.startswith(reason)
    assert told.reason not in told.message
    assert told.field == ("" if message.startswith("the body") else told.field)
    assert "secret" not in told.message


def test_the_first_faults_are_told_and_the_others_counted():
    told = refusal(ImpactRequest, {"rows": [{"input_tokens": -i} for i in range(1, 10)]})
    assert told.message.count("is too small") == 5
    assert told.message.endswith(" and 4 more")
    assert told.field == "rows[0].input_tokens"


def test_one_value_is_one_fault():
    told = refusal(ImpactBigQueryRequest, CALLS | {"calls": [[{}] + [None] * 16]})
    assert told.message.count("calls[0][0]") == 1


@pytest.mark.parametrize(
    "fault, message, reason",
    [
        ({"type": "int_parsing", "input": "ten"}, "limit[0]: 'ten' is not a whole number", "A whole number."),
        ({"type": "less_than_equal", "input": "2000", "ctx": {"le": 1000}}, "limit[0]: '2000' is too large",
         "It must be at most 1,000."),
        ({"type": "enum", "input": "modle", "ctx": {"expected": "'model', 'day' or 'month'"}},
         "limit[0]: 'modle' is not one of those there are", "Nearest: model. One of model, day, month."),
        ({"type": "new_in_pydantic", "input": "x", "msg": "Input is odd"}, "limit[0]: 'x' cannot be: input is odd",
         "See /openapi.json for what can."),
    ],
)  # fmt: skip
def test_parameters_are_told_likewise(fault, message, reason):
    told = parameter_refused(RequestValidationError([{"msg": "", "loc": ("query", "limit", 0), **fault}]))
    assert (told.message, told.reason) == (message, reason)
    assert (told.field, told.code, told.status) == ("limit[0]", "invalid_parameter", 400)


def test_what_is_repeated_is_short():
    for value in ("x" * 10_000, ["x" * 10_000], {"x" * 10_000: 1}, int("9" * 400)):
        assert len(refusal(ImpactRequest, {"rows": [{"country": value}]}).message) < 150
    assert len(refusal(ImpactRequest, {"rows": [{"x" * 10_000: 1}]}).message) < 150


def patterns(schema: object) -> set[str]:
    """All patterns in a schema."""
    if isinstance(schema, dict):
        own = {schema["pattern"]} if isinstance(schema.get("pattern"), str) else set()
        return own.union(*map(patterns, schema.values()))
    return set().union(*map(patterns, schema)) if isinstance(schema, list) else set()


def test_every_pattern_has_words():
    asked = patterns([body.model_json_schema() for body in BODIES])
    parameters = [one.get("parameters") for path in api().openapi()["paths"].values() for one in path.values()]
    asked |= patterns(parameters)
    assert len(asked) >= 8
    assert asked <= set(PATTERNS)


def test_every_endpoint_tells_of_time_and_of_faults():
    assert {408, 500, 503} <= set(errors())
    for path, operations in api().openapi()["paths"].items():
        for operation in operations.values():
            assert {"408", "500"} <= set(operation["responses"]), path
