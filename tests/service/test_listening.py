"""Sockets, and what comes before a body."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest
import uvicorn

from inferprint.errors import InvalidInput
from inferprint.service import listening
from inferprint.service.listening import BoundedHttp, bound, port_of


async def application(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    content = scope["path"].encode()
    headers = [(b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


async def read(reader):
    """All that comes until the connection is closed in one way or another."""
    found = b""
    try:
        while part := await reader.read(65536):
            found += part
    except ConnectionError:
        pass
    return found


def answered(*parts):
    """What a server answers to parts of bytes, or seconds to wait between them, until it closes the connection."""

    async def ask():
        config = uvicorn.Config(application, http=BoundedHttp, lifespan="off", ws="none", log_config=None)
        server = uvicorn.Server(config)
        sockets = bound("127.0.0.1", 0)
        task = asyncio.create_task(server.serve(sockets))
        while not server.started:
            await asyncio.sleep(0.01)
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(sockets))
        reply = asyncio.create_task(read(reader))
        try:
            for part in parts:
                if isinstance(part, bytes):
                    writer.write(part)
                    await writer.drain()
                else:
                    await asyncio.sleep(part)
        except ConnectionError:
            pass  # the server has closed it
        try:
            return await asyncio.wait_for(reply, 20)
        finally:
            writer.close()
            server.should_exit = True
            await task

    return asyncio.run(ask())


HEAD = b"GET /%b HTTP/1.1\r\nHost: a\r\n"
END = b"Connection: close\r\n\r\n"


def test_a_head_may_come_in_parts(monkeypatch):
    monkeypatch.setattr(listening, "HEAD_S", 0.5)
    assert answered(HEAD % b"a", 0.1, b"A: b\r\n", 0.1, END).endswith(b"\r\n\r\n/a")


@pytest.mark.parametrize(
    "parts", [[], [b"GET"], [b"GET / HTTP/1.1\r\n"], [HEAD % b"a" + b"\r\n", 0.05, b"GET / HT"]], ids=str
)
def test_a_head_has_to_arrive_in_time(monkeypatch, parts):
    monkeypatch.setattr(listening, "HEAD_S", 0.2)
    assert answered(*parts).count(b"HTTP/1.1 200") == (1 if len(parts) == 3 else 0)


def test_dripping_does_not_prolong_it(monkeypatch):
    monkeypatch.setattr(listening, "HEAD_S", 0.3)
    assert answered(HEAD % b"a", *(part for i in range(8) for part in (0.1, b"A%d: b\r\n" % i)), END) == b""


@pytest.mark.parametrize(
    "endless",
    [b"A: " + b"x" * 1000 + b"\r\n", b"x" * 1000],
    ids=["headers", "one header"],
)
def test_a_head_has_a_longest_length(monkeypatch, endless):
    monkeypatch.setattr(listening, "HEAD_S", 60.0)
    reply = answered(HEAD % b"a" + b"A: ", *([endless, 0.002] * 1000))
    assert reply == b"" or reply.startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "bytes_", [b"no HTTP at all\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", HEAD % b"a" + b"a b: c\r\n\r\n"]
)
def test_what_is_no_http_is_told_in_the_shape_of_errors(bytes_):
    head, _, body = answered(bytes_).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"application/json" in head
    assert json.loads(body)["code"] == "invalid_request"


def test_too_many_connections_are_told_when_to_come_again(monkeypatch):
    assert answered(HEAD % b"a" + END).endswith(b"/a")
    monkeypatch.setattr(listening, "MOST_CONNECTIONS", 1)
    head, _, body = answered(HEAD % b"a" + b"\r\n").partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 2" in head
    assert b"connection: close" in head
    assert json.loads(body)["code"] == "unavailable"


def test_a_body_is_no_head(monkeypatch):
    body = b"x" * 500_000
    head = b"POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body)
    second = HEAD % b"c"
    assert answered(head, body[:400_000], 0.05, body[400_000:] + second, 0.05, END).endswith(b"\r\n\r\n/c")


def test_requests_follow_each_other(monkeypatch):
    monkeypatch.setattr(listening, "HEAD_S", 0.3)
    reply = answered(HEAD % b"a" + b"\r\n", 0.5, HEAD % b"b" + b"\r\n" + HEAD % b"c" + END)
    assert [reply.count(path) for path in (b"\r\n\r\n/a", b"\r\n\r\n/b", b"\r\n\r\n/c")] == [1, 1, 1]


def test_a_name_is_bound_on_all_of_its_addresses(monkeypatch):
    found = [(socket.AF_INET, 1, 6, "", ("127.0.0.1", 0)), (socket.AF_INET, 1, 6, "", ("127.0.0.2", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    sockets = bound("both", 0)
    try:
        assert [one.getsockname() for one in sockets] == [
            ("127.0.0.1", port_of(sockets)),
            ("127.0.0.2", port_of(sockets)),
        ]
    finally:
        for one in sockets:
            one.close()


def test_what_cannot_be_bound_is_an_error():
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(InvalidInput, match="cannot listen"):
        bound("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(InvalidInput, match="cannot listen"):
        bound("192.0.2.1", 0)
    with pytest.raises(InvalidInput, match="has no address"):
        bound("x" * 300, 0)
