"""One request: its times, and every way in which it can fail."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
from dataclasses import replace

import pytest
from tests.measure.server_here import Asked, free_port, odd_server

from inferprint.errors import EndpointProblem, InvalidInput
from inferprint.measure.answers import Answered, Broken, Failed, Stream
from inferprint.measure.client import STALE_SECONDS, Client, Served
from inferprint.measure.load import Budget, ask_patiently
from inferprint.measure.meeting import learn
from inferprint.measure.scrape import is_loopback
from inferprint.measure.target import Target, base_of


def ask(url: str, tokens: int = 4, **options) -> Answered | Failed:
    api, headers = options.pop("api", "completions"), options.pop("headers", {})

    async def once() -> Answered | Failed:
        async with Client(Target(base_of(url), "m", api, headers), **options) as client:
            return await client.ask("three short words", tokens)

    return asyncio.run(once())


@pytest.mark.parametrize(
    "given, base",
    [
        ("http://localhost:8000", "http://localhost:8000/v1"),
        ("http://localhost:8000/", "http://localhost:8000/v1"),
        ("localhost:8000/v1/", "http://localhost:8000/v1"),
        ("https://a.example/llm/v1/chat/completions", "https://a.example/llm/v1"),
        ("http://[::1]:80/v1/completions", "http://[::1]:80/v1"),
    ],
)
def test_address(given: str, base: str) -> None:
    assert base_of(given) == base


@pytest.mark.parametrize("given", ["ftp://a/v1", "http://", "http://u:p@a/v1", "http://a/v1?key=1", "http://a:x/", ""])
def test_no_address(given: str) -> None:
    with pytest.raises(InvalidInput):
        base_of(given)


@pytest.mark.parametrize(
    "base, here",
    [
        ("http://localhost:1/v1", True),
        ("http://127.8.0.1/v1", True),
        ("http://[::1]/v1", True),
        ("http://10.0.0.1/v1", False),
        ("http://localhost.example/v1", False),
        ("http://127.0.0.1.example/v1", False),
    ],
)
def test_loopback(base: str, here: bool) -> None:
    assert is_loopback(base) is here


def test_times_and_counts() -> None:
    async def behave(asked: Asked) -> None:
        await asked.begin()
        await asked.event({"choices": [{"index": 0, "text": ""}]})  # not yet content
        await asked.send(b": still here\r\n\r\n")
        await asyncio.sleep(0.2)
        for _ in range(4):
            await asked.token()
            await asyncio.sleep(0.2)
        await asked.finish(4, cached=2)

    with odd_server(behave) as server:
        answer = ask(server.url)
    assert isinstance(answer, Answered)
    assert (answer.n_in, answer.n_cached, answer.n_out, answer.n_chunks) == (3, 2, 4, 4)
    # Never early, and late by what this machine has to do besides: the first token after one of five pauses.
    assert answer.ttft_s >= 0.2
    assert answer.duration_s >= 1.0
    assert answer.ttft_s < 0.6 * answer.duration_s
    assert answer.itl_s is not None
    assert answer.duration_s == pytest.approx(answer.ttft_s + 3 * answer.itl_s)
    said = server.asked[0].body
    assert said == {
        "model": "m",
        "prompt": "three short words",
        "max_tokens": 4,
        "stream": True,
        "stream_options": {"include_usage": True},
        "ignore_eos": True,
    }


def test_chunks_that_come_together() -> None:
    stream, token = Stream(12, bytes.decode), b'data: {"choices": [{"text": " a"}]}\n\n'
    for at in (1.0, 1.02, 1.04):
        stream.feed(4 * token, at)
    assert (stream.chunks, stream.bursts) == (12, 3)
    assert (stream.first, stream.last) == (1.0, 1.04)


def test_tiny_pieces_of_a_long_line_are_put_together_once() -> None:
    stream, begun = Stream(12, bytes.decode), time.process_time()
    for _ in range(1_000_000):
        stream.feed(b"x", 1.0)
    assert time.process_time() - begun < 20  # with every piece joined anew, it takes minutes
    assert stream.rest == 1_000_000 * b"x"
    with pytest.raises(Broken, match="a line of more than 4,000,000 bytes"):
        stream.feed(3_000_001 * b"x", 1.0)


def test_an_answer_that_comes_at_once_has_no_time_between_tokens() -> None:
    whole = Answered(0.0, 1.0, 1.001, 8, 3, None, 8, 1, 1)
    assert whole.itl_s is None
    assert replace(whole, n_chunks=8, n_bursts=8, last_token=8.0).itl_s == 1


def test_events_in_pieces_and_chat() -> None:
    async def behave(asked: Asked) -> None:
        await asked.begin()
        for delta in ({"role": "assistant", "content": ""}, {"reasoning_content": "hm"}, {"content": "é"}):
            data = b"data:" + json.dumps({"choices": [{"delta": delta}]}, ensure_ascii=False).encode() + b"\r\n\r\n"
            for at in range(0, len(data), 7):
                await asked.send(data[at : at + 7])
        await asked.finish(2)

    with odd_server(behave) as server:
        answer = ask(server.url, api="chat")
    assert isinstance(answer, Answered)
    assert answer.n_chunks == 2
    assert server.asked[0].path == "/v1/chat/completions"


async def _refuse(asked: Asked) -> None:
    await asked.plain(404, {"error": {"message": "no such model"}})


async def _break_down(asked: Asked) -> None:
    await asked.plain(503, {"detail": "loading"})


async def _limit(asked: Asked) -> None:
    await asked.plain(429, "slow down", Retry_After="7")


async def _redirect(asked: Asked) -> None:
    await asked.plain(307, Location="http://u:secret@elsewhere.example/v1/completions?key=secret")


async def _cut(asked: Asked) -> None:
    await asked.begin()
    await asked.token()
    asked.cut()


async def _end_early(asked: Asked) -> None:
    await asked.begin()
    await asked.token()
    await asked.end()


async def _error_in_stream(asked: Asked) -> None:
    await asked.begin()
    await asked.token()
    await asked.event({"error": {"message": "out of memory"}})


async def _no_stream(asked: Asked) -> None:
    await asked.plain(200, {"error": "overloaded"})


async def _no_json(asked: Asked) -> None:
    await asked.begin()
    await asked.send(b"data: <html>\n\n")


async def _page(asked: Asked) -> None:
    await asked.plain(200, "<html>\n<body>welcome</body>\n</html>\n")


async def _nothing(asked: Asked) -> None:
    await asked.begin()
    await asked.finish(0)


async def _too_long(asked: Asked) -> None:
    await asked.answer(asked.max_tokens + 5)


async def _endless(asked: Asked) -> None:
    await asked.begin()
    while not asked.writer.is_closing():
        await asked.token()


async def _silent_usage(asked: Asked) -> None:
    await asked.begin()
    await asked.token()
    await asked.finish(None)


async def _no_text(asked: Asked) -> None:
    await asked.begin()
    await asyncio.sleep(0.1)
    await asked.finish(asked.max_tokens)


def _of_usage(**usage: object):
    async def behave(asked: Asked) -> None:
        await asked.begin()
        await asked.token()
        await asked.event({"choices": [{"index": 0, "text": "", "finish_reason": "length"}]})
        await asked.event({"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 4, **usage}})
        await asked.end()

    return behave


async def _hang(asked: Asked) -> None:
    await asyncio.sleep(600)


async def _stall(asked: Asked) -> None:
    await asked.begin()
    await asked.token()
    await asyncio.sleep(600)


@pytest.mark.parametrize(
    "behave, kind, said",
    [
        (_refuse, "refused", "404: no such model"),
        (_break_down, "server error", "503: loading"),
        (_limit, "rate limited", "429: slow down"),
        (_redirect, "redirected", "http://elsewhere.example/v1/completions"),
        (_cut, "cut off", ""),
        (_end_early, "cut off", "in the middle"),
        (_error_in_stream, "error in the stream", "out of memory"),
        (_no_stream, "not a stream", "overloaded"),
        (_no_json, "error in the stream", "<html>"),
        (_page, "not a stream", "welcome"),
        (_nothing, "empty answer", "no token"),
        (_too_long, "longer than asked", "9 tokens, 4 were asked for"),
        (_endless, "longer than asked", "4 tokens were asked for"),
        (_silent_usage, "no usage", "reports no usage"),
        (_of_usage(completion_tokens=-3), "wrong usage", "its usage cannot be: completion_tokens -3"),
        (_of_usage(completion_tokens="4"), "wrong usage", 'completion_tokens "4"'),
        (_of_usage(completion_tokens=2.5), "wrong usage", "completion_tokens 2.5"),
        (_of_usage(prompt_tokens=0), "wrong usage", "prompt_tokens 0"),
        (
            _of_usage(prompt_tokens_details={"cached_tokens": 5}),
            "wrong usage",
            "cached_tokens 5 of prompt_tokens 3",
        ),
        (_of_usage(prompt_cache_hit_tokens=-1), "wrong usage", "cached_tokens -1"),
        (_hang, "timed out", "0.4 s"),
    ],
)
def test_failure(behave, kind: str, said: str) -> None:
    with odd_server(behave) as server:
        failed = ask(server.url, timeout_s=0.4 if behave is _hang else 120.0)
    assert isinstance(failed, Failed), failed
    assert failed.kind == kind, failed
    assert said in failed.text
    assert "secret" not in failed.text


def test_tokens_without_any_text_have_no_times() -> None:
    """But for those of a character that is not whole yet."""
    with odd_server(_no_text) as server:
        failed = ask(server.url, 5)
        answer = ask(server.url, 2)
    assert isinstance(failed, Failed)
    assert failed.kind == "empty answer"
    assert "no text came for the 5 tokens that the server counts" in failed.text
    assert isinstance(answer, Answered)
    assert answer.ttft_s >= 0.1


@pytest.mark.parametrize("details", [None, {}, {"cached_tokens": None}, {"cached_tokens": 3}])
def test_usage_that_can_be(details: object) -> None:
    with odd_server(_of_usage(prompt_tokens_details=details)) as server:
        answer = ask(server.url)
    assert isinstance(answer, Answered)
    assert (answer.n_in, answer.n_out) == (3, 4)
    assert answer.n_cached == (3 if details == {"cached_tokens": 3} else None)


def test_usage_that_cannot_be_is_left_aside_where_chunks_are_counted() -> None:
    with odd_server(_of_usage(completion_tokens=-3)) as server:
        answer = ask(server.url, count_chunks=True)
    assert isinstance(answer, Answered)
    assert (answer.n_in, answer.n_out) == (None, 1)


def test_stall_is_no_timeout() -> None:
    async def behave(asked: Asked) -> None:
        await asked.begin()
        await asyncio.sleep(0.3)  # longer than a stall may last, but before the first token
        await asked.token()
        await asyncio.sleep(600)

    with odd_server(behave) as server:
        failed = ask(server.url, stall_s=0.2, timeout_s=120)
    assert isinstance(failed, Failed)
    assert failed.kind == "stalled"
    assert 0.45 < failed.ended - failed.started < 120


def test_comments_are_no_progress() -> None:
    async def behave(asked: Asked) -> None:
        await asked.begin()
        await asked.token()
        while not asked.writer.is_closing():
            await asyncio.sleep(0.05)
            await asked.send(b": ping\n\n")

    with odd_server(behave) as server:
        failed = ask(server.url, stall_s=0.2, timeout_s=10)
    assert isinstance(failed, Failed)
    assert failed.kind == "stalled"  # and not timed out


def test_nobody_there() -> None:
    failed = ask(f"http://127.0.0.1:{free_port()}")
    assert isinstance(failed, Failed)
    assert failed.kind == "not reached"


def test_chunks_for_tokens_when_asked_for() -> None:
    with odd_server(_silent_usage) as server:
        answer = ask(server.url, count_chunks=True)
    assert isinstance(answer, Answered)
    assert (answer.n_in, answer.n_out) == (None, 1)


def test_no_proxy_and_no_show_of_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("ALL_PROXY", f"http://127.0.0.1:{free_port()}")
    with odd_server(lambda asked: asked.answer()) as server:
        answer = ask(server.url, headers={"Authorization": "Bearer secret"})
        assert isinstance(answer, Answered)
        assert server.asked[0].headers["authorization"] == "Bearer secret"
    assert "secret" not in repr(Target("b", "m", headers={"Authorization": "secret"}))


def test_a_connection_that_was_closed_while_it_waited_is_no_failure() -> None:
    async def behave(asked: Asked) -> None:
        # The second request on a connection finds it closed.
        if getattr(asked.writer, "was_used", False):
            asked.cut()
            return
        asked.writer.was_used = True  # type: ignore[attr-defined]
        await asked.answer()

    with odd_server(behave) as server:
        answers, budget = _twice(server.url)
    assert all(isinstance(answer, Answered) for answer in answers)
    assert len(server.asked) == budget.sent == 3
    assert budget.again == 1


def test_a_connection_that_broke_over_a_request_is_a_failure() -> None:
    async def behave(asked: Asked) -> None:
        if asked.number == 1:
            await asyncio.sleep(4 * STALE_SECONDS)
            asked.cut()
            return
        await asked.answer()

    with odd_server(behave) as server:
        (_, failed), budget = _twice(server.url)
    assert isinstance(failed, Failed)
    assert failed.kind == "cut off"
    assert len(server.asked) == budget.sent == 2


def _twice(url: str) -> tuple[list[Answered | Failed | None], Budget]:
    """Two requests, of which the second uses the connection of the first."""

    async def ask_twice() -> tuple[list[Answered | Failed | None], Budget]:
        budget = Budget(10)
        async with Client(Target(base_of(url), "m")) as client:
            return [await ask_patiently(client.ask, budget, "a", 2) for _ in range(2)], budget

    return asyncio.run(ask_twice())


def test_the_first_request_is_sent_again_where_its_connection_was_closed() -> None:
    async def behave(asked: Asked) -> None:
        # The list of models came over that connection.
        if asked.number == 0:
            asked.cut()
            return
        await asked.answer()

    with odd_server(behave) as server:
        _, _, sent = _learn(server.url)
    assert sent == len(server.asked) == 2


def _patiently(url: str, limit: int = 10) -> tuple[Answered | Failed | None, Budget]:
    async def once() -> tuple[Answered | Failed | None, Budget]:
        budget = Budget(limit)
        async with Client(Target(base_of(url), "m")) as client:
            return await ask_patiently(client.ask, budget, "a b", 2), budget

    return asyncio.run(once())


def test_waits_once_where_it_is_told_to() -> None:
    async def behave(asked: Asked) -> None:
        await (asked.plain(429, "", Retry_After="1") if asked.number == 0 else asked.answer())

    with odd_server(behave) as server:
        begun = time.monotonic()
        answer, budget = _patiently(server.url)
        assert time.monotonic() - begun >= 1
    assert isinstance(answer, Answered)
    assert answer.duration_s < 1  # the wait is no part of it
    assert (budget.sent, budget.waits) == (2, 1)


@pytest.mark.parametrize("after, sent", [("0", 2), ("100000", 1), ("soon", 1), ("-5", 1)])
def test_does_not_wait_twice_or_for_long(after: str, sent: int) -> None:
    with odd_server(lambda asked: asked.plain(429, "", Retry_After=after)) as server:
        failed, _ = _patiently(server.url)
    assert isinstance(failed, Failed)
    assert failed.kind == "rate limited"
    assert len(server.asked) == sent


def _learn(url: str, api="completions", **options):
    async def once():
        async with Client(Target(base_of(url), "m", api), **options) as client:
            models = await client.models()
            _, remarks, sent = await learn(client, "a b", lists_models=bool(models))
            return client.dialect, remarks, sent

    return asyncio.run(once())


def test_learns_what_a_server_does_not_take() -> None:
    async def behave(asked: Asked) -> None:
        if "ignore_eos" in asked.body or "max_tokens" in asked.body:
            await asked.plain(400, {"error": {"message": "unknown field"}})
        else:
            await asked.answer()

    with odd_server(behave) as server:
        dialect, remarks, sent = _learn(server.url, "chat")
    assert not dialect.ignore_eos
    assert dialect.limit == "max_completion_tokens"
    assert len(remarks) == 2
    assert sent == 3


@pytest.mark.parametrize(
    "behave, hint",
    [
        (lambda asked: asked.plain(401, "who?"), "--api-key-variable"),
        (_refuse, "--api chat"),
        (_redirect, "elsewhere.example"),
        (_silent_usage, "--count-chunks"),
        (_endless, "ignores max_tokens"),
        (_of_usage(prompt_tokens=-1), "--count-chunks"),
        (_limit, "a lower --concurrency"),
        (_hang, "--timeout"),
        (_stall, "--stall-seconds"),
        (lambda asked: asked.plain(400, "no"), "400: no"),
    ],
)
def test_says_why_a_server_cannot_be_measured(behave, hint: str) -> None:
    times = {_hang: {"timeout_s": 0.4}, _stall: {"stall_s": 0.2}}.get(behave, {})
    with odd_server(behave) as server, pytest.raises(EndpointProblem) as caught:
        _learn(server.url, **times)
    assert hint in str(caught.value)


HTML = "<!DOCTYPE HTML>\n<html><body>Unsupported method</body></html>"


@pytest.mark.parametrize(
    "behave, pages, is_base",
    [
        (lambda asked: asked.plain(404, "not found"), {}, True),
        (lambda asked: asked.plain(501, HTML), {}, True),
        (lambda asked: asked.plain(200, HTML), {}, True),
        (_refuse, None, False),  # it lists models, so that only the name can be wrong
        (lambda asked: asked.plain(502, HTML), {}, False),  # a proxy before a server that is down
        (lambda asked: asked.plain(401, HTML), {}, False),
    ],
)
def test_a_server_that_is_no_inference_server(behave, pages, is_base: bool) -> None:
    with odd_server(behave, pages) as server, pytest.raises(EndpointProblem) as caught:
        _learn(server.url)
    assert ("the base URL of an inference server, such as http://host:8000/v1?" in caught.value.hint) is is_base


def _of_client(url: str, ask):
    async def once():
        async with Client(Target(base_of(url), "m"), timeout_s=60) as client:
            return await ask(client)

    return asyncio.run(once())


@pytest.mark.parametrize(
    "page, models",
    [
        ({"data": [{"id": "a", "owned_by": "vllm"}, {"id": 3}, "b"]}, [Served("a", (), "vllm")]),
        ({"data": [{"id": "a", "aliases": ["b", 4], "owned_by": None}]}, [Served("a", ("b",))]),
        ({"data": None}, []),
        (["a"], []),
        ("no list", []),
    ],
)
def test_models_of_a_server(page, models: list[Served]) -> None:
    with odd_server(lambda asked: asked.answer(), {"/v1/models": page}) as server:
        assert _of_client(server.url, lambda client: client.models()) == models


def test_names_of_a_model() -> None:
    served = Served("llama3:latest", ("other",))
    assert all(served.is_called(name) for name in ("llama3:latest", "llama3", "other"))
    assert not served.is_called("llama")


@pytest.mark.parametrize(
    "engine, pages, version",
    [
        ("vllm", {"/version": {"version": "0.11.2"}}, "0.11.2"),
        ("vllm-2024", {"/version": {"version": "0.5.0"}}, "0.5.0"),
        ("sglang", {"/server_info": {"version": "0.5.9", "api_key": "hidden"}}, "0.5.9"),
        ("sglang", {"/get_server_info": {"version": "0.4.1"}}, "0.4.1"),
        ("llama.cpp-server", {"/props": {"build_info": "b6123-abcdef"}}, "b6123-abcdef"),
        ("llama.cpp-server", {"/props": {"build_info": "b0-unknown"}}, None),
        ("vllm", {"/version": {"version": 3}}, None),
        ("vllm", {"/version": "<html>"}, None),
        ("vllm", {}, None),
        ("tensorrt-llm", {"/version": {"version": "1"}}, None),
    ],
)
def test_version_of_a_server(engine: str, pages, version: str | None) -> None:
    with odd_server(lambda asked: asked.answer(), pages) as server:
        assert _of_client(server.url, lambda client: client.version(engine)) == version
        assert not server.asked


LIST = {"data": [{"id": "a"}]}


def _response(body: bytes, *fields: str) -> bytes:
    return "\r\n".join(["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *fields, "", ""]).encode() + body


@pytest.mark.parametrize(
    "body, fields, models",
    [
        (json.dumps(LIST).encode(), [], [Served("a")]),
        (json.dumps(LIST).encode(), ["Content-Encoding: identity"], [Served("a")]),
        (gzip.compress(json.dumps(LIST).encode()), ["Content-Encoding: gzip"], []),
        (json.dumps({**LIST, "more": 2**20 * "x"}).encode(), [], []),
    ],
)
def test_pages_are_read_with_a_bound(body: bytes, fields: list[str], models: list[Served]) -> None:
    with odd_server(lambda asked: asked.answer(), {"/v1/models": _response(body, *fields)}) as server:
        assert _of_client(server.url, lambda client: client.models()) == models


def test_an_encoded_stream_is_refused() -> None:
    with odd_server(lambda asked: asked.plain(200, "x", Content_Encoding="gzip")) as server:
        failed = ask(server.url, headers={"Accept-Encoding": "gzip"})
        assert server.asked[0].headers["accept-encoding"] == "identity"
    assert isinstance(failed, Failed)
    assert failed.kind == "not a stream"
    assert "'gzip', which was not asked for" in failed.text


KEY, OTHER = "sk-hidden-123", 'ro"ute-hidden'


async def _echo_in_stream(asked: Asked) -> None:
    await asked.begin()
    await asked.event({"error": {"message": f"key {KEY} of {OTHER}"}})


@pytest.mark.parametrize(
    "behave",
    [
        lambda asked: asked.plain(401, {"error": {"message": f"bad token {asked.headers['authorization']}"}}),
        lambda asked: asked.plain(500, f"{290 * 'x'} {KEY}"),
        lambda asked: asked.plain(400, {"got": [KEY, OTHER]}),
        lambda asked: asked.plain(200, f"welcome, {KEY[:5]}\x00{KEY[5:]}"),
        lambda asked: asked.plain(307, Location=f"http://elsewhere.example/{KEY}"),
        _echo_in_stream,
    ],
)
def test_keys_that_a_server_repeats_are_not_shown(behave) -> None:
    async def once(url: str) -> Answered | Failed:
        headers = {"Authorization": f"Bearer {KEY}", "X-Route": OTHER}
        async with Client(Target(base_of(url), "m", headers=headers, secrets=(OTHER,))) as client:
            return await client.ask("a", 2)

    with odd_server(behave) as server:
        failed = asyncio.run(once(server.url))
    assert isinstance(failed, Failed)
    assert "hidden" not in failed.text
    assert "***" in failed.text


def test_a_version_does_not_show_a_key() -> None:
    async def once(url: str) -> str | None:
        async with Client(Target(base_of(url), "m", headers={"X-Api-Key": KEY})) as client:
            return await client.version("vllm")

    with odd_server(lambda asked: asked.answer(), {"/version": {"version": f"0.1 {KEY}"}}) as server:
        assert asyncio.run(once(server.url)) == "0.1 ***"
