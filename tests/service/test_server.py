"""A server under way: what is answered meanwhile, and when something goes."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from tests.postgres_here import postgres
from tests.service.databases import new_database
from tests.service.server_here import key, serving

GOOD = {"model_id": "gpt-4o", "input_tokens": 5, "output_tokens": 7}


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with serving(str(tmp_path_factory.mktemp("server") / "ledger.db"), "--requests-per-minute", "0") as found:
        yield found


def slowest_meanwhile(url, work) -> float:
    """The slowest of small requests while something else is done [s]."""
    done = threading.Event()
    times: list[float] = []

    def ask():
        with httpx.Client(timeout=30) as client:
            while not done.is_set() or not times:
                began = time.perf_counter()
                assert client.post(f"{url}/v1/impact", json={"rows": [GOOD]}).status_code == 200
                times.append(time.perf_counter() - began)

    asking = threading.Thread(target=ask)
    asking.start()
    work()
    done.set()
    asking.join()
    return max(times)


def test_long_answers_let_short_ones_pass(server):
    rows = [GOOD | {"input_tokens": 5 + i} for i in range(1000)]
    httpx.post(f"{server.url}/v1/impact", json={"rows": rows[:30]})
    began = time.perf_counter()
    slowest = slowest_meanwhile(
        server.url,
        lambda: httpx.post(f"{server.url}/v1/impact?extended=true", json={"rows": rows}, timeout=60).raise_for_status(),
    )
    assert slowest < 0.5 * (time.perf_counter() - began)


def test_a_record_that_goes_meanwhile_is_no_fault(server):
    """Estimated, stored and answered with the records of one moment."""
    url, model = server.url, {"id": "here-and-gone", "benchmark_model_id": "llama-3.1-8b"}
    model |= {"training_usage_energy_kwh": 5, "estimated_use_life_days": 10, "estimated_requests_per_day": 10}
    rows = {"rows": [GOOD | {"model_id": model["id"]}] * 200}
    stop = threading.Event()

    def come_and_go():
        with httpx.Client() as client:
            while not stop.is_set():
                assert client.post(f"{url}/model", json=model).status_code in (201, 409)
                assert client.delete(f"{url}/model/{model['id']}").status_code in (204, 404)

    going = threading.Thread(target=come_and_go)
    going.start()
    try:
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda _: httpx.post(f"{url}/v1/impact?debug=true", json=rows), range(40)))
    finally:
        stop.set()
        going.join()
    assert {answer.status_code for answer in answers} == {200}
    for answer in answers:  # each is of one moment: all of its rows know the model, or none does
        assert len({"error" in row for row in answer.json()["rows"]}) == 1


@pytest.mark.parametrize(
    "path, allowed",
    [("/v1/impact", "POST"), ("/status", "GET"), ("/", "POST"), ("/gpu/x", "DELETE, GET, PUT"), ("/gpu", "GET, POST")],
)
def test_other_methods_are_told_the_right_ones(server, path, allowed):
    answer = httpx.patch(f"{server.url}{path}")
    assert answer.status_code == 405
    assert answer.headers["Allow"] == allowed


@pytest.mark.parametrize(
    "moment", ["0001-01-01T00:00:00Z", "0001-01-01T00:00:00+23:59", "1999-12-31T23:59:59Z", "2099-01-01T00:00:00Z"]
)
def test_moments_that_cannot_be_are_the_error_of_their_row(server, moment):
    rows = [GOOD, GOOD | {"utc_datetime": moment}, GOOD | {"utc_datetime": moment, "request_id": f"at-{moment}"}]
    answer = httpx.post(f"{server.url}/v1/impact", json={"rows": rows})
    assert answer.status_code == 200, answer.text
    errors = [row.get("error") for row in answer.json()["rows"]]
    assert errors[0] is None
    for error in errors[1:]:
        assert error["details"]["field"] == "utc_datetime"
        assert "2000-01-01" in error["details"]["reason"]


def test_a_name_that_is_passed_over_is_told(server):
    row = GOOD | {"model_used_id": "gpt-4oo", "model_id": "gpt-4o"}
    answer = httpx.post(f"{server.url}/v1/impact?extended=true", json={"rows": [GOOD, row]}).json()
    plain, told = (found["warnings"] for found in answer["rows"])
    assert not any("gpt-4oo" in text for text in plain)
    assert "model_used_id 'gpt-4oo': unknown; gpt-4o" in told[0]


def test_the_field_at_fault_is_the_one_that_was_sent(server):
    rows = [
        GOOD | {"grid_zone": "XX"},
        GOOD | {"country": "QQ"},
        GOOD | {"model_hugging_face_path": "nobody/nothing", "model_id": None},
        GOOD | {"managed_service_id": "nobody"},
    ]
    answer = httpx.post(f"{server.url}/v1/impact", json={"rows": rows}).json()
    details = [row["error"]["details"] for row in answer["rows"]]
    wanted = ["grid_zone", "country", "model_hugging_face_path", "managed_service_id"]
    assert [detail["field"] for detail in details] == wanted
    assert not any("inferprint " in detail.get("reason", "") for detail in details)


def test_strangers_cannot_make_the_remote_function_work(tmp_path):
    database = str(tmp_path / "ledger.db")
    token = key(database, "bq", ["read"])
    call = ["gpt-4o", *[""] * 12, 5, 7, "", ""]
    body = {"requestId": "r", "caller": "c", "sessionUser": "s", "calls": [call] * 1000}
    with serving(database) as server:
        keyed = body | {"userDefinedContext": {"api_key": token}}
        replies = httpx.post(server.url, json=keyed).json()["replies"]
        assert len(replies) == 1000
        by_header = httpx.post(server.url, json=body, headers={"Authorization": f"Bearer {token}"})
        assert by_header.json()["replies"] == replies
        refused = httpx.post(server.url, json=body)
        assert refused.status_code == 401
        assert "api_key" in refused.json()["errorMessage"]
        long = httpx.post(server.url, content=b'{"calls": "' + b"x" * 5_000_000 + b'"}', headers=JSON)
        assert long.status_code == 413
        statuses = {httpx.post(server.url, json=body).status_code for _ in range(80)}
        assert statuses == {401, 429}


JSON = {"Content-Type": "application/json"}


def test_a_probe_sees_a_database_that_is_away():
    with postgres() as engine, serving(new_database(engine)) as server:
        assert httpx.get(f"{server.url}/status").json() == {"ready": True}
        engine.stop()
        answer = httpx.get(f"{server.url}/status")
        assert (answer.status_code, answer.json()["ready"]) == (503, False)
        assert answer.json()["reason"]
        assert answer.headers["Retry-After"]
        engine.start()
        assert httpx.get(f"{server.url}/status").status_code == 200
