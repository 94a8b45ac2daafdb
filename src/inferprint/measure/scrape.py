"""Gets the text of a /metrics address: of the named host alone, without redirects, bounded in size and time."""

from __future__ import annotations

import http.client
import io
import ipaddress
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import SplitResult, urlsplit

from inferprint.errors import MeterProblem
from inferprint.usage.base import Rejected
from inferprint.usage.prometheus import Value, parsed_line

MOST_BYTES = 64 * 1024 * 1024
TIMEOUT_S = 10.0


def address(url: str) -> SplitResult:
    """The parts of an address over HTTP.

    Raises
    ------
    MeterProblem
        It is none, or holds a user's name.
    """
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        fine, parts = False, urlsplit("")
    if not fine:
        raise MeterProblem(f"'{url}' is no address over HTTP", hint="For example http://localhost:9400/metrics")
    if parts.username is not None:
        raise MeterProblem(f"the address of {parts.hostname} holds a user's name", hint="Give it without.")
    return parts


def is_loopback(url: str) -> bool:
    """Whether an address is of this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class _Bounded(io.RawIOBase):
    """A connection of which all that is sent and read together ends by a moment, however slowly it drips [s]."""

    def __init__(self, connected: socket.socket, until_s: float) -> None:
        self._socket, self._until_s = connected, until_s

    def _in_time(self) -> socket.socket:
        left = self._until_s - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        self._socket.settimeout(left)
        return self._socket

    def sendall(self, data: bytes) -> None:
        """Send in time."""
        self._in_time().sendall(data)

    def readable(self) -> bool:
        """It is read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read what is there in time."""
        return self._in_time().recv_into(buffer)

    def makefile(self, _mode: str) -> io.BufferedReader:
        """What an answer is read from."""
        return io.BufferedReader(self)

    def close(self) -> None:
        """Left open: a connection is closed before its answer is read, and the socket by who has opened it."""


def fetch(url: str, *, timeout_s: float = TIMEOUT_S) -> tuple[float, str]:
    """The text of an address, and the moment in the middle of asking for it by `time.monotonic` [s].

    Parameters
    ----------
    timeout_s
        For the question and the whole answer [s]; a connection may take as long before, for each address of the host.

    Raises
    ------
    MeterProblem
        It does not answer in time, or with something other than text.
    """
    parts = address(url)
    secure = parts.scheme == "https"
    kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
    connection: Any = kind(parts.hostname or "", parts.port, timeout=timeout_s)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.connect()
        with connection.sock as connected:
            begin = time.monotonic()
            connection.sock = _Bounded(connected, begin + timeout_s)
            connection.request("GET", target, headers={"Accept": "text/plain; version=0.0.4", "Connection": "close"})
            answer = connection.getresponse()
            body = answer.read(MOST_BYTES + 1)
    except (OSError, http.client.HTTPException, ssl.SSLError) as error:
        why = str(error) or type(error).__name__
        raise MeterProblem(f"{url} does not answer: {why}", hint="Check address and port.") from error
    finally:
        connection.close()
    moment = (begin + time.monotonic()) / 2
    if answer.status != 200:
        hint = "It is asked where it was named, and not followed elsewhere." if 300 <= answer.status < 400 else ""
        raise MeterProblem(
            f"{url} answers {answer.status} {answer.reason}",
            hint=hint or "Check the path, which is /metrics with most servers, and that the server shows its metrics.",
        )
    if len(body) > MOST_BYTES:
        raise MeterProblem(f"{url} answers with over {MOST_BYTES // 2**20} MiB", hint="Name an address of metrics.")
    return moment, body.decode("utf-8", errors="replace")


def values_of(text: str, metric: str) -> Iterator[Value]:
    """The series of one metric in the text of a scrape.

    Raises
    ------
    MeterProblem
        A line of it cannot be read, or shows no finite number.
    """
    for row, line in enumerate(text.splitlines(), 1):
        if line.startswith(metric) and line[len(metric) : len(metric) + 1] in ("{", " ", "\t"):
            read = parsed_line(row, line)
            if isinstance(read, Rejected):
                raise MeterProblem(f"line {row} of the metrics, {line[:80]}: {read.reason}")
            yield read[0]
