"""What a server tells of itself, and what it keeps to itself."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import logging.config
import re

import httpx
import pytest
from fastapi import FastAPI, Request
from fastapi.responses import Response, StreamingResponse
from prometheus_client.parser import text_string_to_metric_families

from inferprint.service.caller import Caller
from inferprint.service.engine import Outcome
from inferprint.service.ledger import Kept
from inferprint.service.observe import GONE, LOG, JsonLines, Metrics, Observed, log_config

SECRET = "ipk_aaaaaaaaaaaa_secret"
CALLER = Caller(7, 'ac"me\u2028é', "aaaaaaaaaaaa", frozenset({"read"}))


def make_app():
    app = FastAPI(openapi_url=None)
    app.state.metrics = Metrics("2026-11-23+abc")

    @app.post("/model/{name}")
    async def model(request: Request, name: str) -> Response:
        request.state.caller = CALLER
        return Response(await request.body(), 201, {"X-Own": "1"})

    @app.get("/boom")
    async def boom() -> Response:
        raise RuntimeError("broken\n{}\x1b[31m")

    @app.get("/halfway")
    async def halfway() -> Response:
        async def parts():
            yield b"begun"
            raise RuntimeError("halfway")

        return StreamingResponse(parts())

    @app.get("/own")
    async def own() -> Response:
        return Response(headers={"Cache-Control": "max-age=60"})

    app.add_middleware(Observed, metrics=app.state.metrics)
    return app


@pytest.fixture
def app():
    return make_app()


@pytest.fixture
def log():
    """What is logged, as it would stand on standard error."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    level = LOG.level
    LOG.addHandler(handler)
    LOG.setLevel("INFO")
    yield stream
    LOG.removeHandler(handler)
    LOG.setLevel(level)


def asked(app, method, path, **further):
    async def ask():
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as session:
            return await session.request(method, path, **further)

    return asyncio.run(ask())


def lines(log):
    return [json.loads(line) for line in log.getvalue().splitlines()]


def samples(app):
    text = app.state.metrics.response().body.decode()
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


# --- the log ----------------------------------------------------------------------------------------------------------


def test_a_request_is_one_line(app, log):
    asked(app, "POST", "/model/secret-model?token=hidden", content=b"private", headers={"X-Request-ID": "a.B-1:2_3"})
    (line,) = lines(log)
    assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", line.pop("time"))
    assert 0 < line.pop("duration_ms") < 10_000
    assert line == {
        "level": "info",
        "event": "request",
        "request_id": "a.B-1:2_3",
        "method": "POST",
        "route": "/model/{name}",
        "status": 201,
        "request_bytes": 7,
        "response_bytes": 7,
        "key_id": "aaaaaaaaaaaa",
        "owner": CALLER.owner,
    }


def test_what_callers_write_is_not_logged(app, log):
    headers = {"Authorization": f"Bearer {SECRET}", "User-Agent": "hidden", "Cookie": "hidden", "Referer": "hidden"}
    for path in ("/model/hidden?a=hidden", "/hidden", "/boom?hidden"):
        asked(app, "POST", path, content=b"hidden", headers=headers)
    asked(app, "HIDDEN", "/boom", headers=headers)
    text = log.getvalue()
    assert "hidden" not in text.lower()
    assert "secret" not in text
    assert [line["route"] for line in lines(log)] == ["/model/{name}", "(unmatched)", "/boom", "/boom"]


def test_nothing_breaks_a_line(app, log):
    asked(app, "POST", "/model/x")
    asked(app, "GET", "/boom")
    text = log.getvalue()
    assert text.isascii()
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", text)
    assert len(text.splitlines()) == text.count("\n") == 3
    assert all(json.loads(line) for line in text.split("\n")[:-1])


def test_other_loggers_go_the_same_way(capsys):
    before = {name: (logging.getLogger(name).level, logging.getLogger(name).handlers[:]) for name in ("", "uvicorn")}
    try:
        logging.config.dictConfig(log_config("info"))
        logging.getLogger("uvicorn.error").error("broken %s", "a\nb")
        logging.getLogger("uvicorn.error").info("chatter")
        logging.getLogger("other").warning("hm")
        logging.getLogger("sqlalchemy.pool.impl.QueuePool").error("a trace for each connection that was lost")
        logging.getLogger("inferprint.service").info("said")
        found = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    finally:
        for name, (level, handlers) in before.items():
            logging.getLogger(name).setLevel(level)
            logging.getLogger(name).handlers[:] = handlers
        logging.getLogger("inferprint").setLevel(logging.NOTSET)
    assert [(line["event"], line.get("logger")) for line in found] == [
        ("broken a\nb", "uvicorn.error"),
        ("hm", "other"),
        ("said", None),
    ]


# --- the id -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", ["a", "A.b_c:d-9", "x" * 128])
def test_a_request_id_is_kept(app, given):
    assert asked(app, "GET", "/own", headers={"X-Request-ID": given}).headers["x-request-id"] == given


@pytest.mark.parametrize("given", [None, "", "x" * 129, "a b", 'a"b', b"a\xff", "a/b", "a\x0b"])
def test_else_there_is_a_new_one(app, log, given):
    headers = {} if given is None else {"X-Request-ID": given}
    found = [asked(app, "GET", "/own", headers=headers).headers["x-request-id"] for _ in range(2)]
    assert all(re.fullmatch("[0-9a-f]{32}", one) for one in found)
    assert found[0] != found[1]
    assert [line["request_id"] for line in lines(log)] == found


@pytest.mark.parametrize("path, code", [("/own", 200), ("/nowhere", 404), ("/boom", 500)])
def test_every_response_has_the_headers(app, path, code):
    reply = asked(app, "GET", path)
    assert reply.status_code == code
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["cache-control"] == ("max-age=60" if path == "/own" else "no-store")
    assert len(reply.headers.get_list("x-request-id")) == len(reply.headers.get_list("cache-control")) == 1


# --- what nobody caught -----------------------------------------------------------------------------------------------


def test_an_error_is_told_in_the_log_and_not_to_the_caller(app, log):
    reply = asked(app, "GET", "/boom", headers={"X-Request-ID": "quoted"})
    assert (reply.status_code, reply.json()["code"]) == (500, "internal_error")
    assert "quoted" in reply.json()["details"]["reason"]
    assert "broken" not in reply.text
    assert "Traceback" not in reply.text
    trace, line = lines(log)
    assert (trace["level"], trace["request_id"]) == ("error", "quoted")
    assert "RuntimeError: broken" in trace["trace"]
    assert line["status"] == 500


def test_a_response_that_has_begun_is_not_taken_back(app, log):
    with pytest.raises(RuntimeError, match="halfway"):
        asyncio.run(_run(app, "/halfway", []))
    trace, line = lines(log)
    assert "halfway" in trace["trace"]
    assert line["status"] == 200


async def _run(app, path, messages):
    """Call an application as a server does."""
    waiting = list(messages)

    async def receive():
        return waiting.pop(0) if waiting else await asyncio.sleep(60)

    async def send(message):
        pass

    method = "POST" if path.startswith("/model") else "GET"
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": [], "http_version": "1.1"}
    await app(scope, receive, send)


def test_a_client_that_went_is_no_error(app, log):
    part = {"type": "http.request", "body": b"x", "more_body": True}
    asyncio.run(_run(app, "/model/x", [part, {"type": "http.disconnect"}]))
    (line,) = lines(log)
    assert (line["level"], line["status"], line["request_bytes"]) == ("info", GONE, 1)


def test_a_request_that_is_cut_off_is_told(app, log):
    async def cut():
        task = asyncio.create_task(_run(app, "/model/x", []))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cut())
    assert [line["status"] for line in lines(log)] == [GONE]


# --- metrics ----------------------------------------------------------------------------------------------------------


def test_requests_are_counted_by_endpoint(app):
    for name in ("a", "b", "c"):
        asked(app, "POST", f"/model/{name}")
    asked(app, "GET", "/model/a")
    for path in ("/x", "/y"):
        asked(app, "BREW", path)
    found = samples(app)
    name, seconds = "inferprint_http_requests_total", "inferprint_http_request_duration_seconds"
    template = ("route", "/model/{name}")
    assert found[name, ("method", "POST"), template, ("status", "201")] == 3
    assert found[name, ("method", "GET"), template, ("status", "405")] == 1
    assert found[name, ("method", "OTHER"), ("route", "(unmatched)"), ("status", "404")] == 2
    assert found[f"{seconds}_count", template] == 4
    assert found[f"{seconds}_bucket", ("le", "+Inf"), template] == 4
    assert 0 < found[f"{seconds}_sum", template] < 10


def test_rows_are_counted_by_what_became_of_them(app):
    good, bad = Outcome({}, None, None), Outcome({}, None, {"code": "unknown_name", "message": ""})
    app.state.metrics.rows("/v1/impact", [good, bad, good])
    app.state.metrics.ledger([Kept("stored", "estimated")] * 5)
    found = samples(app)
    assert found["inferprint_rows_total", ("endpoint", "/v1/impact"), ("outcome", "estimated")] == 2
    assert found["inferprint_rows_total", ("endpoint", "/v1/impact"), ("outcome", "unestimated")] == 1
    assert found["inferprint_ledger_rows_total", ("status", "stored")] == 5


def test_metrics_say_what_runs(app):
    from inferprint import __version__

    found = samples(app)
    assert found["inferprint_build_info", ("catalogue", "2026-11-23+abc"), ("version", __version__)] == 1
    assert 0 <= found["inferprint_uptime_seconds",] < 60
    assert app.state.metrics.response().headers["content-type"].startswith("text/plain; version=")


def test_two_applications_count_apart():
    first, second = make_app(), make_app()
    asked(first, "GET", "/own")
    name = ("inferprint_http_requests_total", ("method", "GET"), ("route", "/own"), ("status", "200"))
    assert samples(first)[name] == 1
    assert name not in samples(second)


def test_what_strangers_ask_for_makes_no_new_series(app):
    asked(app, "GET", "/0")
    before = len(samples(app))
    for i in range(1, 20):
        asked(app, f"M{i}", f"/{i}")
    assert len(samples(app)) <= before + 2
