"""What strangers, other tenants and broken clients get: a 4xx that gives nothing away."""

import gzip
import json
import re
import socket
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlsplit

import httpx
import pytest
from tests.service.server_here import key, serving

GOOD = {"model_id": "gpt-4o", "input_tokens": 5, "output_tokens": 7}
SMALL = {"model_id": "llama-3.1-8b", "input_tokens": 5, "output_tokens": 7}
MODEL = {"id": "secret-model", "total_params_billions": 7, "aliases": ["secret-alias"]}
NODE = {"id": "secret-node", "gpu_id": "h100_80gb_sxm", "gpu_count": 2, "cpu_count": 2}
GPU = {
    "id": "secret-gpu",
    "name": "Secret GPU",
    "max_power_w": 300,
    "embodied_emissions_kgco2e": 100,
    "embodied_water_mlh2o": 100_000,
    "performance_ratio_to_h200": 0.5,
    "ols_coefficient_gpu_count": 0,
    "ols_intercept": 0,
}
OWN = {"model": MODEL, "node": NODE, "gpu": GPU}
GIVEN_AWAY = re.compile(r"Traceback|sqlalchemy|sqlite|File \"|site-packages|secret-|\.py\b", re.IGNORECASE)


class Tenant:
    def __init__(self, server, token):
        self.token = token
        self.http = httpx.Client(base_url=server.url, headers={"Authorization": f"Bearer {token}"}, timeout=60)


@pytest.fixture(scope="module")
def database(tmp_path_factory):
    return str(tmp_path_factory.mktemp("hostile") / "ledger.db")


@pytest.fixture(scope="module")
def tokens(database):
    return {name: key(database, name, [scope]) for name, scope in (("acme", "write"), ("rival", "write"))} | {
        "reader": key(database, "acme", ["read"]),
        "admin": key(database, "boss", ["admin"]),
    }


@pytest.fixture(scope="module")
def server(database, tokens):
    with serving(database, "--requests-per-minute", "0", "--max-body-mb", "8") as found:
        yield found


@pytest.fixture(scope="module")
def tenants(server, tokens):
    found = {name: Tenant(server, token) for name, token in tokens.items()}
    for kind, record in OWN.items():
        made = found["acme"].http.post(f"/{kind}", json=record)
        assert made.status_code == 201, made.text
    kept = found["acme"].http.post("/v1/usage", json={"rows": [GOOD | {"request_id": "secret-1"}]})
    assert kept.json()["rows"][0]["status"] == "stored"
    yield found
    for tenant in found.values():
        tenant.http.close()


def refused(answer, *codes):
    """The Error of an answer that gives nothing away."""
    assert answer.status_code in (codes or range(400, 500)), (answer.status_code, answer.text[:300])
    error = answer.json()
    assert set(error) <= {"code", "message", "details"}
    assert error["message"]
    assert not GIVEN_AWAY.search(answer.text), answer.text[:500]
    return error


# --- other tenants ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", OWN)
def test_records_of_others_are_not_there(tenants, kind):
    rival, acme = tenants["rival"].http, tenants["acme"].http
    name = OWN[kind]["id"]
    assert acme.get(f"/{kind}/{name}").status_code == 200
    theirs = rival.get(f"/{kind}/{name}")
    assert theirs.status_code == 404
    nobody = rival.get(f"/{kind}/{name[:-1]}x")
    # Nearest names may differ, as the names asked for do; nothing else.
    assert theirs.json()["message"] == nobody.json()["message"].replace(f"{name[:-1]}x", name)
    assert set(theirs.json()) == set(nobody.json())
    assert "secret" not in theirs.text.replace(name, "")
    assert (
        rival.put(f"/{kind}/{name}", json={"name": "mine"} if kind != "node" else {"gpu_count": 1}).status_code == 404
    )
    assert rival.delete(f"/{kind}/{name}").status_code == 404
    listed = rival.get(f"/{kind}", params={"custom": "true"} if kind == "node" else {})
    assert "secret" not in listed.text
    assert acme.get(f"/{kind}/{name}").status_code == 200


def test_records_of_others_cannot_be_used_or_guessed(tenants):
    rows = [
        GOOD | {"model_id": "secret-model", "managed_service_id": "together"},
        GOOD | {"model_id": "secret-alias"},
        SMALL | {"node_id": "secret-node"},
        SMALL | {"gpu_id": "secret-gpu"},
        GOOD | {"model_id": "secret-modem"},
        GOOD | {"node_id": "secret-nod"},
    ]
    answer = tenants["rival"].http.post("/v1/impact", json={"rows": rows}).json()
    for row, found in zip(rows, answer["rows"], strict=True):
        asked = {value for value in row.values() if isinstance(value, str)}
        told = json.dumps(found["error"])
        for name in asked:
            told = told.replace(name, "")
        assert "secret" not in told
    own = tenants["acme"].http.post("/v1/impact", json={"rows": rows[1:4]}).json()
    assert not own["has_errors"], own


def test_usage_of_others_is_not_there(tenants):
    rival = tenants["rival"].http
    for path in ("/v1/usage", "/v1/usage/summary", "/v1/usage/summary?by=model"):
        answer = rival.get(path)
        assert answer.status_code == 200
        assert "secret-1" not in answer.text
    assert "secret-1" not in rival.get("/v1/usage", params={"request_id": "secret-1"}).text
    refused(rival.get("/v1/usage", params={"owner": "acme"}), 403, 404)
    refused(rival.get("/v1/usage/summary", params={"owner": "acme"}), 403, 404)
    # The same request_id of another tenant is another request.
    same = rival.post("/v1/usage", json={"rows": [GOOD | {"request_id": "secret-1", "input_tokens": 9}]})
    assert same.json()["rows"][0]["status"] == "stored"


def test_scopes_hold(tenants):
    reader = tenants["reader"].http
    assert reader.post("/v1/impact", json={"rows": [GOOD]}).status_code == 200
    refused(reader.post("/v1/impact", json={"rows": [GOOD | {"request_id": "r"}]}), 403)
    refused(reader.post("/v1/usage", json={"rows": [GOOD | {"request_id": "r"}]}), 403)
    refused(reader.post("/v1/traces", json={"resourceSpans": []}), 403)
    refused(reader.post("/model", json={"id": "mine", "total_params_billions": 7}), 403)
    refused(tenants["acme"].http.post("/model", params={"global": "true"}, json={"id": "mine"}), 400, 403)
    refused(tenants["acme"].http.delete("/model/gpt-4o"), 403)


# --- keys -------------------------------------------------------------------------------------------------------------


def test_wrong_keys_are_told_nothing(server, tokens):
    token = tokens["acme"]
    wrong = [
        "x",
        token[:-1],
        token + "a",
        token.upper(),
        "ipk_" + "a" * 12 + "_" + "b" * 43,
        token.rsplit("_", 1)[0] + "_" + "b" * 43,
        "a" * 5000,
        "' OR 1=1 --",
        "ipk_%00_%0a",
    ]
    told = set()
    for one in wrong:
        answer = httpx.get(f"{server.url}/model", headers={"Authorization": f"Bearer {one}"})
        error = refused(answer, 401)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        told.add(error["message"])
    assert len(told) <= 2, told
    assert refused(httpx.get(f"{server.url}/model"), 401)
    assert refused(httpx.get(f"{server.url}/model", headers={"Authorization": f"Basic {token}"}), 401)
    assert httpx.get(f"{server.url}/model", headers={"Authorization": f"bearer {token}"}).status_code == 200


def test_expired_keys_do_not_work(server, database):
    soon = (datetime.now(UTC) + timedelta(seconds=3)).isoformat()
    token = key(database, "acme", ["read"], "--expires", soon)
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx.get(f"{server.url}/gpu", headers=headers).status_code == 200
    deadline = time.monotonic() + 15
    while httpx.get(f"{server.url}/gpu", headers=headers).status_code != 401:
        assert time.monotonic() < deadline
        time.sleep(0.2)


def test_the_database_holds_no_secret(database, tokens):
    with sqlite3.connect(database) as connection:
        dump = "\n".join(connection.iterdump())
    for token in tokens.values():
        assert token not in dump
        assert token.rsplit("_", 1)[1] not in dump


# --- bodies, names and headers ----------------------------------------------------------------------------------------

MALICE = [
    "'; DROP TABLE usage; --",
    '" OR ""="',
    "../../../../etc/passwd",
    "{{7*7}}${7*7}",
    "%00",
    "\u202e\u0000",
    "\U0001f4a3" * 60,
    "<script>alert(1)</script>",
    "x" * 5000,
]


@pytest.mark.parametrize("text", MALICE)
def test_text_stays_text(tenants, text):
    http = tenants["acme"].http
    before = http.get("/v1/usage/summary").json()
    for path in ("model", "node", "gpu"):
        answer = http.get(f"/{path}/{quote(text, safe='')}")
        assert answer.status_code in (400, 404)
        assert "Traceback" not in answer.text
    for path, name in (("/v1/usage", "project_id"), ("/v1/usage/summary", "model"), ("/model", "family")):
        answer = http.get(path, params={name: text})
        assert answer.status_code < 500
        if answer.status_code == 200:
            assert not json.loads(answer.text).get("models")
    for name in ("by", "from", "to", "limit", "cursor", "owner", "nothing"):
        refused(http.get("/v1/usage/summary", params={name: text}), 400, 403, 404)
    row = GOOD | {"model_id": text, "project_id": text}
    assert http.post("/v1/impact", json={"rows": [row]}).status_code in (200, 400)
    assert http.get("/v1/usage/summary").json() == before


def test_long_bodies_are_refused_early(server, tokens):
    headers = {"Authorization": f"Bearer {tokens['acme']}", "Content-Type": "application/json"}
    for path in ("/v1/impact", "/v1/usage", "/v1/traces", "/model", "/"):
        began = time.monotonic()
        status = _status_of_length(server.url, path, headers, 100 * 1024 * 1024)
        assert status == 413
        assert time.monotonic() - began < 5

    def endless():
        for _ in range(100):
            yield b" " * 1024 * 1024

    try:
        answer = httpx.post(f"{server.url}/v1/impact", content=endless(), headers=headers, timeout=30)
        assert answer.status_code == 413
    except httpx.WriteError:
        pass  # the answer came, and the connection was closed, before all was sent
    assert httpx.get(f"{server.url}/status").json()["ready"]


def _status_of_length(url, path, headers, length):
    """The status of a request whose head announces a length, and of whose body little is sent."""
    parts = urlsplit(url)
    lines = [f"POST {path} HTTP/1.1", f"Host: {parts.netloc}", f"Content-Length: {length}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode() + b" " * 1000)
        return int(connection.recv(4096).split(b" ", 2)[1])


def test_packed_bombs_are_refused(server, tokens):
    headers = {"Authorization": f"Bearer {tokens['acme']}", "Content-Type": "application/json"}
    bomb = gzip.compress(b" " * 200 * 1024 * 1024)
    refused(httpx.post(f"{server.url}/v1/usage", content=bomb, headers=headers | {"Content-Encoding": "gzip"}), 413)
    torn = gzip.compress(json.dumps({"rows": [GOOD]}).encode())[:-9]
    refused(httpx.post(f"{server.url}/v1/impact", content=torn, headers=headers | {"Content-Encoding": "gzip"}), 400)
    refused(httpx.post(f"{server.url}/v1/impact", content=b"{}", headers=headers | {"Content-Encoding": "br"}), 415)
    good = gzip.compress(json.dumps({"rows": [GOOD]}).encode())
    answer = httpx.post(f"{server.url}/v1/impact", content=good, headers=headers | {"Content-Encoding": "gzip"})
    assert answer.status_code == 200


def test_headers_cannot_be_injected(server, tokens):
    parts = urlsplit(server.url)
    raw = (
        f"GET /model?limit=1 HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {tokens['acme']}\r\n"
        "X-Request-ID: a b\tc;evil=1\r\nConnection: close\r\n\r\n"
    )
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as connection:
        connection.sendall(raw.encode())
        answer = b""
        while part := connection.recv(65536):
            answer += part
    head = answer.split(b"\r\n\r\n")[0].decode()
    assert head.startswith("HTTP/1.1 200")
    assert "evil" not in head
    again = httpx.get(f"{server.url}/status", headers={"X-Request-ID": "mine-1.2"})
    assert again.headers["X-Request-ID"] == "mine-1.2"


@pytest.mark.parametrize("method", ["POST", "PUT"])
@pytest.mark.parametrize("path", ["/model", "/node", "/gpu", "/v1/usage", "/v1/traces", "/v1/impact", "/"])
def test_malformed_bodies(tenants, method, path):
    http = tenants["acme"].http
    url = f"{path}/secret" if method == "PUT" and path in ("/model", "/node", "/gpu") else path
    for body in (b"", b"\xff", b"[[[[" * 50_000, b'{"a":NaN}', b'{"a":' * 3000 + b"1" + b"}" * 3000, b"null", b'"x"'):
        answer = http.request(method, url, content=body, headers={"Content-Type": "application/json"})
        assert 400 <= answer.status_code < 500, (body[:20], answer.status_code, answer.text[:200])
        assert not GIVEN_AWAY.search(answer.text.replace("secret", ""))


def test_the_log_gives_nothing_away_and_names_every_request(server, tokens, tenants):
    tenants["acme"].http.get("/model", params={"family": "a-word-in-a-query"})
    tenants["acme"].http.post("/v1/impact", json={"rows": [GOOD | {"project_id": "a-word-in-a-body"}]})
    time.sleep(0.3)
    text = "".join(server.said)
    for token in tokens.values():
        assert token not in text
        assert token.rsplit("_", 1)[1] not in text
    assert "a-word-in-a-query" not in text
    assert "a-word-in-a-body" not in text
    lines = [json.loads(line) for line in server.said if line.startswith("{")]
    asked = [line for line in lines if line.get("route") == "/v1/impact"]
    assert asked
    assert {"request_id", "status", "duration_ms", "owner"} <= set(asked[-1])
    assert not [line for line in lines if line.get("status", 0) >= 500]
