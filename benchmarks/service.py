"""How fast the server answers, beside a bare endpoint that reads the same body and returns as many bytes.

    python benchmarks/service.py [SECONDS]

Both are real uvicorn processes with one worker, asked over loopback by the same client, by turns. The bare one is
FastAPI with a pydantic body and nothing else: no key, no estimate, no ledger. Rows with a request_id are in the ledger
(SQLite, synchronous) before they are answered.
"""

from __future__ import annotations

import itertools
import json
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from timing import machine

BARE = """
import socket, sys, uvicorn
from fastapi import FastAPI
from fastapi.responses import Response
from inferprint.service.schemas import ImpactRequest

app = FastAPI()
sizes = {1: int(sys.argv[1]), 1000: int(sys.argv[2])}
answers = {rows: b'{"x":"' + b"x" * (size - 8) + b'"}' for rows, size in sizes.items()}

@app.post("/v1/impact")
async def answer(body: ImpactRequest) -> Response:
    return Response(answers[len(body.rows)], media_type="application/json")

listening = socket.socket()
listening.bind(("127.0.0.1", 0))
print(f"serving on http://127.0.0.1:{listening.getsockname()[1]}", flush=True)
config = uvicorn.Config(app, http="httptools", loop="uvloop", access_log=False, log_level="warning")
uvicorn.Server(config).run(sockets=[listening])
"""
ROUNDS = 3
_numbers = itertools.count()


def body(rows: int, *, named: bool) -> bytes:
    """A body of rows; with a request_id of its own each, where they are for the ledger."""
    models = ("gpt-4o", "claude-sonnet-4-5", "llama-3.1-70b", "gemini-2.5-pro")
    made = []
    for i in range(rows):
        row = {"model_id": models[i % 4], "input_tokens": 500 + i, "output_tokens": 100 + i, "project_id": f"p{i % 20}"}
        made.append(row | ({"request_id": f"{os.getpid()}-{next(_numbers)}"} if named else {}))
    return json.dumps({"rows": made}).encode()


class Connection:
    """One connection that is kept open."""

    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._head = (
            f"POST /v1/impact HTTP/1.1\r\nHost: {parts.netloc}\r\nAuthorization: Bearer {key}\r\n"
            "Content-Type: application/json\r\nContent-Length: {}\r\n\r\n"
        )

    def ask(self, content: bytes) -> bytes:
        """The body of the answer, which must be a 200."""
        self._socket.sendall(self._head.format(len(content)).encode() + content)
        received = b""
        while b"\r\n\r\n" not in received:
            received += self._more()
        head, _, rest = received.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200"), received[:500]
        found = re.search(rb"content-length: (\d+)", head, re.IGNORECASE)
        assert found is not None
        parts, missing = [rest], int(found[1]) - len(rest)
        while missing > 0:
            parts.append(self._more())
            missing -= len(parts[-1])
        return b"".join(parts)

    def _more(self) -> bytes:
        part = self._socket.recv(1 << 20)
        assert part, "the server has closed the connection"
        return part

    def close(self) -> None:
        """Close it."""
        self._socket.close()


def load(url: str, key: str, made: Callable[[], bytes], clients: int, seconds: float) -> list[float]:
    """Seconds of each request of so many clients for a while."""
    times: list[list[float]] = [[] for _ in range(clients)]
    until = time.perf_counter() + seconds

    def client(which: int) -> None:
        connection = Connection(url, key)
        while time.perf_counter() < until:
            content = made()
            began = time.perf_counter()
            connection.ask(content)
            times[which].append(time.perf_counter() - began)
        connection.close()

    threads = [threading.Thread(target=client, args=(i,)) for i in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [one for own in times for one in own]


@contextmanager
def started(arguments: list[str]) -> Iterator[str]:
    """A server process; its address."""
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert process.stdout is not None
        for line in process.stdout:
            found = re.search(r"serving on (http://\S+)", line)
            if found:
                yield found[1]
                return
        raise SystemExit(f"the server ended: {arguments}")
    finally:
        process.terminate()
        process.wait(30)


def main() -> None:
    """Measure and print."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 4.0
    with tempfile.TemporaryDirectory() as folder:
        database = str(Path(folder) / "ledger.db")
        create = ["keys", "create", "--owner", "bench", "--scope", "write", "--database", database, "--json"]
        made = subprocess.run([sys.executable, "-m", "inferprint", *create], check=True, capture_output=True, text=True)
        key = json.loads(made.stdout)["key"]
        options = ["--port", "0", "--database", database, "--requests-per-minute", "0"]
        with started(["-m", "inferprint", "serve", *options]) as url:
            first = Connection(url, key)
            sizes = [len(first.ask(body(rows, named=False))) for rows in (1, 1000)]
            first.close()
            with started(["-c", BARE, *map(str, sizes)]) as bare:
                print(f"{machine()}; {seconds:g} s each, {ROUNDS} rounds by turns; answers of {sizes} bytes")
                for rows, clients, named in (
                    (1, 1, False), (1, 8, False), (1, 1, True), (1, 8, True), (1000, 2, False), (1000, 2, True),
                ):  # fmt: skip
                    compare(url, bare, key, rows, clients, seconds, named=named)


def compare(url: str, bare: str, key: str, rows: int, clients: int, seconds: float, *, named: bool) -> None:
    """One line: requests and rows a minute, p50 and p99, and the ratio to the bare endpoint."""
    fixed = body(rows, named=False)
    made: Callable[[], bytes] = (lambda: body(rows, named=True)) if named else (lambda: fixed)
    ours: list[float] = []
    theirs: list[float] = []
    for _ in range(ROUNDS):
        ours += load(url, key, made, clients, seconds)
        theirs += load(bare, key, made, clients, seconds)
    per_minute = [60 * len(times) / (ROUNDS * seconds) for times in (ours, theirs)]
    p50, p99 = (1e3 * statistics.quantiles(ours, n=100)[k] for k in (49, 98))
    bare_p99 = 1e3 * statistics.quantiles(theirs, n=100)[98]
    print(
        f"{rows:5} rows, {clients} clients, {'in the ledger' if named else 'answered only'}: "
        f"{per_minute[0]:9,.0f} requests/min = {rows * per_minute[0]:11,.0f} rows/min; p50 {p50:.2f} ms, "
        f"p99 {p99:.2f} ms (bare {bare_p99:.2f}); {per_minute[0] / per_minute[1]:.2f}x of the bare endpoint"
    )


if __name__ == "__main__":
    main()
