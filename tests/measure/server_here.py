"""Servers on this machine: a real llama.cpp, and small ones that behave as they are told."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

START_SECONDS = 120.0

SERVE = """
import sys, time
import xllamacpp
params = xllamacpp.CommonParams()
params.model.path, params.port = sys.argv[1], int(sys.argv[2])
params.n_parallel, params.n_ctx, params.cpuparams.n_threads = 4, 8192, 1
params.endpoint_metrics, params.warmup = True, False
server = xllamacpp.Server(params)
time.sleep(600)
"""


@dataclass(frozen=True)
class RealServer:
    """A llama.cpp server in a process of its own."""

    url: str
    process: subprocess.Popen[bytes]

    def metric(self, name: str) -> float:
        """A counter of its own."""
        with urllib.request.urlopen(f"{self.url}/metrics", timeout=10) as answer:
            lines = answer.read().decode().splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(name))


@contextmanager
def real_server(model: Path) -> Iterator[RealServer]:
    """A server that is up and answers; gone at the end."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(model), str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    server = RealServer(f"http://127.0.0.1:{port}", process)
    try:
        _wait_until_up(server)
        yield server
    finally:
        process.kill()
        process.wait()


def _wait_until_up(server: RealServer) -> None:
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        if server.process.poll() is not None:
            raise RuntimeError(f"the server ended with {server.process.returncode}")
        try:
            server.metric("llamacpp:prompt_tokens_total")
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"the server was not up in {START_SECONDS} s")


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Asked:
    """A request as an odd server sees it, and the way to answer it."""

    number: int
    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    writer: asyncio.StreamWriter

    @property
    def max_tokens(self) -> int:
        return int(self.body.get("max_tokens") or self.body["max_completion_tokens"])

    @property
    def words(self) -> int:
        prompt = self.body.get("prompt") or self.body["messages"][0]["content"]
        return len(prompt.split())

    async def plain(self, status: int, body: object = "", **headers: str) -> None:
        """A whole response."""
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        fields = {"Content-Length": str(len(data)), **{name.replace("_", "-"): v for name, v in headers.items()}}
        self.writer.write(_head(status, fields) + data)
        await self.writer.drain()

    async def begin(self) -> None:
        """The beginning of a stream."""
        self.writer.write(_head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"}))
        await self.writer.drain()

    async def send(self, data: bytes) -> None:
        """A piece of a stream."""
        self.writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        await self.writer.drain()

    async def event(self, event: object) -> None:
        await self.send(b"data: " + json.dumps(event).encode() + b"\n\n")

    async def token(self, text: str = " word") -> None:
        await self.event({"choices": [{"index": 0, "text": text, "finish_reason": None}]})

    async def finish(
        self, n_out: int | None, *, reason: str = "length", cached: int | None = None, n_in: int | None = None
    ) -> None:
        """The end of a stream, with usage where a count is given; a prompt has its words unless it is said."""
        await self.event({"choices": [{"index": 0, "text": "", "finish_reason": reason}]})
        if n_out is not None:
            usage: dict[str, Any] = {"prompt_tokens": self.words if n_in is None else n_in, "completion_tokens": n_out}
            if cached is not None:
                usage["prompt_tokens_details"] = {"cached_tokens": cached}
            await self.event({"choices": [], "usage": usage})
        await self.send(b"data: [DONE]\n\n")
        await self.end()

    async def end(self) -> None:
        self.writer.write(b"0\r\n\r\n")
        await self.writer.drain()

    def cut(self) -> None:
        """Break the connection."""
        self.writer.transport.abort()

    async def answer(self, n_out: int | None = None, *, first_s: float = 0.0, each_s: float = 0.0) -> None:
        """A usual answer, with the given times to the first token and between two."""
        count = self.max_tokens if n_out is None else n_out
        await self.begin()
        begun = time.monotonic()
        for number in range(count):
            await asyncio.sleep(max(0.0, begun + first_s + number * each_s - time.monotonic()))
            await self.token()
        await self.finish(count)


def _head(status: int, fields: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} Said", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode()


Behaviour = Callable[[Asked], Awaitable[None]]


@dataclass
class OddServer:
    """A server whose answers are a function; it keeps what it was asked.

    Attributes
    ----------
    pages
        What it has at its paths, by GET; bytes are a whole response; elsewhere it has nothing.
    asked, got
        Requests for answers, and paths of the others.
    """

    behave: Behaviour
    url: str = ""
    pages: dict[str, object] = field(default_factory=lambda: {"/v1/models": {"data": [{"id": "served"}]}})
    asked: list[Asked] = field(default_factory=list)
    got: list[str] = field(default_factory=list)

    async def connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            while not writer.is_closing():
                await self._one(reader, writer)
        writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines) if name}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        method, path, _ = first.split()
        if method == "GET":
            self.got.append(path)
            page = self.pages.get(path)
            if isinstance(page, bytes):
                writer.write(page)
                return
            await Asked(0, path, headers, {}, writer).plain(404 if page is None else 200, page or "nothing here")
            return
        asked = Asked(len(self.asked), path, headers, json.loads(body), writer)
        self.asked.append(asked)
        await self.behave(asked)


class Engine:
    """Answers requests step by step, as they come, or batch after batch; its `behave` is that of an odd server.

    Attributes
    ----------
    made
        Answer tokens so far.
    """

    def __init__(
        self, step_s: float, *, prompt_s: float = 0.0, prompts: int = 1, slots: int = 10_000, in_batches: bool = False
    ) -> None:
        self.step_s, self.prompt_s, self.in_batches = step_s, prompt_s, in_batches
        self.prompts, self.slots = (slots if in_batches else prompts), slots
        self.made = 0
        self._waiting: list[tuple[int, asyncio.Queue[bool]]] = []
        self._task: asyncio.Task[None] | None = None

    async def behave(self, asked: Asked) -> None:
        """Answer a request."""
        self._task = self._task or asyncio.get_running_loop().create_task(self._run())
        tokens: asyncio.Queue[bool] = asyncio.Queue()
        self._waiting.append((asked.max_tokens, tokens))
        await asked.begin()
        while await tokens.get():
            await asked.token()
        await asked.finish(asked.max_tokens)

    async def _run(self) -> None:
        """Take in what waits, so many prompts at a time, during which answers stand still; then a step for all."""
        live: list[tuple[int, asyncio.Queue[bool]]] = []
        while True:
            if self._waiting and not (self.in_batches and live):
                if self.in_batches:
                    await asyncio.sleep(0.05)  # in which all come
                most = min(self.slots - len(live), self.prompts)
                taken = [self._waiting.pop(0) for _ in range(min(most, len(self._waiting)))]
                await asyncio.sleep(self.prompt_s * len(taken))
                live += taken
            await asyncio.sleep(self.step_s)
            for left, tokens in live:
                self.made += 1
                tokens.put_nowait(True)
                if left == 1:
                    tokens.put_nowait(False)
            live = [(left - 1, tokens) for left, tokens in live if left > 1]


@contextmanager
def odd_server(behave: Behaviour, pages: dict[str, object] | None = None) -> Iterator[OddServer]:
    """A server in a thread; gone at the end."""
    server, ready, stop = OddServer(behave), threading.Event(), asyncio.Event()
    server.pages = server.pages if pages is None else pages
    loops: list[asyncio.AbstractEventLoop] = []

    async def serve() -> None:
        listener = await asyncio.start_server(server.connection, "127.0.0.1", 0)
        server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        loops.append(asyncio.get_running_loop())
        ready.set()
        await stop.wait()
        listener.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(START_SECONDS)
    try:
        yield server
    finally:
        loops[0].call_soon_threadsafe(stop.set)
        thread.join(START_SECONDS)
