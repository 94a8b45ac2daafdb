"""The way from the network to the application: sockets, HTTP, signals."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import msgspec
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from inferprint.errors import InvalidInput
from inferprint.service.guard import send_error
from inferprint.service.problems import Away, error_body

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.types import Receive, Scope, Send

HEAD_S = 10.0
"""Time for the head of a request to arrive [s]."""

HEAD_BYTES = 64 * 1024
"""Bytes of a head after the first part that arrived, which has 256 KiB at most."""

IDLE_S = 30
"""Time for which a connection is kept without a request [s]."""

LAST_S = 10
"""Time for running requests to be answered once the server is to end [s]."""

MOST_CONNECTIONS = 800
"""Connections at a time; systems often allow a process 1,024 open files."""


BUSY_S = 2
"""After which to come again, where there are too many connections [s]."""


async def busy(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001
    """Answer in place of the application, where there are too many connections."""
    error = Away("too many connections at a time", retry_after_s=BUSY_S, reason=f"Come again in {BUSY_S} s.")
    await send_error(send, error.status, error.body, {**error.headers, "Connection": "close"})


class BoundedHttp(HttpToolsProtocol):
    """HTTP/1.1 with heads that are bounded in bytes and in time, and requests in their number.

    The parser alone takes what comes, and the server alone answers in plain text.
    """

    _waiting: asyncio.TimerHandle | None = None
    _in_head = _has_begun = True
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for the first head."""
        super().connection_made(transport)
        self._waiting = self.loop.call_later(HEAD_S, transport.close)

    def data_received(self, data: bytes) -> None:
        """Take bytes; give up where they make no head."""
        self._has_begun = False
        super().data_received(data)
        if not self._in_head or self.transport.is_closing():
            return
        if self._waiting is None:
            self._waiting = self.loop.call_later(HEAD_S, self.transport.close)
        # A part in which a head began may hold the end of a long body as well.
        self._head_bytes = 0 if self._has_begun else self._head_bytes + len(data)
        if self._head_bytes > HEAD_BYTES:
            self.logger.warning("The head of a request is too long.")
            self.send_400_response("The head of the request is too long.")

    def on_message_begin(self) -> None:
        """Note that a head begins."""
        self._in_head = self._has_begun = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that a head is whole."""
        self._in_head = False
        self._stop_waiting()
        full = max(len(self.connections), len(self.tasks)) >= MOST_CONNECTIONS
        self.app = busy if full else self.config.loaded_app
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, and give up."""
        body = msgspec.json.encode(error_body("invalid_request", msg, reason="Send a request of HTTP/1.1."))
        head = (
            "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no more."""
        self._stop_waiting()
        super().connection_lost(exc)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None


def bound(host: str, port: int) -> list[socket.socket]:
    """Sockets for the addresses of a host, which do not listen yet.

    Parameters
    ----------
    host
        Name or address.
    port
        0 takes a free one, the same for all addresses.

    Raises
    ------
    InvalidInput
        A host that is not this machine's, or a port that is taken or not allowed.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        hint = "127.0.0.1 is for this machine alone, 0.0.0.0 for all networks."
        raise InvalidInput("host", f"'{host}' has no address", hint=hint) from error
    sockets: list[socket.socket] = []
    failed: OSError | None = None
    for family, address in dict.fromkeys((info[0], info[4]) for info in found):
        one = socket.socket(family, socket.SOCK_STREAM)
        try:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind((address[0], port or (port_of(sockets) if sockets else 0), *address[2:]))
        except OSError as error:
            one.close()
            failed = error
        else:
            sockets.append(one)
    if not sockets:
        why = failed.strerror if failed is not None else "no address"
        hint = "Name another port, 0 for any free one, or a host of this machine."
        raise InvalidInput("port", f"cannot listen on {host} port {port}: {why}", hint=hint) from failed
    return sockets


def port_of(sockets: Sequence[socket.socket]) -> int:
    """The port on which sockets are bound."""
    return int(sockets[0].getsockname()[1])


class _Server(uvicorn.Server):
    """A server that says when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets=sockets)
        if self.started and not self.should_exit:
            self._ready()


def serve(app: FastAPI, sockets: list[socket.socket], ready: Callable[[], None]) -> None:
    """Answer requests until SIGINT or SIGTERM; then answer those that run, and end.

    Parameters
    ----------
    app
        What answers.
    sockets
        Where; see `bound`.
    ready
        Called once connections are taken.
    """
    config = uvicorn.Config(
        app,
        http=BoundedHttp,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=LAST_S,
    )
    server = _Server(config, ready)

    def end(*_: object) -> None:
        server.should_exit = True

    # The server takes these signals while it runs, and raises them again when it has ended: by then all is done.
    before = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        server.run(sockets=sockets)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
