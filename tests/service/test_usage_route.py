"""`/v1/usage` over HTTP."""

from __future__ import annotations

import asyncio
import threading
import time

import duckdb
import httpx
import pytest
from starlette.testclient import TestClient
from tests.service.databases import row

from inferprint.quantities import RESULTS
from inferprint.service import turns
from inferprint.service.app import create_app
from inferprint.service.bodies import parsed
from inferprint.service.routes import usage
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
    assert [one.get("error", {}).get("code") for one in first["rows"]] == [None, "unknown_name", "conflict", None]
    assert first["rows"][2]["error"]["details"]["field"] == "request_id"
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
        ({"day": "2026-09-01", "month": "2026-09"}, 25),
        ({"day": "2026-09-02"}, 0),
        ({"month": "2026-08"}, 0),
        ({"environment": "prod"}, 0),
        ({"trace_id": "t-1"}, 0),
    ):
        assert len(answered(UsageList, client.get("/v1/usage", params=params))["rows"]) == count


def test_sums(client):
    answered(UsageKept, client.post("/v1/usage", json={"rows": [row(i, user_id=f"u{i % 2}") for i in range(4)]}))
    found = answered(UsageSummary, client.get("/v1/usage/summary?by=user_id&by=month&limit=1"))
    assert found["rows"][0]["key"] == {"user_id": "u0", "month": "2026-09"}
    assert found["next_offset"] == 1
    assert list(found["rows"][0]["quantities"]) == [quantity.name for quantity in RESULTS]
    assert set(Quantities.model_fields) == {quantity.name for quantity in RESULTS}


def test_sums_are_asked_for_by_day_and_by_month(client):
    days = ("2026-08-31", "2026-09-01", "2026-09-30", "2026-10-01")
    rows = [row(i, utc_datetime=f"{day}T12:00:00Z") for i, day in enumerate(days)]
    answered(UsageKept, client.post("/v1/usage", json={"rows": rows}))
    for params, count in (("day=2026-09-01", 1), ("month=2026-09", 2), ("month=2026-09&to=2026-09-15", 1)):
        (total,) = answered(UsageSummary, client.get(f"/v1/usage/summary?{params}"))["rows"]
        assert total["n_rows"] == count


def test_rows_by_trace_and_environment(client):
    rows = [row(1, trace_id="t-1"), row(2, environment="prod"), row(3, trace_id="t-1", environment="prod")]
    answered(UsageKept, client.post("/v1/usage", json={"rows": rows}))
    for params, ids in (("trace_id=t-1", ["r-3", "r-1"]), ("trace_id=t-1&environment=prod", ["r-3"])):
        found = answered(UsageList, client.get(f"/v1/usage?{params}"))["rows"]
        assert [one["request_id"] for one in found] == ids


def test_rows_of_moments_that_cannot_be(client):
    moments = ("0001-01-01T00:00:00+23:59", "1999-12-31T00:00:00Z", "2099-01-01T00:00:00Z")
    for key in (None, "key"):
        rows = [row(i, utc_datetime=moment, request_id=key and f"{key}-{i}") for i, moment in enumerate(moments)]
        headers = {} if key else {"Idempotency-Key": "job-1"}
        told = answered(UsageKept, client.post("/v1/usage", json={"rows": [*rows, row(9)]}, headers=headers))
        assert [one["outcome"] for one in told["rows"]] == ["unestimated"] * 3 + ["estimated"]
        for one in told["rows"][:3]:
            assert (one["error"]["code"], one["error"]["details"]["field"]) == ("invalid_input", "utc_datetime")
    days = answered(UsageSummary, client.get("/v1/usage/summary?by=day"))["rows"]
    assert [one["key"]["day"] for one in days if one["n_rows"]] == ["2026-09-01"]


def test_who_waits_for_a_sum_keeps_nobody_else_waiting(tmp_path, monkeypatch):
    """Sums wait for each other, other requests do not, and who waits too long is told to come again."""
    monkeypatch.setattr(turns, "PATIENCE_S", 1.0)
    free, most, busy = threading.Event(), [], []

    def slow(*_arguments, **_further):
        busy.append(None)
        most.append(len(busy))
        free.wait(20)
        busy.pop()
        return {}

    monkeypatch.setattr(usage, "summed", slow)
    app = create_app(Settings(database_url=f"sqlite:///{tmp_path}/x.db"))
    here = httpx.ASGITransport(app=app, client=("127.0.0.1", 5000))

    async def ask():
        async with httpx.AsyncClient(transport=here, base_url="http://127.0.0.1:8080") as client:
            sums = [asyncio.create_task(client.get("/v1/usage/summary")) for _ in range(60)]
            await asyncio.sleep(0.2)
            began = time.monotonic()
            listed = await client.get("/v1/usage")
            took = time.monotonic() - began
            late = [one.result() for one in (await asyncio.wait(sums, timeout=5))[0]]
            free.set()
            return listed, took, late, await asyncio.gather(*sums)

    listed, took, late, sums = asyncio.run(ask())
    assert listed.status_code == 200
    assert took < 0.7
    assert (len(late), {one.status_code for one in late}) == (58, {503})
    assert late[0].headers["retry-after"]
    assert sorted(one.status_code for one in sums)[:3] == [200, 200, 503]
    assert max(most) == 2


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
        ("/v1/usage?from=2026-09-02&to=2026-09-01", "from"),
        ("/v1/usage/export?from=2026-09-02&to=2026-09-01", "from"),
        ("/v1/usage?day=2026-09", "day"),
        ("/v1/usage?month=2026-13", "month"),
        ("/v1/usage?month=2026-09-01", "month"),
        ("/v1/usage?model=a&model=b", "model"),
        ("/v1/usage/summary?limit=1&limit=2", "limit"),
        ("/v1/usage/export?day=2026-09-01&day=2026-09-02", "day"),
        ("/v1/usage/summary?by=colour", "by[0]"),
        ("/v1/usage/summary?by=model,day", "by[0]"),
        ("/v1/usage/summary?by=day&by=day", "by"),
        ("/v1/usage/summary?by=day&by=model&by=place", "by"),
        ("/v1/usage/export?limit=3", "limit"),
    ],
)
def test_parameters_that_cannot_be(client, path, field):
    refused(client.get(path), field)
    assert client.get("/v1/usage?owner=nobody").status_code == 404


def test_lists_are_told_how_they_are_written(client):
    reply = client.get("/v1/usage/summary?by=model,day").json()
    assert "by=model&by=day" in reply["message"]
    assert "2026-09-02" in client.get("/v1/usage?from=2026-09-02&to=2026-09-01").json()["message"]
