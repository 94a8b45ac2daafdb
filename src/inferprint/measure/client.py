"""One streaming request to an OpenAI-compatible server."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import httpx

from inferprint._version import __version__
from inferprint.errors import InvalidInput
from inferprint.measure.answers import Answered, Broken, Failed, Kind, Stream, Usage
from inferprint.measure.target import Dialect, Target, secrets_of

MAX_ERROR_BYTES = 2000
MAX_PAGE_BYTES = 2**20
"""Longest page of a server that is read, such as its list of models."""

CONNECT_SECONDS = 10.0

STALE_SECONDS = 0.1
"""Time after a request in which a used connection may close without the server having seen the request [s].

A server closes connections that wait for too long. Where that crosses a request, the client learns of it one trip
through the network later; a connection that breaks later was broken over the request.
"""

HIDDEN = "***"
"""Shown in place of a key."""

GRACE_SECONDS = 2.0
"""How long a server may keep a connection open after it said that the answer is complete [s]."""

OWNERS = {"vllm": "vllm", "sglang": "sglang", "llamacpp": "llama.cpp-server"}
"""Serving software by the owner that it names in its list of models."""

VERSIONS = {
    "vllm": (("/version", "version"),),
    "sglang": (("/server_info", "version"), ("/get_server_info", "version")),
    "llama.cpp": (("/props", "build_info"),),
}
"""Where serving software tells its version: paths beside /v1, and the field of what is there."""

LONGEST_VERSION = 64
NO_VERSION = "unknown"
"""In place of a version where a server was built without one, as llama.cpp's "b0-unknown"."""

HELD_BACK_TOKENS = 4
"""Tokens that may have no text yet, as the bytes of a character have until the last of them."""

LONGEST_SHOWN = 300
"""Characters that are shown of what a server says."""


@dataclass(frozen=True, slots=True)
class Served:
    """A model of a server's list: its name, other names that it takes, and who owns it by the list."""

    name: str
    aliases: tuple[str, ...] = ()
    owner: str = ""

    def is_called(self, name: str) -> bool:
        """Whether a request for that name gets it; Ollama takes a name without its tag for the latest."""
        return name in (self.name, *self.aliases) or f"{name}:latest" == self.name


class Client:
    """Sends requests to one server and to nowhere else: no redirects, no proxies.

    Parameters
    ----------
    timeout_s
        For a whole request [s].
    stall_s
        Without a chunk, after the first one [s].
    count_chunks
        Take chunks with content for tokens where the server reports no usage.
    ca_file
        Certificates to trust in place of the usual ones.

    Attributes
    ----------
    asked, dropped
        Requests that were sent, and those of them that were given up before they had ended.
    """

    def __init__(
        self,
        target: Target,
        *,
        timeout_s: float = 300.0,
        stall_s: float = 30.0,
        count_chunks: bool = False,
        ca_file: str | None = None,
    ) -> None:
        self.target = target
        self.dialect = Dialect()
        self.timeout_s, self.stall_s = timeout_s, stall_s
        self.asked = self.dropped = 0
        self._count_chunks, self._secrets = count_chunks, secrets_of(target)
        try:
            verify = ssl.create_default_context(cafile=ca_file) if ca_file else True
        except (OSError, ssl.SSLError) as error:
            raise InvalidInput("ca_file", f"cannot read {ca_file}: {error}") from error
        self._http = httpx.AsyncClient(
            http1=True,
            http2=False,
            follow_redirects=False,
            trust_env=False,
            verify=verify,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=None),
            timeout=httpx.Timeout(None, connect=CONNECT_SECONDS),
            headers={
                "User-Agent": f"inferprint/{__version__}",
                "Accept": "text/event-stream",
                **target.headers,
                "Accept-Encoding": "identity",
                "Content-Type": "application/json",
            },
        )

    async def __aenter__(self) -> Client:
        """The client itself."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        """Close its connections."""
        await self._http.aclose()

    def shown(self, data: bytes) -> str:
        """The beginning of what the server said, on one line, without control characters and without keys."""
        text = " ".join(data.decode(errors="replace").split())
        text = "".join(character for character in text if character.isprintable())
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return text[:LONGEST_SHOWN]

    async def models(self) -> list[Served]:
        """The models that the server says it has; empty where it does not say."""
        entries = (await self._told(f"{self.target.base}/models")).get("data")
        entries = entries if isinstance(entries, list) else []
        return [_served(entry) for entry in entries if isinstance(entry, dict) and isinstance(entry.get("id"), str)]

    async def version(self, engine: str) -> str | None:
        """The version of a serving software as the server tells it; None where it does not, or where it is unknown."""
        # "vllm-0.11" is vLLM of some age.
        for path, name in VERSIONS.get(engine.split("-", maxsplit=1)[0], ()):
            found = (await self._told(self.target.base.removesuffix("/v1") + path)).get(name)
            if isinstance(found, str) and found.strip() and NO_VERSION not in found:
                return self.shown(found.encode())[:LONGEST_VERSION]
        return None

    async def _told(self, url: str) -> Mapping[str, Any]:
        """The object that the server has at an address; empty where it has none, or not soon."""
        try:
            async with (
                asyncio.timeout(min(CONNECT_SECONDS, self.timeout_s)),
                self._http.stream("GET", url, headers={"Accept": "application/json"}) as answer,
            ):
                is_plain = answer.status_code == 200 and not _encoding(answer)
                body = await _body_of(answer, MAX_PAGE_BYTES) if is_plain else b""
            found = json.loads(body) if len(body) <= MAX_PAGE_BYTES else {}
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, ValueError, RecursionError):
            return {}
        return found if isinstance(found, dict) else {}

    async def ask(self, prompt: str, answer_tokens: int) -> Answered | Failed:
        """One request and its answer. It raises nothing but what cancels it."""
        self.asked += 1
        try:
            return await self._asked(prompt, answer_tokens)
        except asyncio.CancelledError:
            self.dropped += 1
            raise

    async def _asked(self, prompt: str, answer_tokens: int) -> Answered | Failed:
        stream, wire = Stream(answer_tokens, self.shown), _Wire()
        body = self._body(prompt, answer_tokens)
        request = self._http.build_request("POST", self.target.url, content=body, extensions={"trace": wire})
        try:
            async with asyncio.timeout_at(wire.started + self.timeout_s) as deadline:
                response = await self._http.send(request, stream=True)
                try:
                    if response.status_code != 200:
                        return await self._refusal(response, wire.started)
                    if coding := _encoding(response):
                        raise Broken(
                            "not a stream", f"it is encoded as '{self.shown(coding)}', which was not asked for"
                        )
                    await self._read(response, stream, deadline, wire.started + self.timeout_s)
                finally:
                    await response.aclose()
        except TimeoutError:
            if not stream.complete:
                return self._too_late(stream, wire.started)
        except Broken as broken:
            return Failed(broken.kind, broken.text, wire.started, time.monotonic())
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            if not stream.complete:
                return self._lost(error, wire)
        return self._result(stream, wire.started)

    async def _read(self, response: httpx.Response, stream: Stream, deadline: asyncio.Timeout, end: float) -> None:
        """Read a stream to its end; the deadline moves with what comes."""
        async for block in response.aiter_raw():
            now = time.monotonic()
            stream.feed(block, now)
            if stream.complete:
                deadline.reschedule(now + GRACE_SECONDS)
            elif stream.last is not None:
                # From the last chunk with content on: comments that keep a connection open are none.
                deadline.reschedule(min(end, stream.last + self.stall_s))

    def _body(self, prompt: str, answer_tokens: int) -> bytes:
        said: dict[str, Any] = {"model": self.target.model, self.dialect.limit: answer_tokens, "stream": True}
        if self.target.api == "chat":
            said["messages"] = [{"role": "user", "content": prompt}]
        else:
            said["prompt"] = prompt
        if self.dialect.usage:
            said["stream_options"] = {"include_usage": True}
        if self.dialect.ignore_eos:
            said["ignore_eos"] = True
        return json.dumps(said).encode()

    def _too_late(self, stream: Stream, started: float) -> Failed:
        now = time.monotonic()
        if stream.first is not None and now - started < self.timeout_s - 1e-3:
            text = f"no chunk for {self.stall_s:g} s after {stream.chunks} of them"
            return Failed("stalled", text, started, now)
        text = f"not complete after {self.timeout_s:g} s, {stream.chunks} chunks"
        return Failed("timed out", text, started, now)

    async def _refusal(self, response: httpx.Response, started: float) -> Failed:
        """A failure from a response other than 200."""
        status = response.status_code
        if 300 <= status < 400:
            text = f"{status} to {self.shown(_destination(response).encode())}, which is not followed"
            return Failed("redirected", text, started, time.monotonic(), status)
        body = await _body_of(response, MAX_ERROR_BYTES)
        kind: Kind = "rate limited" if status == 429 else "server error" if status >= 500 else "refused"
        wait = _retry_after(response.headers.get("Retry-After")) if status == 429 else None
        text = f"{status}: {self.shown(_message(body))}"
        return Failed(kind, text, started, time.monotonic(), status, wait)

    def _lost(self, error: Exception, wire: _Wire) -> Failed:
        """A failure of the connection."""
        now = time.monotonic()
        said = self.shown(str(error).encode()) or type(error).__name__
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.UnsupportedProtocol | httpx.InvalidURL):
            return Failed("not reached", said, wire.started, now)
        return Failed("cut off", said, wire.started, now, is_stale=wire.is_stale(now))

    def _result(self, stream: Stream, started: float) -> Answered | Failed:
        """What a stream that ended holds."""
        try:
            return self._complete(stream, started)
        except Broken as broken:
            return Failed(broken.kind, broken.text, started, time.monotonic())

    def _complete(self, stream: Stream, started: float) -> Answered:
        """The answer of a stream that ended; `Broken` where it is none."""
        if not stream.events:
            raise Broken("not a stream", f"status 200 with '{self.shown(stream.rest)}' in place of a stream")
        if not stream.finish and not stream.complete:
            raise Broken("cut off", f"the stream ended in the middle, after {stream.chunks} chunks")
        usage = self._usage(stream)
        n_out = usage.n_out
        if n_out is None:
            raise Broken("no usage", "the server reports no usage in its last chunk")
        first = stream.first if stream.first is not None else stream.ended
        last = stream.ended if stream.ended is not None else stream.last
        if n_out == 0 or first is None or last is None:
            raise Broken("empty answer", "the answer has no token")
        if not stream.chunks and n_out > max(stream.pieces, HELD_BACK_TOKENS):
            text = f"no text came for the {n_out} tokens that the server counts: nothing tells when they came"
            raise Broken("empty answer", text)
        if n_out > stream.asked:
            raise Broken("longer than asked", f"{n_out} tokens, {stream.asked} were asked for")
        counts = stream.asked, usage.n_in, usage.n_cached, n_out, stream.chunks, stream.bursts
        return Answered(started, first, last, *counts)

    def _usage(self, stream: Stream) -> Usage:
        """What the server counted; where it did not, or wrongly, chunks in place of tokens where they may be."""
        wrong = stream.wrong_usage()
        if wrong and not self._count_chunks:
            raise Broken("wrong usage", f"its usage cannot be: {self.shown(wrong.encode())}")
        usage = Usage() if wrong else stream.usage()
        return replace(usage, n_out=stream.chunks) if usage.n_out is None and self._count_chunks else usage


def _served(entry: Mapping[str, Any]) -> Served:
    aliases, owner = entry.get("aliases"), entry.get("owned_by")
    names = tuple(name for name in aliases if isinstance(name, str)) if isinstance(aliases, list) else ()
    return Served(entry["id"], names, owner if isinstance(owner, str) else "")


class _Wire:
    """What happens on the connection of a request.

    Attributes
    ----------
    started
        When its first byte was sent: the connection was there already [s].
    """

    def __init__(self) -> None:
        self.started = time.monotonic()
        self._is_new = self._is_sent = self._has_answer = False

    async def __call__(self, event: str, _info: Mapping[str, Any]) -> None:
        """Take an event of the connection."""
        if event == "connection.connect_tcp.complete":
            self._is_new = True
        elif event == "http11.send_request_headers.started":
            self.started, self._is_sent = time.monotonic(), True
        elif event == "http11.receive_response_headers.complete":
            self._has_answer = True

    def is_stale(self, ended: float) -> bool:
        """Whether a connection that was used before and ended then had been closed while it waited."""
        was_waiting = self._is_sent and not (self._is_new or self._has_answer)
        return was_waiting and ended - self.started <= STALE_SECONDS


def _encoding(response: httpx.Response) -> bytes:
    """The encoding of a body that has one: it was not asked for, and little of it may unfold to much."""
    coding = str(response.headers.get("Content-Encoding", "")).strip().lower()
    return b"" if coding == "identity" else coding.encode()


async def _body_of(response: httpx.Response, most_bytes: int) -> bytes:
    """The body of a response, or so much of it that it is longer than that."""
    body = bytearray()
    async for block in response.aiter_raw():
        body += block
        if len(body) > most_bytes:
            break
    return bytes(body)


def _destination(response: httpx.Response) -> str:
    """Where a redirect leads, without what may be secret in it."""
    try:
        where = urlsplit(str(response.request.url.join(response.headers.get("Location", ""))))
    except (ValueError, httpx.InvalidURL):
        return "an address that is none"
    return f"{where.scheme}://{where.netloc.rpartition('@')[2]}{where.path}"


def _message(body: bytes) -> bytes:
    """What an error body says."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return body
    error = found.get("error", found) if isinstance(found, dict) else found
    text = error.get("message") or error.get("detail") if isinstance(error, dict) else error
    return (text if isinstance(text, str) else json.dumps(found)).encode(errors="replace")


def _retry_after(text: str | None) -> float | None:
    """Seconds to wait, from a number or a date; None where it is neither."""
    if text is None:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(tz=UTC)).total_seconds())
