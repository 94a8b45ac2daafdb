"""What a server tells of itself: a line of JSON for each request, metrics, and traces of what went wrong."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, ProcessCollector, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from inferprint._version import __version__
from inferprint.service.guard import send_error
from inferprint.service.problems import error_body

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from inferprint.service.engine import Outcome
    from inferprint.service.ledger import Kept

LOG = logging.getLogger("inferprint.service")

UNMATCHED = "(unmatched)"
"""Stands for the path where no endpoint has it: what strangers ask for makes no new names."""

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

GONE = 499
"""Status in log and metrics of a request whose client went before it was answered."""

BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_ALWAYS = ((b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store"))


# --- metrics ----------------------------------------------------------------------------------------------------------


class Metrics:
    """The metrics of one application, in a registry of its own.

    Parameters
    ----------
    catalogue
        Version of the catalogue that it started with.
    """

    def __init__(self, catalogue: str) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "inferprint_http_requests", "Requests", ["method", "route", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "inferprint_http_request_duration_seconds",
            "Time from the head of a request to the end of its response",
            ["route"],
            buckets=BUCKETS_S,
            registry=self.registry,
        )
        self._rows = Counter(
            "inferprint_rows", "Rows by what became of them", ["endpoint", "outcome"], registry=self.registry
        )
        self._ledger = Counter(
            "inferprint_ledger_rows", "Rows by what the ledger made of them", ["status"], registry=self.registry
        )
        started = time.monotonic()
        uptime = Gauge("inferprint_uptime_seconds", "Time since the application was made", registry=self.registry)
        uptime.set_function(lambda: time.monotonic() - started)
        build = Info("inferprint_build", "What runs", registry=self.registry)
        build.info({"version": __version__, "catalogue": catalogue})
        ProcessCollector(registry=self.registry)
        # Looking a series up by its labels costs more than counting in it.
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._histograms: dict[str, Histogram] = {}

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        named = (method if method in METHODS else "OTHER", route, status)
        counter = self._counters.get(named)
        if counter is None:
            counter = self._counters[named] = self._requests.labels(named[0], route, str(status))
            self._histograms.setdefault(route, self._seconds.labels(route))
        counter.inc()
        self._histograms[route].observe(seconds)

    def rows(self, endpoint: str, outcomes: Iterable[Outcome]) -> None:
        """Count rows: "estimated", or "unestimated" where they have an error."""
        errors = [outcome.error is not None for outcome in outcomes]
        for outcome, number in (("estimated", errors.count(False)), ("unestimated", errors.count(True))):
            if number:
                self._rows.labels(endpoint, outcome).inc(number)

    def ledger(self, kept: Iterable[Kept]) -> None:
        """Count rows that were given to the ledger: "stored", "repeated", "updated", "conflict"."""
        for one in kept:
            self._ledger.labels(one.status).inc()

    def response(self) -> Response:
        """All metrics in the exposition format of Prometheus."""
        return Response(generate_latest(self.registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


# --- log --------------------------------------------------------------------------------------------------------------


class JsonLines(logging.Formatter):
    """One JSON object on one line for each record; all but plain ASCII is escaped, so that nothing breaks a line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        if record.name != LOG.name:
            line["logger"] = record.name
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        quick = msgspec.json.encode(line, enc_hook=str)
        return quick.decode() if quick.isascii() else json.dumps(line, default=str)


def log_config(level: str) -> dict[str, Any]:
    """Everything that is logged, as JSON lines on standard error; for `logging.config.dictConfig`.

    Parameters
    ----------
    level
        "debug", "info", "warning" or "error".
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonLines}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            "inferprint": {"level": level.upper()},
            # It tells of its start and end in a dozen lines.
            "uvicorn": {"level": "DEBUG" if level == "debug" else "WARNING", "handlers": [], "propagate": True},
            # It tells of each lost connection with a trace, of which `database` tells in a line.
            "sqlalchemy.pool": {"level": "CRITICAL"},
            "uvicorn.access": {"level": "CRITICAL", "handlers": [], "propagate": False},
        },
    }


# --- the middleware ---------------------------------------------------------------------------------------------------


class Observed:
    """Middleware that names, logs and counts each request, and answers what nobody caught.

    Nothing that a caller wrote gets into the log but the request id, which is checked: no header, no body, no query, no
    path but the template of the endpoint.

    Parameters
    ----------
    app
        What answers.
    metrics
        What counts.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope.setdefault("state", {})
        exchange = _Exchange(scope, receive, send)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        except ClientDisconnect:
            exchange.status = exchange.status or GONE
        except Exception:
            LOG.exception("unexpected error", extra={"fields": {"request_id": exchange.request_id}})
            if exchange.status:  # the response has begun, and cannot be taken back
                raise
            await self._apologise(exchange)
        finally:
            self._tell(scope, exchange)

    async def _apologise(self, exchange: _Exchange) -> None:
        """Send the response for what nobody caught."""
        reason = f"It is in the log of the server under the request id {exchange.request_id}."
        body = error_body("internal_error", "the server has made an error", reason=reason)
        await send_error(exchange.send, 500, body, {})

    def _tell(self, scope: Scope, exchange: _Exchange) -> None:
        """Log and count a request that has ended."""
        seconds = time.perf_counter() - exchange.begun
        method, route = scope["method"], getattr(scope.get("route"), "path", UNMATCHED)
        status = exchange.status or GONE
        self._metrics.request(method, route, status, seconds)
        if LOG.isEnabledFor(logging.INFO):
            # Made by hand: to find out which line of code logs takes longer than all else.
            record = logging.LogRecord(LOG.name, logging.INFO, __file__, 0, "request", None, None)
            record.fields = exchange.fields(method, route, status, seconds)
            LOG.handle(record)


class _Exchange:
    """One request and its response, as they pass."""

    __slots__ = (
        "_receive",
        "_send",
        "_state",
        "begun",
        "request_bytes",
        "request_id",
        "response_bytes",
        "status",
    )

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun = time.perf_counter()
        self._receive, self._send = receive, send
        self.status = self.request_bytes = self.response_bytes = 0
        self._state: dict[str, Any] = scope["state"]
        self.request_id = _request_id(scope)
        self._state["request_id"] = self.request_id

    async def receive(self) -> Message:
        """A part of the request."""
        message = await self._receive()
        if message["type"] == "http.request":
            self.request_bytes += len(message.get("body", b""))
        return message

    async def send(self, message: Message) -> None:
        """A part of the response."""
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message.get("headers", ()))
            given = {name.lower() for name, _ in headers}
            headers.extend(pair for pair in _ALWAYS if pair[0] not in given)
            headers.append((b"x-request-id", self.request_id.encode("ascii")))
            message = {**message, "headers": headers}
        elif message["type"] == "http.response.body":
            self.response_bytes += len(message.get("body", b""))
        await self._send(message)

    def fields(self, method: str, route: str, status: int, seconds: float) -> Mapping[str, Any]:
        """What the log says of it."""
        caller = self._state.get("caller")
        return {
            "request_id": self.request_id,
            "method": method if method in METHODS else "OTHER",
            "route": route,
            "status": status,
            "duration_ms": round(seconds * 1000, 3),
            "request_bytes": self.request_bytes,
            "response_bytes": self.response_bytes,
            "key_id": None if caller is None else caller.key_id,
            "owner": None if caller is None else caller.owner,
        }


def _request_id(scope: Scope) -> str:
    """The id that the caller gave, where it is one that may be logged; else a new one."""
    for name, value in scope["headers"]:
        if name == b"x-request-id":
            return value.decode("ascii") if _REQUEST_ID.fullmatch(value) else os.urandom(16).hex()
    return os.urandom(16).hex()
