"""Who may ask, how often, and how much at a time."""

from __future__ import annotations

import asyncio
import functools
import ipaddress
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, ClassVar
from urllib.parse import urlsplit

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from inferprint.service.caller import LOCAL_CALLER, Caller
from inferprint.service.limiter import network_of
from inferprint.service.problems import BadRequest, Forbidden, ServiceError, TooLarge, Unauthorized, WrongType
from inferprint.service.services import Service, service_of
from inferprint.service.settings import LOOPBACK, Settings

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

LONGEST_AUTHORIZATION = 500
"""Characters of an Authorization header; keys have 60."""

_PROXY = (b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip", b"via")
_NO_KEY = "Send 'Authorization: Bearer ipk_...' with a key that `inferprint keys create` has made."
_KEY_IN_CONTEXT = (
    "Name a key that `inferprint keys create` has made in the function's options: "
    "user_defined_context = [('api_key', 'ipk_...')]."
)
_MAKE_A_KEY = "Create a key with `inferprint keys create --owner NAME --scope write`, and send it with each request."


# --- who --------------------------------------------------------------------------------------------------------------


@functools.cache
def needs(scope: str) -> Callable[[Request], Awaitable[Caller]]:
    """A dependency that gives the caller, where it has a scope: `Depends(needs("read"))`.

    Raises
    ------
    Unauthorized
        No key, or one that is wrong, expired or revoked.
    Forbidden
        A key without the scope; or no key was ever made and the request did not come from this machine itself.
    TooMany
        Above the rate.
    Away
        The database that keeps the keys cannot be reached.
    """

    async def dependency(request: Request) -> Caller:
        return await caller_of(request, scope)

    return dependency


async def caller_of(request: Request, scope: str) -> Caller:
    """The caller by the Authorization header; see `needs`."""
    service = service_of(request)
    if not await _any_key(service):
        return _admitted(request, service, _local(request), scope)
    return _admitted(request, service, await _known(request, service, _bearer(request)), scope)


async def caller_by_token(request: Request, token: str | None, scope: str) -> Caller:
    """The caller by the key in the context of a remote function, None where there is none; see `needs`."""
    service = service_of(request)
    if not await _any_key(service):
        return _admitted(request, service, _local(request), scope)
    if token is None:
        raise Unauthorized("a key is needed", reason=_KEY_IN_CONTEXT)
    try:
        caller = await _known(request, service, token)
    except Unauthorized as error:
        raise Unauthorized(error.message, reason=_KEY_IN_CONTEXT) from error
    if getattr(request.state, "anonymous", False):
        request.state.anonymous = False
        service.keys.anonymous.give_back(network_of(_host(request)))
    return _admitted(request, service, caller, scope)


async def anonymous(request: Request) -> None:
    """Let a body come before its key, where the address has not sent too many without a right one.

    `caller_by_token` takes no account of those that bring a right one.

    Raises
    ------
    TooMany
        Above the rate.
    Forbidden
        No key was ever made, and the request did not come from this machine itself.
    Away
        The database that keeps the keys cannot be reached.
    """
    service = service_of(request)
    if not await _any_key(service):
        _local(request)
        return
    service.keys.anonymous.take(network_of(_host(request)))
    request.state.anonymous = True


def _admitted(request: Request, service: Service, caller: Caller, scope: str) -> Caller:
    """The caller, once it has been counted and has the scope."""
    request.state.caller = caller  # for the log
    name = caller.key_id if caller is not LOCAL_CALLER else network_of(_host(request))
    service.keys.limiter(service.settings.requests_per_minute).take(name)
    caller.require(scope)
    return caller


async def _any_key(service: Service) -> bool:
    found = service.keys.recent_any()
    return await run_in_threadpool(service.keys.any) if found is None else found


async def _known(request: Request, service: Service, token: str) -> Caller:
    """Whom a key belongs to; an address that keeps sending wrong ones is told so by TooMany.

    A right one passes all the same: behind a proxy, everybody has one address, and nobody guesses 256 bits.
    """
    keys = service.keys
    try:
        found = keys.recent(token)
        return await run_in_threadpool(keys.check, token) if found is None else found
    except Unauthorized:
        keys.failures.take(network_of(_host(request)))
        raise


def _bearer(request: Request) -> str:
    """The key of the one Authorization header."""
    given: list[bytes] = [value for name, value in request.scope["headers"] if name == b"authorization"]
    if not given:
        raise Unauthorized("a key is needed", reason=_NO_KEY)
    if len(given) > 1:
        raise Unauthorized(f"{len(given)} Authorization headers were sent", reason="Send one.")
    scheme, _, token = given[0][: LONGEST_AUTHORIZATION + 1].decode("latin-1").partition(" ")
    if scheme.lower() != "bearer" or len(given[0]) > LONGEST_AUTHORIZATION:
        raise Unauthorized("the Authorization header holds no key", reason=_NO_KEY)
    return token.strip(" ")


# --- without keys -----------------------------------------------------------------------------------------------------


def is_loopback(host: str) -> bool:
    """Whether a name or address is this machine's own."""
    if host in LOOPBACK:
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return address.is_loopback if mapped is None else mapped.is_loopback


def _host(request: Request) -> str:
    """Address of the peer; a Unix socket is this machine's own."""
    return str(request.client.host) if request.client is not None else LOOPBACK[0]


def _local(request: Request) -> Caller:
    """The caller without keys, where the request comes from a program on this machine.

    A web page in a browser on this machine is none, nor is what a proxy on it lets through from elsewhere.
    """
    why = _why_not_local(request)
    if why:
        raise Forbidden(f"without keys, only programs on this machine are answered: {why}", reason=_MAKE_A_KEY)
    return LOCAL_CALLER


def _why_not_local(request: Request) -> str:
    """What shows that a request comes from elsewhere; empty where nothing does."""
    if not is_loopback(_host(request)):
        return "this request comes from another one"
    hosts, origins = [], []
    for name, value in request.scope["headers"]:
        if name in _PROXY:
            return f"this request came through a proxy ({name.decode('latin-1')})"
        if name == b"sec-fetch-site" and value not in (b"same-origin", b"none"):
            return "this request was made by a web page"
        if name == b"host":
            hosts.append(value.decode("latin-1").lower())
        elif name == b"origin":
            origins.append(value.decode("latin-1").lower())
    if len(hosts) != 1 or not _names_loopback(hosts[0]):
        return "the Host header names no address of this machine"
    if any(origin not in (f"http://{hosts[0]}", f"https://{hosts[0]}") for origin in origins):
        return "this request was made by a web page of another host"
    return ""


@functools.lru_cache(maxsize=256)
def _names_loopback(host: str) -> bool:
    """Whether a Host header names this machine; a name that merely resolves to it does not (DNS rebinding)."""
    try:
        parts = urlsplit(f"//{host}")
        name, _ = parts.hostname, parts.port
    except ValueError:
        return False
    return name is not None and parts.netloc == host and "@" not in host and is_loopback(name)


# --- how much ---------------------------------------------------------------------------------------------------------

BODY_S = 30.0
"""Time for a body to arrive [s]."""

STEP_BYTES = 256 * 1024
"""What is unpacked at a time; between two steps others have their turn [bytes]."""

_CLOSE = {"Connection": "close"}
_WBITS = {b"gzip": 16 + zlib.MAX_WBITS, b"x-gzip": 16 + zlib.MAX_WBITS, b"deflate": zlib.MAX_WBITS}


class TooSlow(ServiceError):
    """A body that did not arrive in time."""

    status: ClassVar[int] = 408
    default_code: ClassVar[str] = "request_timeout"


class BodyLimit:
    """Middleware that bounds the body of a request: its bytes, as sent and unpacked, and the time it takes to arrive.

    Bodies pass through while they arrive; none is kept here. gzip and deflate are unpacked on the way, and the
    application sees neither the encoding nor the length before it.

    Parameters
    ----------
    app
        What answers.
    settings
        Its `max_body_bytes` is the bound.
    seconds
        Time for a body to arrive [s].
    """

    def __init__(self, app: ASGIApp, settings: Settings, seconds: float = BODY_S) -> None:
        self._app, self._limit, self._seconds = app, settings.max_body_bytes, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = False

        async def sent(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            body = self._body(scope, receive)
            await self._app(scope, receive if body is None else body.receive, sent)
        except ServiceError as error:
            if started:
                raise
            await send_error(send, error.status, error.body, error.headers)

    def _body(self, scope: Scope, receive: Receive) -> _Body | None:
        """What bounds the body of a request; None where it has none."""
        length, chunked, encodings = b"", False, []
        for name, value in scope["headers"]:
            if name == b"content-length":
                length = value
            elif name == b"transfer-encoding":
                chunked = True
            elif name == b"content-encoding":
                encodings.append(value.strip().lower())
        if length.isdigit() and int(length[:20]) > self._limit:
            raise too_large(self._limit)
        if not chunked and length in (b"", b"0"):
            return None
        body = _Body(receive, self._limit, self._seconds)
        encoding = b",".join(encodings)
        if encoding not in (b"", b"identity"):
            body.unpacker = _Unpacker(encoding, self._limit)
            hidden = (b"content-encoding", b"content-length")
            # In place: who stands before reads the route from this scope.
            scope["headers"] = [(name, value) for name, value in scope["headers"] if name not in hidden]
        return body


def too_large(limit: int) -> TooLarge:
    """What is said of a body above the limit [bytes]."""
    reason = "Send fewer rows at a time, or start the server with a greater --max-body-mb."
    return TooLarge(f"the body is longer than {limit:,} bytes", reason=reason, headers=_CLOSE)


async def send_error(send: Send, status: int, body: object, headers: Mapping[str, str]) -> None:
    """Send an Error from where there is no application yet."""
    content = msgspec.json.encode(body)
    further = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    basic = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": basic + further})
    await send({"type": "http.response.body", "body": content})


class _Body:
    """One body on its way: counted, and unpacked where it is packed."""

    __slots__ = ("_deadline", "_limit", "_receive", "_whole", "size", "unpacker")

    def __init__(self, receive: Receive, limit: int, seconds: float) -> None:
        self._receive, self._limit = receive, limit
        self._deadline = asyncio.get_running_loop().time() + seconds
        self._whole = False
        self.size = 0
        self.unpacker: _Unpacker | None = None

    async def receive(self) -> Message:
        """The next part."""
        if self.unpacker is None:
            return await self._arrived()
        if not self.unpacker.waiting:
            if self._whole:
                return await self._receive()
            message = await self._arrived()
            if message["type"] != "http.request":
                return message
            self.unpacker.feed(message.get("body", b""))
        else:
            await asyncio.sleep(0)
        part = self.unpacker.step()
        more = self.unpacker.waiting or not self._whole
        if not more:
            self.unpacker.finish()
        return {"type": "http.request", "body": part, "more_body": more}

    async def _arrived(self) -> Message:
        """The next part as it was sent."""
        if self._whole:
            return await self._receive()  # it waits for the client to go
        try:
            async with asyncio.timeout_at(self._deadline):
                message = await self._receive()
        except TimeoutError as error:
            reason = "Send the whole body at once, or fewer rows at a time."
            raise TooSlow("the body did not arrive in time", reason=reason, headers=_CLOSE) from error
        if message["type"] == "http.request":
            self._whole = not message.get("more_body", False)
            self.size += len(message.get("body", b""))
            if self.size > self._limit:
                raise too_large(self._limit)
        return message


class _Unpacker:
    """Unpacks a body in bounded steps, whatever is in it."""

    __slots__ = ("_decoder", "_encoding", "_limit", "_packed", "_size", "_some")

    def __init__(self, encoding: bytes, limit: int) -> None:
        if encoding not in _WBITS:
            raise WrongType(
                f"content encoding '{encoding[:50].decode('latin-1')}' is not read here",
                field="Content-Encoding",
                reason="Send gzip, deflate, or no encoding.",
                headers={"Accept-Encoding": "gzip, deflate", **_CLOSE},
            )
        self._decoder = zlib.decompressobj(_WBITS[encoding])
        self._encoding = encoding.decode()
        self._packed = b""
        self._size, self._limit, self._some = 0, limit, False

    @property
    def waiting(self) -> bool:
        """Whether there is something left to unpack without a further part."""
        return bool(self._packed)

    def feed(self, packed: bytes) -> None:
        """Take a part as it was sent."""
        self._some = self._some or bool(packed)
        self._packed = packed

    def step(self) -> bytes:
        """The next unpacked bytes, which may be none."""
        if not self._packed:
            return b""
        if self._decoder.eof:
            raise self._refusal("something follows its end")
        try:
            part = self._decoder.decompress(self._packed, STEP_BYTES)
        except zlib.error as error:
            raise self._refusal("it is damaged") from error
        self._packed = self._decoder.unconsumed_tail or self._decoder.unused_data
        self._size += len(part)
        if self._size > self._limit:
            raise too_large(self._limit)
        return part

    def finish(self) -> None:
        """Refuse a body that has no end."""
        if self._some and not self._decoder.eof:
            raise self._refusal("its end is missing")

    def _refusal(self, why: str) -> BadRequest:
        return BadRequest(
            f"the body cannot be unpacked: {why}",
            field="Content-Encoding",
            reason=f"Send one {self._encoding} stream, or no encoding.",
            code="invalid_encoding",
            headers=_CLOSE,
        )
