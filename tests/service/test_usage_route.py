"""`/v1/usage` over HTTP."""

from __future__ import annotations

import duckdb
import pytest
from starlette.testclient import TestClient
from tests.service.databases import row

from inferprint.quantities import RESULTS
from inferprint.service.app import create_app
from inferprint.service.bodies import parsed
from inferprint.service.settings import Settings
from inferprint.service.usage_schemas import (
    Quantities,
    UsageKept,
    UsageList,
    UsageRetried,
    UsageSummary,
)

MODEL = {
    "name": "Our model",
    "id": "our-model",
    "total_params_billions": 7.0,
    "number_of_experts": 1,
    "hugging_face_path": "us/our-model",
}


@pytest.fixture
def client(tmp_path):
    app = create_app(Settings(database_url=f"sqlite:///{tmp_path}/x.db"))
    with TestClient(app, base_url="http://127.0.0.1:8080", client=("127.0.0.1", 5000)) as made:
        yield made


def answered(model, response):
    """The answer, which has the documented shape."""
    assert response.status_code == 200, response.text
    parsed(model, response.content)
    return response.json()


def refused(response, field):
    assert response.status_code == 400, response.text
    assert response.json()["details"]["field"] == field


def test_rows_are_kept_once(client):
    body = {"rows": [row(1), row(2, model_id="no-such-model"), row(1, output_tokens=7), row(1)]}
    first = answered(UsageKept, client.post("/v1/usage", json=body))
    assert [one["status"] for one in first["rows"]] == ["stored", "stored", "conflict", "repeated"]
    assert [one["outcome"] for one in first["rows"]] == ["estimated", "unestimated", "estimated", "estimated"]
    assert first["rows"][1]["error"]["code"] == "unknown_name"
    assert {name: first[name] for name in ("stored", "repeated", "conflicts", "unestimated", "has_errors")} == {
        "stored": 2,
        "repeated": 1,
        "conflicts": 1,
        "unestimated": 1,
        "has_errors": True,
    }
    again = answered(UsageKept, client.post("/v1/usage", json={"rows": [row(1)]}))
    assert (again["stored"], again["repeated"], again["has_errors"]) == (0, 1, False)


def test_a_key_names_rows_without_an_id(client):
    body = {"rows": [row(1, request_id=None), row(2)]}
    refused(client.post("/v1/usage", json=body), "rows[0].request_id")
    for status in ("stored", "repeated"):
        told = answered(UsageKept, client.post("/v1/usage", json=body, headers={"Idempotency-Key": "job-7"}))
        assert [(one["request_id"], one["status"]) for one in told["rows"]] == [("job-7:0", status), ("r-2", status)]
    refused(client.post("/v1/usage", json=body, headers={"Idempotency-Key": "a b"}), "idempotency-key")
    refused(client.post("/v1/usage", json=body, headers={"Idempotency-Key": "x" * 201}), "idempotency-key")


def test_a_bad_row_refuses_the_batch(client):
    refused(client.post("/v1/usage", json={"rows": [row(1), row(2, input_tokens=-1)]}), "rows[1].input_tokens")
    refused(client.post("/v1/usage", json={"rows": []}), "rows")
    assert answered(UsageList, client.get("/v1/usage"))["rows"] == []


def test_what_could_not_be_estimated_is_mended_once_it_can(client):
    answered(UsageKept, client.post("/v1/usage", json={"rows": [row(i, model_id="us/our-model") for i in range(3)]}))
    assert answered(UsageRetried, client.post("/v1/usage/retry")) == {
        "tried": 3,
        "mended": 0,
        "left": 3,
        "next_cursor": None,
    }
    made = client.post("/model", json=MODEL)
    assert made.status_code == 201, made.text
    told = answered(UsageRetried, client.post("/v1/usage/retry"))
    assert told == {"tried": 3, "mended": 3, "left": 0, "next_cursor": None}
    (total,) = answered(UsageSummary, client.get("/v1/usage/summary"))["rows"]
    assert (total["n_rows"], total["n_unestimated"]) == (3, 0)


def test_a_deleted_model_still_counts(client):
    assert client.post("/model", json=MODEL).status_code == 201
    answered(UsageKept, client.post("/v1/usage", json={"rows": [row(1, model_id="our-model")]}))
    (before,) = answered(UsageSummary, client.get("/v1/usage/summary"))["rows"]
    assert client.delete("/model/our-model").status_code == 204
    (after,) = answered(UsageSummary, client.get("/v1/usage/summary"))["rows"]
    assert after["interval"]["rows_by_sums"] == 1
    energy = "usage_energy_wh"
    assert after["quantities"][energy]["value"] == before["quantities"][energy]["value"]


def test_rows_are_listed_newest_first_page_by_page(client):
    answered(UsageKept, client.post("/v1/usage", json={"rows": [row(i, project_id=f"p{i % 2}") for i in range(25)]}))
    found, cursor = [], None
    while True:
        params = {"limit": 10} | ({} if cursor is None else {"cursor": cursor})
        page = answered(UsageList, client.get("/v1/usage", params=params))
        found += [one["request_id"] for one in page["rows"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == [f"r-{i}" for i in reversed(range(25))]
    for params, count in (
        ({"project_id": "p1"}, 12),
        ({"request_id": "r-3"}, 1),
        ({"outcome": "unestimated"}, 0),
        ({"from": "2026-09-02"}, 0),
        ({"to": "2026-09-01", "model": "llama-3.1-8b"}, 25),
        ({"user_id": "(none)"}, 25),
    ):
        assert len(answered(UsageList, client.get("/v1/usage", params=params))["rows"]) == count


def test_sums(client):
    answered(UsageKept, client.post("/v1/usage", json={"rows": [row(i, user_id=f"u{i % 2}") for i in range(4)]}))
    found = answered(UsageSummary, client.get("/v1/usage/summary?by=user_id&by=month&limit=1"))
    assert found["rows"][0]["key"] == {"user_id": "u0", "month": "2026-09"}
    assert found["next_offset"] == 1
    assert list(found["rows"][0]["quantities"]) == [quantity.name for quantity in RESULTS]
    assert set(Quantities.model_fields) == {quantity.name for quantity in RESULTS}


def test_parquet(client, tmp_path):
    answered(UsageKept, client.post("/v1/usage", json={"rows": [row(i) for i in range(4)]}))
    response = client.get("/v1/usage/export", params={"project_id": "support"})
    assert response.headers["content-type"] == "application/vnd.apache.parquet"
    (tmp_path / "x.parquet").write_bytes(response.content)
    assert duckdb.sql(f"SELECT count(*) FROM '{tmp_path}/x.parquet'").fetchall() == [(4,)]


@pytest.mark.parametrize(
    "path, field",
    [
        ("/v1/usage?limit=0", "limit"),
        ("/v1/usage?limit=1001", "limit"),
        ("/v1/usage?cursor=x", "cursor"),
        ("/v1/usage?outcome=lost", "outcome"),
        ("/v1/usage?from=20260901", "from"),
        ("/v1/usage?to=2026-02-30", "to"),
        ("/v1/usage?project=x", "project"),
        ("/v1/usage?project_id=%00", "project_id"),
        ("/v1/usage/summary?by=colour", "by[0]"),
        ("/v1/usage/summary?by=day&by=day", "by"),
        ("/v1/usage/summary?by=day&by=model&by=place", "by"),
        ("/v1/usage/export?limit=3", "limit"),
    ],
)
def test_parameters_that_cannot_be(client, path, field):
    refused(client.get(path), field)
    assert client.get("/v1/usage?owner=nobody").status_code == 404
