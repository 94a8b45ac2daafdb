"""Who is let in, and how much at a time."""

from __future__ import annotations

import asyncio
import gzip
import types
import zlib
from typing import Annotated

import httpx
import pytest
from fastapi import Depends, FastAPI, Request
from fastapi.responses import JSONResponse, Response

from inferprint.service import guard, keys
from inferprint.service.caller import Caller
from inferprint.service.database import Database
from inferprint.service.guard import BodyLimit, anonymous, caller_by_token, is_loopback, needs
from inferprint.service.keys import Keys
from inferprint.service.limiter import Limiter
from inferprint.service.problems import Away, ServiceError
from inferprint.service.services import Service
from inferprint.service.settings import Settings

LIMIT = 1000
HERE, ELSEWHERE = ("127.0.0.1", 50000), ("192.0.2.7", 50000)


def make_app(folder, **settings):
    """A small application behind the guard; its endpoints say who asked, and what came."""
    stated = Settings(database_url=f"sqlite:///{folder / 'guard.db'}", max_body_bytes=LIMIT, **settings)
    database = Database(stated.database_url)
    database.migrate()
    app = FastAPI()
    app.state.service = Service(stated, database, Keys(database), None, None, None)

    @app.exception_handler(ServiceError)
    async def told(request: Request, error: ServiceError) -> Response:
        return JSONResponse(error.body, error.status, error.headers)

    @app.get("/read")
    async def read(request: Request, caller: Annotated[Caller, Depends(needs("read"))]) -> Response:
        return Response(f"{caller.owner} {request.state.caller.key_id}")

    @app.get("/admin")
    async def admin(request: Request, caller: Annotated[Caller, Depends(needs("admin"))]) -> Response:
        return Response(caller.owner)

    @app.post("/by-token")
    async def by_token(request: Request) -> Response:
        return Response((await caller_by_token(request, (await request.body()).decode(), "write")).owner)

    @app.post("/before")
    async def before(request: Request) -> Response:
        await anonymous(request)
        return Response((await caller_by_token(request, (await request.body()).decode() or None, "write")).owner)

    @app.post("/echo")
    async def echo(request: Request) -> Response:
        return Response(await request.body(), headers={"X-Seen": ",".join(sorted(request.headers))})

    @app.post("/unread")
    async def unread(request: Request) -> Response:
        return Response("not read")

    app.add_middleware(BodyLimit, settings=stated)
    return app


@pytest.fixture
def app(tmp_path):
    app = make_app(tmp_path)
    yield app
    app.state.service.database.close()


@pytest.fixture
def service(app):
    return app.state.service


def asked(app, method, path, *, client=HERE, host="127.0.0.1:8080", **further):
    """Ask an application, as from an address."""

    async def ask():
        transport = httpx.ASGITransport(app, client=client)
        async with httpx.AsyncClient(transport=transport, base_url=f"http://{host}") as session:
            return await session.request(method, path, **further)

    return asyncio.run(ask())


def bearer(token):
    return {"Authorization": f"Bearer {token}"}


# --- without keys -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LocalHost:8080", "[::1]:8080", "127.0.0.1:1"])
@pytest.mark.parametrize("client", [HERE, ("::1", 5), ("::ffff:127.0.0.1", 5), ("127.8.8.8", 5), None])
def test_programs_on_this_machine_are_answered_without_keys(app, host, client):
    reply = asked(app, "GET", "/read", host=host, client=client)
    assert (reply.status_code, reply.text) == (200, "local local")


@pytest.mark.parametrize("client", [ELSEWHERE, ("10.0.0.1", 5), ("::ffff:10.0.0.1", 5), ("2001:db8::1", 5), ("", 5)])
def test_others_are_not(app, client):
    reply = asked(app, "GET", "/read", client=client)
    assert reply.status_code == 403
    assert reply.json()["code"] == "forbidden"
    assert "inferprint keys create" in reply.json()["details"]["reason"]


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-For": ""},
        {"Forwarded": "for=127.0.0.1"},
        {"X-Real-IP": "127.0.0.1"},
        {"Via": "1.1 gateway"},
        {"Host": "evil.example"},
        {"Host": "localhost.evil.example"},
        {"Host": "127.0.0.1.evil.example"},
        {"Host": "127.0.0.1@evil.example"},
        {"Host": "evil.example@127.0.0.1"},
        {"Host": "localhost/evil"},
        {"Host": "[::1"},
        {"Host": ""},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1.evil.example:8080"},
        {"Origin": "http://localhost:8080"},
        {"Origin": "http://127.0.0.1:3000"},
        {"Origin": "null"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
    ids=str,
)
def test_proxies_and_web_pages_are_no_programs_on_this_machine(app, headers):
    assert asked(app, "GET", "/read", headers=headers).status_code == 403


def test_two_hosts_are_none(app):
    headers = [("Host", "127.0.0.1"), ("Host", "evil.example")]
    assert asked(app, "GET", "/read", headers=headers).status_code == 403


@pytest.mark.parametrize("headers", [{"Origin": "http://127.0.0.1:8080"}, {"Sec-Fetch-Site": "none"}], ids=str)
def test_a_page_of_the_server_itself_may_ask(app, headers):
    assert asked(app, "GET", "/read", headers=headers).status_code == 200


def test_a_key_that_nobody_made_is_ignored(app):
    assert asked(app, "GET", "/read", headers=bearer("anything")).text == "local local"
    assert asked(app, "POST", "/by-token", content="anything").text == "local"
    assert asked(app, "POST", "/by-token", content="anything", client=ELSEWHERE).status_code == 403


def test_the_first_key_closes_the_server(app, service):
    assert asked(app, "GET", "/read").status_code == 200
    service.keys.create("acme", ["read"])
    assert asked(app, "GET", "/read").status_code == 401


def test_nobody_is_let_in_while_it_is_unknown_whether_there_are_keys(app, service, monkeypatch):
    def away(**_):
        raise Away("gone")

    monkeypatch.setattr(service.database, "begin", away)
    reply = asked(app, "GET", "/read")
    assert (reply.status_code, reply.json()["code"]) == (503, "unavailable")
    assert reply.headers["retry-after"]


@pytest.mark.parametrize("host, ours", [("localhost", True), ("::1", True), ("0.0.0.0", False), ("example.com", False)])
def test_loopback_is_this_machine(host, ours):
    assert is_loopback(host) is ours


# --- with keys --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "BEARER"])
def test_a_key_opens_from_anywhere_through_anything(app, service, scheme):
    token = service.keys.create("acme", ["read"])
    headers = {"Authorization": f"{scheme} {token}", "X-Forwarded-For": "10.0.0.1", "Origin": "https://app.example"}
    reply = asked(app, "GET", "/read", client=ELSEWHERE, host="inferprint.example", headers=headers)
    assert (reply.status_code, reply.text) == (200, f"acme {token.split('_')[1]}")
    assert asked(app, "POST", "/by-token", content=service.keys.create("acme", ["write"])).text == "acme"


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("Authorization", "")],
        [("Authorization", "Bearer")],
        [("Authorization", "Bearer ")],
        [("Authorization", "Basic {token}")],
        [("Authorization", "{token}")],
        [("Authorization", "Bearer {token}x")],
        [("Authorization", "Bearer {token} {token}")],
        [("Authorization", "Bearer {token}"), ("Authorization", "Bearer {token}")],
        [("Authorization", "Bearer " + "x" * 494)],
        [("Authorization", "Bearer " + "x" * 100_000)],
        [("Authorization", b"Bearer \xff\xfe")],
        [("X-Api-Key", "{token}")],
    ],
    ids=lambda headers: str(headers)[:60],
)
def test_no_key_is_no_entry(app, service, headers):
    token = service.keys.create("acme", ["admin"])
    filled = [(name, value.replace("{token}", token) if isinstance(value, str) else value) for name, value in headers]
    reply = asked(app, "GET", "/read", headers=filled)
    assert reply.status_code == 401
    assert reply.headers["www-authenticate"] == "Bearer"
    assert token not in reply.text


def test_a_key_does_what_its_scope_says(app, service):
    reply = asked(app, "GET", "/admin", headers=bearer(service.keys.create("acme", ["write"])))
    assert reply.status_code == 403
    assert "'admin'" in reply.json()["details"]["reason"]
    assert asked(app, "GET", "/admin", headers=bearer(service.keys.create("acme", ["admin"]))).status_code == 200
    assert asked(app, "POST", "/by-token", content=service.keys.create("acme", ["read"])).status_code == 403


def test_each_key_has_its_rate(tmp_path):
    app = make_app(tmp_path, requests_per_minute=3)
    made = [app.state.service.keys.create("acme", ["read"]) for _ in range(2)]
    for token in made:
        codes = [asked(app, "GET", "/read", headers=bearer(token)).status_code for _ in range(4)]
        assert codes == [200, 200, 200, 429]
    reply = asked(app, "GET", "/read", headers=bearer(made[0]))
    assert 1 <= int(reply.headers["retry-after"]) <= 20
    app.state.service.database.close()


def test_each_address_has_its_rate_without_keys(tmp_path):
    app = make_app(tmp_path, requests_per_minute=3)
    assert [asked(app, "GET", "/read").status_code for _ in range(4)] == [200, 200, 200, 429]
    assert asked(app, "GET", "/read", client=("127.0.0.2", 5)).status_code == 200
    app.state.service.database.close()


def test_who_has_a_key_passes_whoever_else_has_sent_wrong_ones_from_the_same_address(app, service, monkeypatch):
    token, late, other = (service.keys.create("acme", ["read"]) for _ in range(3))
    moment = {"now": 1000.0}
    clock = types.SimpleNamespace(monotonic=lambda: moment["now"], time=lambda: moment["now"])
    monkeypatch.setattr(keys, "time", clock)
    assert asked(app, "GET", "/read", headers=bearer(token)).status_code == 200
    guesses = [f"ipk_aaaaaaaaaaaa_{i:043d}" for i in range(keys.FAILURES_PER_MINUTE + 1)]
    codes = [asked(app, "GET", "/read", headers=bearer(guess)).status_code for guess in guesses]
    assert codes == [401] * keys.FAILURES_PER_MINUTE + [429]
    assert asked(app, "GET", "/read", headers=bearer("malformed")).status_code == 429
    assert asked(app, "GET", "/read", headers=bearer(late)).status_code == 200  # never seen here before
    assert asked(app, "POST", "/by-token", content=other).status_code == 403  # it may read alone
    moment["now"] += 6
    assert asked(app, "GET", "/read", headers=bearer(token)).status_code == 200


# --- keys in bodies ---------------------------------------------------------------------------------------------------


def test_a_wrong_key_of_a_remote_function_is_told_where_to_name_a_right_one(app, service):
    service.keys.create("acme", ["write"])
    for token in ("ipk_aaaaaaaaaaaa_" + "A" * 43, "x", ""):
        reply = asked(app, "POST", "/by-token", content=token)
        assert reply.status_code == 401
        assert "user_defined_context = [('api_key'" in reply.json()["details"]["reason"]


def test_bodies_that_come_before_a_key_are_few_unless_they_bring_a_right_one(app, service, monkeypatch):
    monkeypatch.setattr(service.keys, "anonymous", Limiter(3))
    token = service.keys.create("acme", ["write"])
    assert {asked(app, "POST", "/before", content=token).status_code for _ in range(10)} == {200}
    codes = [asked(app, "POST", "/before", content="wrong").status_code for _ in range(4)]
    assert codes == [401, 401, 401, 429]
    assert asked(app, "POST", "/before", content=token, client=ELSEWHERE).status_code == 200


def test_without_keys_bodies_are_read_of_this_machine_alone(app):
    assert asked(app, "POST", "/before", content="anything").text == "local"
    assert asked(app, "POST", "/before", content=chunks(b"x" * 10), client=ELSEWHERE).status_code == 403
    assert asked(app, "POST", "/before").text == "local"


# --- bodies -----------------------------------------------------------------------------------------------------------


def chunks(*parts):
    async def made():
        for part in parts:
            yield part

    return made()


@pytest.mark.parametrize("size, code", [(0, 200), (1, 200), (LIMIT, 200), (LIMIT + 1, 413), (10 * LIMIT, 413)])
@pytest.mark.parametrize("way", ["length", "chunks", "gzip", "deflate", "chunked gzip"])
def test_a_body_has_a_longest_length_however_it_comes(app, size, code, way):
    body = bytes(i % 251 for i in range(size))
    packed = {"length": body, "chunks": body, "deflate": zlib.compress(body)}.get(way, gzip.compress(body))
    headers = {"Content-Encoding": way.split()[-1]} if way not in ("length", "chunks") else {}
    content = chunks(packed[:7], b"", packed[7:]) if "chunk" in way else packed
    reply = asked(app, "POST", "/echo", content=content, headers=headers)
    assert reply.status_code == code
    if code == 200:
        assert reply.content == body
    else:
        assert reply.json()["code"] == "too_large"
        assert reply.headers["connection"] == "close"
    if code == 200 and headers:
        assert not {"content-encoding", "content-length"} & set(reply.headers["x-seen"].split(","))


def test_a_stated_length_is_refused_before_anything_is_read(app):
    headers = {"Content-Length": str(10**30)}
    assert asked(app, "POST", "/unread", content=chunks(b"x"), headers=headers).status_code == 413


def test_a_bomb_is_refused_before_it_is_unpacked(app, monkeypatch):
    bomb = gzip.compress(bytes(100_000_000))
    monkeypatch.setattr(guard, "STEP_BYTES", 100)
    app.user_middleware[0].kwargs["settings"] = Settings(max_body_bytes=200_000)
    unpacked = []
    step = guard._Unpacker.step
    monkeypatch.setattr(guard._Unpacker, "step", lambda self: unpacked.append(step(self)) or unpacked[-1])
    reply = asked(app, "POST", "/echo", content=bomb, headers={"Content-Encoding": "gzip"})
    assert reply.status_code == 413
    assert max(map(len, unpacked)) <= 100
    assert sum(map(len, unpacked)) == 200_000


WHOLE = gzip.compress(b"x" * 500)


@pytest.mark.parametrize(
    "body",
    [
        WHOLE[:-1],
        WHOLE[:-8],
        WHOLE[:12],
        WHOLE[:1],
        WHOLE + b"x",
        WHOLE + WHOLE,
        WHOLE[:20] + bytes([WHOLE[20] ^ 255]) + WHOLE[21:],
        WHOLE[:-8] + bytes(8),
        b"plain text",
        zlib.compress(b"x"),
    ],
)
@pytest.mark.parametrize("chunked", [False, True])
def test_what_cannot_be_unpacked_is_refused(app, body, chunked):
    content = chunks(*(body[i : i + 3] for i in range(0, len(body), 3))) if chunked else body
    reply = asked(app, "POST", "/echo", content=content, headers={"Content-Encoding": "gzip"})
    assert (reply.status_code, reply.json()["code"]) == (400, "invalid_encoding")


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "gzip, deflate", "x" * 5000, "\x7f"])
def test_other_encodings_are_not_read(app, encoding):
    reply = asked(app, "POST", "/echo", content=b"x", headers={"Content-Encoding": encoding})
    assert reply.status_code == 415
    assert reply.headers["accept-encoding"] == "gzip, deflate"
    assert len(reply.content) < 1000


@pytest.mark.parametrize("encoding", ["identity", "GZIP", " gzip ", "x-gzip"])
def test_encodings_are_read_in_either_case(app, encoding):
    body = b"x" if encoding == "identity" else gzip.compress(b"x")
    assert asked(app, "POST", "/echo", content=body, headers={"Content-Encoding": encoding}).content == b"x"


def test_a_body_that_nobody_reads_is_no_error(app):
    assert asked(app, "POST", "/unread", content=b"x" * LIMIT).text == "not read"
    assert asked(app, "GET", "/read", headers={"Content-Encoding": "gzip"}).status_code == 200


def called(app, parts, **bounds):
    """Call the middleware as a server does; parts of the body are messages, or seconds to wait."""
    sent = []
    waiting = list(parts)

    async def receive():
        while waiting:
            part = waiting.pop(0)
            if isinstance(part, dict):
                return part
            await asyncio.sleep(part)
        raise AssertionError("nothing further was sent")

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"transfer-encoding", b"chunked")]}
    asyncio.run(BodyLimit(app, Settings(max_body_bytes=LIMIT), **bounds)(scope, receive, send))
    return sent


async def reader(scope, receive, send):
    """An application without a handler of errors, which reads all and then waits for its client to go."""
    while (message := await receive())["type"] == "http.request":
        if not message["more_body"]:
            await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


PART = {"type": "http.request", "body": b"x", "more_body": True}
LAST = {"type": "http.request", "body": b"x", "more_body": False}


def test_a_body_has_to_arrive_in_time():
    sent = called(reader, [PART, 0.03, PART, 0.03, PART, 5.0, LAST], seconds=0.05)
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert b"request_timeout" in sent[1]["body"]


def test_a_long_response_to_a_whole_body_has_time():
    assert called(reader, [LAST, 0.1, {"type": "http.disconnect"}], seconds=0.05)[0]["status"] == 200


def test_an_application_without_handlers_is_helped_out():
    assert called(reader, [{**PART, "body": b"x" * (LIMIT + 1)}])[0]["status"] == 413


def test_what_comes_after_the_start_of_a_response_goes_up():
    async def late(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()

    with pytest.raises(ServiceError):
        called(late, [{**PART, "body": b"x" * (LIMIT + 1)}])
