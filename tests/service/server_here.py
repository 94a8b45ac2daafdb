"""A real server in a process of its own, for tests."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

START_S = 30.0
STOP_S = 20.0
READY = re.compile(r"serving on (http://\S+)")


@dataclass
class Server:
    """A server that runs: where, and what it has said."""

    url: str
    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)
    ready_after_s: float = 0.0
    listener: threading.Thread | None = None

    def stop(self) -> int:
        """Ask it to stop; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self._ended()

    def kill(self) -> None:
        """End it at once, as a crash does."""
        self.process.kill()
        self._ended()

    def _ended(self) -> int:
        code = self.process.wait(STOP_S)
        assert self.listener is not None
        self.listener.join(STOP_S)
        return code


def start(database: str, *options: str, environ: Mapping[str, str] | None = None) -> Server:
    """Start a server on a free port and wait until it is ready."""
    arguments = [sys.executable, "-m", "inferprint", "serve", "--database", database, *options]
    if "--port" not in options:
        arguments += ["--port", "0"]
    began = time.perf_counter()
    process = subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(environ or {})},
    )
    server = Server("", process)
    lines: queue.Queue[str | None] = queue.Queue()
    server.listener = threading.Thread(target=_listen, args=(server, lines), daemon=True)
    server.listener.start()
    while not server.url:
        line = lines.get(timeout=START_S)
        assert line is not None, f"the server ended with {process.wait()}: {''.join(server.said)}"
        found = READY.search(line)
        server.url = found[1] if found else ""
    server.ready_after_s = time.perf_counter() - began
    return server


def _listen(server: Server, lines: queue.Queue[str | None]) -> None:
    assert server.process.stdout is not None
    with server.process.stdout:
        for line in server.process.stdout:
            server.said.append(line)
            lines.put(line)
    lines.put(None)


@contextmanager
def serving(database: str, *options: str, environ: Mapping[str, str] | None = None) -> Iterator[Server]:
    """A server for a while."""
    server = start(database, *options, environ=environ)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.kill()


def key(database: str, owner: str, scopes: Sequence[str] = ("write",), *options: str) -> str:
    """A new key, by the command."""
    import json

    wanted = [part for scope in scopes for part in ("--scope", scope)]
    arguments = ["keys", "create", "--owner", owner, *wanted, "--database", database, "--json", *options]
    made = subprocess.run(
        [sys.executable, "-m", "inferprint", *arguments], capture_output=True, text=True, check=True, timeout=START_S
    )
    token: str = json.loads(made.stdout)["key"]
    return token
