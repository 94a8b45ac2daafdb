"""`/v1/impact` and `POST /` as their clients see them: those of the Scope3 AI SDK against a real server."""

import asyncio
import json
from urllib.parse import quote

import httpx
import pytest
from scope3ai.api.client import AsyncClient, Client
from scope3ai.api.typesgen import ImpactBigQueryRequest, ImpactRequest, ImpactResponse, ImpactRow, ModeledRow
from tests.service.server_here import serving

from inferprint import estimate
from inferprint.service.answers import METRICS
from inferprint.service.rows import BIGQUERY


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(str(tmp_path_factory.mktemp("impact") / "ledger.db")) as found:
        yield found


@pytest.fixture(scope="module")
def client(server):
    made = Client(api_key="any", api_url=server.url)
    yield made
    made.client.close()


def post(server, body, **query):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return httpx.post(
        f"{server.url}/v1/impact", params=query, content=content, headers={"Content-Type": "application/json"}
    )


# Rows of the API, and the keywords of the library that mean the same.
ROWS = [
    ({"model_id": "gpt-4o", "input_tokens": 1000, "output_tokens": 200}, {}),
    (
        {"model_id": "llama-3.1-70b", "input_tokens": 5, "output_tokens": 7, "managed_service_id": "aws-bedrock"}
        | {"cloud_id": "aws", "cloud_region": "us-east-1"},
        {},
    ),
    (
        {"model_hugging_face_path": "meta-llama/Llama-3.1-8B-Instruct", "input_tokens": 5, "output_tokens": 7}
        | {"cloud_id": "aws", "cloud_instance_id": "p5.48xlarge", "country": "US"},
        {"model_id": "meta-llama/Llama-3.1-8B-Instruct"},
    ),
    (
        {"model_id": "not-a-model-at-all", "model_used_id": "gpt-4o-2024-08-06", "input_tokens": 5, "output_tokens": 7},
        {"model_id": "gpt-4o-2024-08-06"},
    ),
    (
        {"model_id": "gpt-4o", "input_tokens": 5, "output_tokens": 7, "country": "US", "region": "CA"},
        {"grid_zone": "US-CA"},
    ),
    (
        {"model_id": "openai/gpt-4o", "managed_service_id": "litellm", "input_tokens": 5, "output_tokens": 7},
        {"managed_service_id": None},
    ),
    (
        {"model_id": "llama-3.1-8b", "managed_service_id": "huggingface_hub", "input_tokens": 5, "output_tokens": 7},
        {},
    ),
    (
        {"model_id": "llama-3.1-8b", "node_id": "generic:hgx-h100-8", "input_tokens": 500, "output_tokens": 70}
        | {"processing_duration_ms": 4200.5},
        {"request_duration_ms": 4200.5},
    ),
    (
        {"model_id": "gpt-4o", "input_tokens": 5, "output_tokens": 7, "request_duration_ms": 4200},
        {"request_duration_ms": None},
    ),
    ({"task": "text-embedding", "input_tokens": 12}, {}),
    ({"model_id": "flux.1-dev", "output_images": ["1024x1024", "512x512"], "input_steps": 20}, {}),
    ({"model_id": "whisper-large-v3", "input_audio_seconds": 60.5, "country": "FR"}, {}),
    (
        {"model_id": "wan2.1-14b", "output_video_frames": 81, "output_video_resolution": 480, "country": "FR"},
        {},
    ),
    ({"model_id": "qwen2.5-vl-7b", "input_tokens": 60, "output_tokens": 150, "input_images": ["1024x768"]}, {}),
]
ABOUT_ROWS_ONLY = {"model_used_id", "model_hugging_face_path", "processing_duration_ms", "region"}


def by_library(row, instead):
    values = {name: value for name, value in row.items() if name not in ABOUT_ROWS_ONLY} | instead
    if "grid_zone" in instead:
        values["grid_zone"] = instead["grid_zone"]
    return estimate(**{name: value for name, value in values.items() if value is not None})


def test_the_figures_are_those_of_the_library(client):
    answer = client.get_impact(ImpactRequest(rows=[ImpactRow(**row) for row, _ in ROWS]))
    assert isinstance(answer, ImpactResponse)
    assert not answer.has_errors
    for (row, instead), modeled in zip(ROWS, answer.rows, strict=True):
        expected = by_library(row, instead)
        assert modeled.error is None
        assert modeled.inference_impact == modeled.total_impact
        for name in METRICS:
            assert getattr(modeled.inference_impact, name) == expected.range(name).value, (row, name)
    assert answer.total_energy_wh == sum(row.total_impact.usage_energy_wh for row in answer.rows)
    assert answer.total_gco2e == sum(row.total_impact.usage_emissions_gco2e for row in answer.rows)
    assert answer.total_mlh2o == sum(row.total_impact.usage_water_ml for row in answer.rows)


def test_the_asynchronous_client_gets_the_same(server, client):
    rows = ImpactRequest(rows=[ImpactRow(**row) for row, _ in ROWS[:3]])

    async def ask():
        asking = AsyncClient(api_key="any", api_url=server.url)
        try:
            return await asyncio.gather(*(asking.get_impact(rows) for _ in range(5)))
        finally:
            await asking.client.aclose()

    once = client.get_impact(rows)
    assert asyncio.run(ask()) == [once] * 5


def test_a_bad_row_spoils_no_other(client):
    rows = [
        ImpactRow(model_id="gpt-4o", input_tokens=5, output_tokens=7),
        ImpactRow(model_id="gpt-4oo", input_tokens=5, output_tokens=7),
        ImpactRow(model_id="gpt-4o", input_tokens=5),
        ImpactRow(input_tokens=5, output_tokens=7),
        ImpactRow(model_id="gpt-4o", input_tokens=5, output_tokens=7, managed_service_id="nobody"),
        ImpactRow(model_id="gpt-4o", input_tokens=5, output_tokens=7, country="US", region="QQ"),
        ImpactRow(model_id="llama-3.1-405b", input_tokens=5, output_tokens=7, node_id="local:rtx-4090"),
    ]
    answer = client.get_impact(ImpactRequest(rows=rows))
    assert answer.has_errors
    assert [row.error is None for row in answer.rows] == [True] + [False] * 6
    assert answer.total_energy_wh == answer.rows[0].total_impact.usage_energy_wh
    unknown = answer.rows[1].error
    assert (unknown.code, unknown.details.field) == ("unknown_name", "model_id")
    assert "gpt-4o" in unknown.details.reason
    assert answer.rows[2].error.details.field == "output_tokens"
    assert answer.rows[3].error.details.field == "model_id"
    assert answer.rows[4].error.details.field == "managed_service_id"
    assert answer.rows[5].error.details.field == "region"
    assert "US-CA" in answer.rows[5].error.details.reason


def test_debug_shows_model_node_grid_and_steps_that_add_up(client):
    row = ImpactRow(
        model_id="llama-3.1-70b", input_tokens=900, output_tokens=70, node_id="generic:hgx-h100-8", country="FR"
    )
    debug = client.get_impact(ImpactRequest(rows=[row]), debug=True).rows[0].debug
    assert debug.model.id == "llama-3.1-70b"
    assert debug.model.total_params_billions == pytest.approx(70.6)
    assert debug.hardware_node.gpu_count == 8
    assert (debug.grid_mix.country.root, debug.grid_mix.gco2e_per_kwh > 0) == ("FR", True)
    expected = estimate(**row.model_dump(mode="json", exclude_unset=True))
    assert sum(step.duration_ms for step in debug.steps) == pytest.approx(expected.duration_ms.value, rel=1e-9)


def test_extended_has_the_intervals_and_what_they_rest_on(server):
    row = {"model_id": "gpt-4o", "input_tokens": 900, "output_tokens": 70, "cached_input_tokens": 800}
    body = post(server, {"rows": [row, {"model_id": "nope"}]}, extended="true").json()
    expected = estimate(**row).to_dict()
    found = body["rows"][0]
    assert found["intervals"] == {name: expected[name] for name in found["intervals"]}
    assert set(found["intervals"]) == {*METRICS, "duration_ms", "usage_emissions_market_gco2e"}
    assert found["intervals"]["usage_energy_wh"]["low"] < found["inference_impact"]["usage_energy_wh"]
    for name in ("breakdown", "two_term", "operating_point", "quality", "largest_uncertainty", "assumptions"):
        assert found[name] == expected[name]
    assert "training_impact" not in found
    assert "gpt-4o" in found["training_reason"]
    assert body["versions"].items() <= (expected["versions"] | body["versions"]).items()
    assert body["rows"][1]["error"]["code"] == "unknown_name"
    assert body["has_errors"]


def test_fields_of_our_own_change_the_figures(server):
    row = {"model_id": "gpt-4o", "input_tokens": 9000, "output_tokens": 1}
    rows = [row, row | {"cached_input_tokens": 8000}]
    fresh, cached = post(server, {"rows": rows}).json()["rows"]
    assert cached["total_impact"]["usage_energy_wh"] < 0.9 * fresh["total_impact"]["usage_energy_wh"]


GOOD = {"model_id": "gpt-4o", "input_tokens": 5, "output_tokens": 7}
BAD_BODIES = [
    (b"", "", "invalid_json"),
    (b"{", "", "invalid_json"),
    (b'{"rows": [{"input_tokens": NaN}]}', "rows[0].input_tokens", "invalid_field"),
    (b'{"rows": [{"pue": 1e999}]}', "rows[0].pue", "invalid_field"),
    (b'\xff\xfe{"rows": []}', "", "invalid_json"),
    (b'{"rows": "' + b"\xc3\x28" + b'"}', "", "invalid_json"),
    (b"[" * 100_000, "", "invalid_json"),
    (b'{"rows": ' * 5_000 + b"1" + b"}" * 5_000, "", "invalid_json"),
    ({}, "rows", "invalid_field"),
    ({"rows": []}, "rows", "invalid_field"),
    ({"rows": [GOOD] * 1001}, "rows", "invalid_field"),
    ({"rows": GOOD}, "rows", "invalid_field"),
    ({"rows": [5]}, "rows[0]", "invalid_field"),
    ({"rows": [GOOD], "more": 1}, "more", "invalid_field"),
    ({"rows": [GOOD, GOOD | {"input_tokens": -1}]}, "rows[1].input_tokens", "invalid_field"),
    ({"rows": [GOOD | {"input_tokens": "5"}]}, "rows[0].input_tokens", "invalid_field"),
    ({"rows": [GOOD | {"input_tokens": 5.5}]}, "rows[0].input_tokens", "invalid_field"),
    ({"rows": [GOOD | {"input_tokens": True}]}, "rows[0].input_tokens", "invalid_field"),
    ({"rows": [GOOD | {"input_tokens": 10**30}]}, "rows[0].input_tokens", "invalid_field"),
    ({"rows": [GOOD | {"inputtokens": 5}]}, "rows[0].inputtokens", "invalid_field"),
    ({"rows": [GOOD | {"country": "USA"}]}, "rows[0].country", "invalid_field"),
    ({"rows": [GOOD | {"task": "thinking"}]}, "rows[0].task", "invalid_field"),
    ({"rows": [GOOD | {"utc_datetime": "yesterday"}]}, "rows[0].utc_datetime", "invalid_field"),
    ({"rows": [GOOD | {"model_id": "a\u0000b"}]}, "rows[0].model_id", "invalid_field"),
    ({"rows": [GOOD | {"model_id": "m" * 301}]}, "rows[0].model_id", "invalid_field"),
    ({"rows": [GOOD | {"output_images": ["big"]}]}, "rows[0].output_images[0]", "invalid_field"),
    ({"rows": [GOOD | {"output_images": ["1x1"] * 101}]}, "rows[0].output_images", "invalid_field"),
]


@pytest.mark.parametrize("body, field, code", BAD_BODIES)
def test_a_body_that_cannot_be_is_refused_with_its_field(server, body, field, code):
    answer = post(server, body)
    assert answer.status_code == 400
    error = answer.json()
    assert (error["code"], error.get("details", {}).get("field", "")) == (code, field)
    assert error["message"]


def test_other_faults_of_a_request(server):
    body = json.dumps({"rows": [GOOD]}).encode()
    url = f"{server.url}/v1/impact"
    assert httpx.post(url, content=body, headers={"Content-Type": "text/plain"}).status_code == 415
    assert httpx.post(url, content=body).status_code == 415
    asked = httpx.post(url, params={"extendd": "true"}, json={"rows": [GOOD]})
    assert (asked.status_code, asked.json()["details"]["field"]) == (400, "extendd")
    assert "extended" in asked.json()["details"]["reason"]
    assert httpx.post(url, params={"debug": "maybe"}, json={"rows": [GOOD]}).json()["details"]["field"] == "debug"
    assert httpx.get(url).status_code == 405
    assert httpx.get(f"{server.url}/v2/impact").json()["code"] == "not_found"
    assert httpx.get(f"{server.url}/{quote('%00<script>')}").status_code == 404
    assert httpx.post(url, json={"rows": [GOOD]}).status_code == 200


def test_status_and_reload(client):
    assert client.status().ready
    assert client.reload().ready


def test_big_query_gets_one_reply_a_call(client):
    call = ["gpt-4o", "", "", "", "2026-01-01T00:00:00Z", "", "", "", "", "", "US", "", "", 1000, 200, "", "", ""]
    bad = ["gpt-4oo", *call[1:]]
    wrong = [*call[:13], -5, *call[14:]]
    picture = ["flux.1-dev", *[""] * 15, "1024x1024,512x512", 1]
    body = ImpactBigQueryRequest(
        requestId="r", caller="//bigquery", sessionUser="someone@example.com", calls=[call, bad, wrong, picture]
    )
    answer = client.calculate_impact_big_query(body)
    replies = [ModeledRow.model_validate_json(reply) for reply in answer.replies]
    expected = estimate("gpt-4o", input_tokens=1000, output_tokens=200, country="US")
    assert replies[0].total_impact.usage_energy_wh == expected.usage_energy_wh.value
    assert replies[1].error.code == "unknown_name"
    assert replies[2].error.details.field == "input_tokens"
    assert replies[3].error is not None  # a resolution without a clip
    assert len(BIGQUERY) == 21


def test_big_query_is_told_what_is_wrong_in_its_own_shape(server):
    answer = httpx.post(server.url, json={"calls": []})
    assert answer.status_code == 400
    assert "requestId" in answer.json()["errorMessage"]
    too_many = {"requestId": "r", "caller": "c", "sessionUser": "s", "calls": [[""] * 17] * 1001}
    assert httpx.post(server.url, json=too_many).status_code == 400


def test_a_server_is_ready_in_two_seconds(server):
    assert server.ready_after_s < 2 * SLOWER


SLOWER = 3
"""Times that a loaded machine may take longer than an idle one, on which the two seconds are measured."""
