"""One streaming request to an OpenAI-compatible server, and what came of it: an answer with its times, or a failure."""

from __future__ import annotations

import asyncio
import json
import ssl
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx

from inferprint._version import __version__
from inferprint.errors import EndpointProblem, InvalidInput

Api = Literal["completions", "chat"]
Kind = Literal[
    "not reached",
    "cut off",
    "timed out",
    "stalled",
    "rate limited",
    "refused",
    "server error",
    "redirected",
    "error in the stream",
    "not a stream",
    "empty answer",
    "longer than asked",
    "no usage",
    "wrong usage",
]
"""Ways in which a request fails."""

PATHS: Mapping[Api, str] = {"completions": "/completions", "chat": "/chat/completions"}
MAX_ERROR_BYTES = 2000
MAX_LINE_BYTES = 4_000_000
MAX_PAGE_BYTES = 2**20
"""Longest page of a server that is read, such as its list of models."""

CONNECT_SECONDS = 10.0
PROBE_ANSWER_TOKENS = 2
NOT_UNDERSTOOD = (400, 422)
"""Statuses by which a server refuses a field that it does not know."""

STALE_SECONDS = 0.1
"""Time after a request in which a used connection may close without the server having seen the request [s].

A server closes connections that wait for too long. Where that crosses a request, the client learns of it one trip
through the network later; a connection that breaks later was broken over the request.
"""

SECRET_HEADERS = ("authorization", "proxy-authorization", "cookie", "api-key", "x-api-key", "x-goog-api-key")
"""Headers whose values are keys."""

SHORTEST_SECRET = 4
"""Shorter ones are in many words [characters]."""

HIDDEN = "***"
"""Shown in place of a key."""

BURST_SECONDS = 1e-4
"""Pause below which two chunks came together [s]."""

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

AWAY = (502, 503, 504)
"""Statuses of a proxy, or of the server itself, where what answers is not there."""


@dataclass(frozen=True, slots=True)
class Answered:
    """A complete answer. Moments are of `time.monotonic` [s].

    Attributes
    ----------
    started, first_token, last_token
        When the request was sent, when the first chunk with content came, and the last one.
    asked
        Answer tokens asked for.
    n_in, n_cached, n_out
        Tokens as the server counted them: prompt, its cached part, answer; None where it does not say.
    n_chunks, n_bursts
        Chunks with content, and how often one came after a pause rather than together with the one before.
    """

    started: float
    first_token: float
    last_token: float
    asked: int
    n_in: int | None
    n_cached: int | None
    n_out: int
    n_chunks: int
    n_bursts: int

    @property
    def ended(self) -> float:
        """When it had its last token [s]."""
        return self.last_token

    @property
    def ttft_s(self) -> float:
        """Time to the first token [s]."""
        return self.first_token - self.started

    @property
    def duration_s(self) -> float:
        """Time to the last token [s]."""
        return self.last_token - self.started

    @property
    def itl_s(self) -> float | None:
        """Mean time between two tokens [s]; None for a single one, and where the whole answer came at once."""
        if self.n_out < 2 or self.n_bursts < 2:
            return None
        return (self.last_token - self.first_token) / (self.n_out - 1)


@dataclass(frozen=True, slots=True)
class Failed:
    """A request that gave no complete answer, and why.

    Attributes
    ----------
    status
        HTTP status, where there was one.
    retry_after_s
        Time after which the server wants to be asked again [s].
    is_stale
        Whether the connection was closed before the server can have seen the request.
    """

    kind: Kind
    text: str
    started: float
    ended: float
    status: int | None = None
    retry_after_s: float | None = None
    is_stale: bool = False


@dataclass(frozen=True, slots=True)
class Served:
    """A model of a server's list: its name, other names that it takes, and who owns it by the list."""

    name: str
    aliases: tuple[str, ...] = ()
    owner: str = ""

    def is_called(self, name: str) -> bool:
        """Whether a request for that name gets it; Ollama takes a name without its tag for the latest."""
        return name in (self.name, *self.aliases) or f"{name}:latest" == self.name


@dataclass(frozen=True, slots=True)
class Target:
    """The server to measure.

    Attributes
    ----------
    base
        Scheme, host, port and path up to and with /v1.
    model
        Name under which the server knows the model.
    headers
        Sent with every request; never shown or written.
    secrets
        Keys in those of the headers that are not `SECRET_HEADERS`; hidden in what is shown of the server's text.
    """

    base: str
    model: str
    api: Api = "completions"
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[str, ...] = field(default=(), repr=False)

    @property
    def url(self) -> str:
        """Where requests go."""
        return self.base + PATHS[self.api]


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a server understands beyond the least: see `Client.learn`."""

    ignore_eos: bool = True
    usage: bool = True
    limit: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"


def base_of(url: str) -> str:
    """The address up to /v1 that a URL names, with or without that path.

    Raises
    ------
    InvalidInput
        It is no HTTP address, or holds a user name, a query or a fragment.
    """
    try:
        parts = urlsplit(url.strip() if "://" in url else f"http://{url.strip()}")
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise InvalidInput("url", f"'{url}' is no address of a server", hint="For example http://localhost:8000/v1.")
    if parts.username is not None or parts.password is not None:
        raise InvalidInput(
            "url", "it holds a user name or a password", hint="Give a key with --api-key-variable or --header."
        )
    if parts.query or parts.fragment:
        raise InvalidInput("url", f"'{url}' has a query or a fragment", hint="Give the address up to /v1.")
    path = parts.path.rstrip("/")
    path = path.removesuffix(PATHS["chat"]).removesuffix(PATHS["completions"]).rstrip("/")
    return f"{parts.scheme}://{parts.netloc}{path if path.endswith('/v1') else path + '/v1'}"


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
        self._count_chunks, self._secrets = count_chunks, _secrets_of(target)
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
        stream, wire = _Stream(answer_tokens, self.shown), _Wire()
        body = self._body(prompt, answer_tokens)
        request = self._http.build_request("POST", self.target.url, content=body, extensions={"trace": wire})
        try:
            async with asyncio.timeout_at(wire.started + self.timeout_s) as deadline:
                response = await self._http.send(request, stream=True)
                try:
                    if response.status_code != 200:
                        return await self._refusal(response, wire.started)
                    if coding := _encoding(response):
                        raise _Broken(
                            "not a stream", f"it is encoded as '{self.shown(coding)}', which was not asked for"
                        )
                    await self._read(response, stream, deadline, wire.started + self.timeout_s)
                finally:
                    await response.aclose()
        except TimeoutError:
            if not stream.complete:
                return self._too_late(stream, wire.started)
        except _Broken as broken:
            return Failed(broken.kind, broken.text, wire.started, time.monotonic())
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            if not stream.complete:
                return self._lost(error, wire)
        return self._result(stream, wire.started)

    async def _read(self, response: httpx.Response, stream: _Stream, deadline: asyncio.Timeout, end: float) -> None:
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

    def _too_late(self, stream: _Stream, started: float) -> Failed:
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

    def _result(self, stream: _Stream, started: float) -> Answered | Failed:
        """What a stream that ended holds."""
        try:
            return self._complete(stream, started)
        except _Broken as broken:
            return Failed(broken.kind, broken.text, started, time.monotonic())

    def _complete(self, stream: _Stream, started: float) -> Answered:
        """The answer of a stream that ended; `_Broken` where it is none."""
        if not stream.events:
            raise _Broken("not a stream", f"status 200 with '{self.shown(stream.rest)}' in place of a stream")
        if not stream.finish and not stream.complete:
            raise _Broken("cut off", f"the stream ended in the middle, after {stream.chunks} chunks")
        usage = self._usage(stream)
        n_out = usage.n_out
        if n_out is None:
            raise _Broken("no usage", "the server reports no usage in its last chunk")
        first = stream.first if stream.first is not None else stream.ended
        last = stream.ended if stream.ended is not None else stream.last
        if n_out == 0 or first is None or last is None:
            raise _Broken("empty answer", "the answer has no token")
        if not stream.chunks and n_out > max(stream.pieces, HELD_BACK_TOKENS):
            text = f"no text came for the {n_out} tokens that the server counts: nothing tells when they came"
            raise _Broken("empty answer", text)
        if n_out > stream.asked:
            raise _Broken("longer than asked", f"{n_out} tokens, {stream.asked} were asked for")
        counts = stream.asked, usage.n_in, usage.n_cached, n_out, stream.chunks, stream.bursts
        return Answered(started, first, last, *counts)

    def _usage(self, stream: _Stream) -> Usage:
        """What the server counted; where it did not, or wrongly, chunks in place of tokens where they may be."""
        wrong = stream.wrong_usage()
        if wrong and not self._count_chunks:
            raise _Broken("wrong usage", f"its usage cannot be: {self.shown(wrong.encode())}")
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


class _Broken(Exception):
    """A stream that is none, or says that it failed."""

    def __init__(self, kind: Kind, text: str) -> None:
        super().__init__(text)
        self.kind: Kind = kind
        self.text = text


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens as a server counts them: prompt, its cached part, answer; None where it does not say."""

    n_in: int | None = None
    n_cached: int | None = None
    n_out: int | None = None


class _Stream:
    """Server-sent events as they come in: when the first and last content came, and what the last chunks said.

    Attributes
    ----------
    chunks, pieces
        Chunks with content, and those that may have had some.
    """

    def __init__(self, asked: int, shown: Callable[[bytes], str]) -> None:
        self.asked, self._shown = asked, shown
        self._rest = bytearray()
        self.events = self.chunks = self.pieces = self.bursts = 0
        self.first: float | None = None
        self.last: float | None = None
        self.ended: float | None = None
        self.finish = self.complete = False
        self._usage: Mapping[str, Any] = {}
        # A token is a chunk, or less where half a character is held back; four times as many are no answer any more.
        self._most_chunks = 4 * asked + 64

    def feed(self, block: bytes, at: float) -> None:
        """Take what came at a moment."""
        self._rest += block
        if b"\n" in block:
            said = self.rest
            *lines, rest = said.split(b"\n")
            self._rest = bytearray(rest)
            for line in lines:
                self._line(line, said, at)
        if len(self._rest) > MAX_LINE_BYTES:
            raise _Broken("not a stream", f"a line of more than {MAX_LINE_BYTES:,} bytes")

    @property
    def rest(self) -> bytes:
        """What came since the last end of a line."""
        return bytes(self._rest)

    def _line(self, line: bytes, said: bytes, at: float) -> None:
        if line.startswith(b"data:"):
            self._event(line[5:].strip(), at)
        elif not self.events and line.strip() and not line.startswith((b":", b"event:", b"id:", b"retry:")):
            raise _Broken("not a stream", f"status 200 with '{self._shown(said)}' in place of a stream")

    def _event(self, data: bytes, at: float) -> None:
        self.events += 1
        if data == b"[DONE]":
            self.complete = True
            return
        try:
            event = json.loads(data)
        except (ValueError, RecursionError):
            event = None
        if not isinstance(event, dict):
            raise _Broken("error in the stream", f"a chunk is no JSON object: '{self._shown(data)}'")
        if event.get("error"):
            raise _Broken("error in the stream", self._shown(json.dumps(event["error"]).encode()))
        if isinstance(event.get("usage"), dict):
            self._usage = event["usage"]
        choices = event.get("choices")
        if isinstance(choices, list) and choices and isinstance(choices[0], dict):
            self._choice(choices[0], at)

    def _choice(self, choice: Mapping[str, Any], at: float) -> None:
        self.pieces += 1
        delta = choice.get("delta")
        said = delta if isinstance(delta, dict) else {}
        text = choice.get("text") or said.get("content") or said.get("reasoning_content")
        if text or said.get("reasoning") or said.get("tool_calls"):
            self.chunks += 1
            self.first = at if self.first is None else self.first
            self.bursts += self.last is None or at - self.last > BURST_SECONDS
            self.last = at
            if self.chunks > self._most_chunks:
                raise _Broken("longer than asked", f"{self.chunks} chunks and more, {self.asked} tokens were asked for")
        if choice.get("finish_reason"):
            self.finish, self.ended = True, at

    def usage(self) -> Usage:
        """The counts of the usage."""
        counts = {name: value if _is_count(value) else None for name, value in self._said_counts().items()}
        return Usage(**counts)

    def wrong_usage(self) -> str:
        """What of the usage cannot be; empty where all of it can."""
        for name, value in self._said_counts().items():
            if value is not None and not (_is_count(value) and value >= LEAST_COUNTS[name]):
                return f"{USAGE_NAMES[name]} {json.dumps(value)}"
        found = self.usage()
        if found.n_in is not None and found.n_cached is not None and found.n_cached > found.n_in:
            return f"cached_tokens {found.n_cached} of prompt_tokens {found.n_in}"
        return ""

    def _said_counts(self) -> dict[str, Any]:
        """What the usage has in the place of each count."""
        details = self._usage.get("prompt_tokens_details")
        cached = details.get("cached_tokens") if isinstance(details, dict) else None
        return {
            "n_in": self._usage.get("prompt_tokens"),
            "n_cached": self._usage.get("prompt_cache_hit_tokens") if cached is None else cached,
            "n_out": self._usage.get("completion_tokens"),
        }


USAGE_NAMES = {"n_in": "prompt_tokens", "n_cached": "cached_tokens", "n_out": "completion_tokens"}
"""What a usage calls each count."""

LEAST_COUNTS = {"n_in": 1, "n_cached": 0, "n_out": 0}
"""The least that each can be; no prompt is empty."""


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _secrets_of(target: Target) -> list[str]:
    """What is a key in a target's headers, in whole and in part, the longest first."""
    values = [value for name, value in target.headers.items() if name.lower() in SECRET_HEADERS]
    found = {*values, *target.secrets}
    for value in tuple(found):
        # After "Bearer", or after the names of cookies.
        words = [word.strip(";,") for word in value.split()]
        found |= {*words[1:], *(word.partition("=")[2].strip("=") for word in words)}
    found |= {json.dumps(secret)[1:-1] for secret in found}
    return sorted((secret for secret in found if len(secret) >= SHORTEST_SECRET), key=len, reverse=True)


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


async def learn(client: Client, prompt: str, *, lists_models: bool = True) -> tuple[Answered, list[str], int]:
    """Find out what a server understands, with a short answer.

    Parameters
    ----------
    lists_models
        Whether it has a list of models: one that has none and not the path of requests is likely no such server.

    Returns
    -------
    An answer, what is to be known of the server, and how many requests it took.

    Raises
    ------
    EndpointProblem
        No way of asking gives an answer.
    """
    limit = client.dialect.limit
    tries = [Dialect(), Dialect(ignore_eos=False), Dialect(ignore_eos=False, usage=False)]
    if client.target.api == "chat":
        tries.insert(2, Dialect(ignore_eos=False, limit="max_completion_tokens"))
    sent, may_be_stale = 0, True
    while True:
        client.dialect = tries[0]
        sent += 1
        outcome = await client.ask(prompt, PROBE_ANSWER_TOKENS)
        if isinstance(outcome, Answered):
            return outcome, _remarks(client.dialect, limit), sent
        if outcome.is_stale and may_be_stale:
            may_be_stale = False
            continue
        if outcome.status not in NOT_UNDERSTOOD or len(tries) == 1:
            raise problem_of(outcome, client.target, lists_models=lists_models)
        del tries[0]


def _remarks(dialect: Dialect, limit: str) -> list[str]:
    said = []
    if not dialect.ignore_eos:
        said.append("the server does not take ignore_eos: answers may end before the asked length")
    if not dialect.usage:
        said.append("the server does not take stream_options: it reports no usage")
    if dialect.limit != limit:
        said.append(f"the server takes {dialect.limit}")
    return said


_COUNT_CHUNKS = "With --count-chunks every chunk with content counts as a token; prompt tokens are words then."

HINTS: Mapping[Kind, str] = {
    "not reached": "Check the address, and that the server is up.",
    "redirected": "Give the address that answers itself: requests go to the named host only.",
    "no usage": _COUNT_CHUNKS,
    "wrong usage": _COUNT_CHUNKS,
    "longer than asked": (
        "The server ignores max_tokens: lengths of answers cannot be set, so that nothing can be measured."
    ),
    "rate limited": "Wait until the server takes requests again; a lower --concurrency asks for fewer at a time.",
    "timed out": "Give it longer with --timeout, or ask for less with --prompt-tokens and --answer-tokens.",
    "stalled": "Allow longer pauses inside an answer with --stall-seconds.",
}
"""What to do about a failure that ends a run, where its kind tells."""


def problem_of(failed: Failed, target: Target, *, lists_models: bool = True) -> EndpointProblem:
    """A failure that ends a run before it began, with what to do about it; see `learn`."""
    hint = "See what the server logs."
    if failed.kind in HINTS:
        hint = HINTS[failed.kind]
    elif failed.status in (401, 403):
        hint = "Name the environment variable that holds the key with --api-key-variable."
    elif failed.status not in AWAY and (_is_page(failed.text) or (failed.status == 404 and not lists_models)):
        hint = f"Is {target.base} the base URL of an inference server, such as http://host:8000/v1?"
    elif failed.status == 404:
        other = "chat" if target.api == "completions" else "completions"
        hint = f"Check the path and --served-model; or try --api {other}."
    return EndpointProblem(f"{target.url}: {failed.kind}: {failed.text}", hint=hint)


def _is_page(text: str) -> bool:
    """Whether what a server said is a web page."""
    return "<html" in text.lower() or "<!doctype" in text.lower()
