"""Sweeps against a real server with a tiny model, and against servers that misbehave."""

from __future__ import annotations

import asyncio
import csv
import json
import math
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.measure.server_here import Asked, Engine, RealServer, odd_server, real_server
from tests.measure.tiny_model import write_tiny_model

from inferprint import Catalogue
from inferprint.calibration.observations import read_files
from inferprint.cli.commands import app
from inferprint.errors import DoesNotFit, EndpointProblem, FileProblem, InvalidInput, MeterProblem
from inferprint.measure.answers import Answered
from inferprint.measure.client import Client
from inferprint.measure.endpoint import Summary, Sweep
from inferprint.measure.load import Steady
from inferprint.measure.meters.base import Reading
from inferprint.measure.meters.wall_csv import WallMeter
from inferprint.measure.meters.windows import Window
from inferprint.measure.observations import ObservationWriter, Row
from inferprint.measure.outcomes import Outcome, Watch
from inferprint.measure.plan import Point, SweepPlan
from inferprint.measure.rows import Subject, energy_of, point_row
from inferprint.measure.target import Target, base_of
from inferprint.measure.verdicts import Waiting

SUBJECT = Subject("llama-3.1-8b", "h100_80gb_sxm", 1, engine="llama.cpp")


def plan_of(**changes) -> SweepPlan:
    """A small plan."""
    usual = {
        "concurrencies": (1,),
        "prompt_tokens": (20,),
        "answer_tokens": (4,),
        "cached_shares": (0.0,),
        "max_seconds": 600.0,
    }
    return SweepPlan(**{**usual, **changes})


class Run:
    """A sweep that ran: what it says, what it told, and what is in its file."""

    def __init__(self, url: str, path: Path, plan: SweepPlan, *, meter=None, done=None, **options) -> None:
        self.said: list[str] = []
        self.progress: list[tuple[int, int | None]] = []
        watch = Watch(self.said.append, lambda *now: self.progress.append(now), done or (lambda _: None))
        subject = options.pop("subject", SUBJECT)
        client = Client(Target(base_of(url), options.pop("model", "")), **options)
        with ObservationWriter(path) as writer:
            sweep = Sweep(client, plan, subject, writer, meter=meter, watch=watch, idle_seconds=0.5)
            self.summary: Summary = sweep.run()
        self.table = list(csv.DictReader(path.read_text().splitlines())) if path.exists() else []

    @property
    def rows(self) -> list[Row]:
        return self.summary.rows

    @property
    def row(self) -> Row:
        (row,) = self.rows
        return row

    @property
    def reasons(self) -> list[str]:
        return [outcome.reason for outcome in self.summary.outcomes if outcome.row is None]


# --- a real server ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("gguf", reason="needs gguf, to make a model")
    pytest.importorskip("xllamacpp", reason="needs xllamacpp, a llama.cpp server")
    path = tmp_path_factory.mktemp("model") / "tiny.gguf"
    write_tiny_model(path)
    return path


@pytest.fixture(scope="module")
def real(model: Path) -> Iterator[RealServer]:
    with real_server(model) as server:
        yield server


def test_rows_of_a_real_server(real: RealServer, tmp_path: Path) -> None:
    before = real.metric("llamacpp:tokens_predicted_total")
    plan = plan_of(concurrencies=(1, 4), prompt_tokens=(100, 400), answer_tokens=(1, 24), cached_shares=(0.0, 0.75))
    run = Run(real.url, tmp_path / "own.csv", plan)
    assert not run.reasons
    assert not run.summary.stopped
    assert len(run.rows) == len(plan.points()) == len(run.table) == 12
    for outcome in run.summary.outcomes:
        point, row = outcome.point, outcome.row
        assert row is not None
        assert row.n_in_tokens == pytest.approx(point.prompt_tokens, rel=0.03)
        assert row.n_out_tokens == point.answer_tokens
        assert row.n_cached_tokens is not None
        assert row.n_cached_tokens == pytest.approx(point.cached_share * point.prompt_tokens, abs=10)
        assert row.ttft_s is not None
        assert row.duration_s is not None
        assert 0 < row.ttft_s <= row.duration_s
        mode = "prefill_only" if point.answer_tokens == 1 else "single_stream" if point.concurrency == 1 else None
        assert row.serving_mode == (mode or "aggregated")
    # Nothing that the server made is missing from what was asked for, and no request failed.
    assert not run.summary.failures
    assert run.summary.sent - run.summary.sent_again == run.summary.answered <= plan.usual_requests
    made = real.metric("llamacpp:tokens_predicted_total") - before
    assert made >= sum((row.n_out_tokens or 0) * (row.n_repeats or 0) for row in run.rows)
    found = read_files([tmp_path / "own.csv"], Catalogue.packaged(), fit_unknown=True)
    assert not found.refused
    assert {item.quantity for item in found.kept} == {"single_request_duration", "served_time_per_token"}


def test_chat_of_a_real_server(real: RealServer, tmp_path: Path) -> None:
    client = Client(Target(base_of(real.url), "", "chat"))
    with ObservationWriter(tmp_path / "own.csv") as writer:
        summary = Sweep(client, plan_of(prompt_tokens=(200,)), SUBJECT, writer).run()
    (row,) = summary.rows
    assert row.n_in_tokens == pytest.approx(200, rel=0.03)  # with what the template adds


def test_a_prompt_that_does_not_fit_is_skipped(real: RealServer, tmp_path: Path) -> None:
    plan = plan_of(prompt_tokens=(30, 9000), answer_tokens=(2, 3, 4, 5), requests_per_point=2)
    run = Run(real.url, tmp_path / "own.csv", plan)
    assert len(run.rows) == 4
    assert len(run.reasons) == 4
    assert [reason.partition(": 400: ")[0] for reason in run.reasons] == [
        f"the server refuses 9000 + {answer} tokens" for answer in (2, 3, 4, 5)
    ]
    (hint,) = [note for note in run.said if "--prompt-tokens" in note]
    assert "refuses 4 of the lengths, 9000 + 2 tokens the shortest" in hint
    assert "--answer-tokens" in hint
    assert not run.summary.stopped


def test_a_server_that_dies_leaves_its_rows(model: Path, tmp_path: Path) -> None:
    with real_server(model) as server:

        def kill(outcome: Outcome[Point]) -> None:
            if outcome.point.answer_tokens == 3:
                server.process.send_signal(signal.SIGKILL)
                server.process.wait()

        plan = plan_of(answer_tokens=(2, 3, 4, 5, 6, 7, 8), requests_per_point=4)
        run = Run(server.url, tmp_path / "own.csv", plan, done=kill)
    assert len(run.table) == 2
    assert run.summary.stopped == "3 points in a row gave no row"
    assert all("not reached" in reason for reason in run.reasons)
    assert len(run.summary.not_measured) == 2


def test_a_server_that_dies_under_load_gives_no_row_for_that(model: Path, tmp_path: Path) -> None:
    with real_server(model) as server:

        def kill_under_load() -> None:
            while server.metric("llamacpp:requests_processing") < 4:
                time.sleep(0.02)
            server.process.kill()

        killer = threading.Thread(target=kill_under_load)
        killer.start()
        plan = plan_of(concurrencies=(4,), answer_tokens=(400,), requests_per_point=500)
        run = Run(server.url, tmp_path / "own.csv", plan)
        killer.join()
    # What was under way is cut off, but for requests of which the server had not begun the answer; the next ones fail.
    assert set(run.summary.failures) == {"cut off", "not reached"}
    assert run.summary.failures["not reached"] >= 4
    # What was answered before may stand, with what failed beside it, but no failure is in it.
    for row in run.rows:
        assert row.n_out_tokens == 400
        assert "failed" in (row.note or "")


# --- times and counts that are known ----------------------------------------------------------------------------------


def test_times_and_throughput_are_those_of_the_server(tmp_path: Path) -> None:
    first, each, tokens, workers = 0.2, 0.1, 5, 4
    with odd_server(lambda asked: asked.answer(first_s=first, each_s=each)) as server:
        run = Run(server.url, tmp_path / "own.csv", plan_of(concurrencies=(workers,), answer_tokens=(tokens,)))
    row = run.row
    # The server is late by what this machine has to do besides, and never early; a late first token shortens the rest.
    assert row.ttft_s is not None
    assert row.itl_ms is not None
    assert row.duration_s is not None
    assert row.ttft_s >= first
    assert row.duration_s >= first + (tokens - 1) * each
    assert row.ttft_s < 0.6 * row.duration_s
    assert row.duration_s == pytest.approx(row.ttft_s + (tokens - 1) * row.itl_ms / 1e3)
    assert row.system_output_tokens_per_s == pytest.approx(workers * tokens / row.duration_s, rel=0.25)
    assert row.concurrency == pytest.approx(workers, rel=0.25)
    assert row.n_repeats == 16


def test_requests_that_wait_for_the_server_give_no_row(tmp_path: Path) -> None:
    """Two requests at a time: what is in flight beyond them is no batch, and points after that are not measured."""
    engine = Engine(0.02, slots=2)
    with odd_server(engine.behave) as server:
        plan = plan_of(concurrencies=(1, 2, 6, 9, 12), answer_tokens=(4, 12, 16), requests_per_point=8)
        run = Run(server.url, tmp_path / "own.csv", plan)
        asked = len(server.asked)
    # Four tokens tell nothing themselves, and come before those that do.
    measured = [(1, 4), (1, 12), (1, 16), (2, 4), (2, 12), (2, 16), (6, 4)]
    assert [(o.point.concurrency, o.point.answer_tokens) for o in run.summary.outcomes if o.row] == measured
    assert set(run.reasons) == {"the server answers about 2 at a time: the others wait"}
    assert len(run.reasons) == 8
    assert not run.summary.stopped
    assert asked == run.summary.sent <= 2 + sum(plan.sent(point) for point in plan.points()[:9])
    (two,) = [row for row in run.rows if row.n_out_tokens == 16 and row.serving_mode == "aggregated"]
    assert two.concurrency == pytest.approx(2, rel=0.2)
    assert two.system_output_tokens_per_s == pytest.approx(2 * 16 / (two.duration_s or 0), rel=0.2)


def test_a_point_whose_requests_wait_says_so_where_there_is_no_smaller_one(tmp_path: Path) -> None:
    engine = Engine(0.02, slots=2)
    with odd_server(engine.behave) as server:
        row = Run(server.url, tmp_path / "own.csv", plan_of(concurrencies=(6,), answer_tokens=(12,))).row
    assert "about 2 of them were answered at a time" in (row.note or "")


@pytest.mark.parametrize(
    "prompt_s, prompts",
    [
        (0.0, 1),  # answers alone
        (0.1, 1),  # prompts hold up the answers of the others
        (0.1, 100),  # all prompts that wait, and then all answers
    ],
)
def test_a_server_that_answers_all_together_has_all_its_rows(tmp_path: Path, prompt_s: float, prompts: int) -> None:
    engine = Engine(0.002, prompt_s=prompt_s, prompts=prompts)
    with odd_server(engine.behave) as server:
        plan = plan_of(concurrencies=(1, 2, 4), answer_tokens=(8,), requests_per_point=12)
        run = Run(server.url, tmp_path / "own.csv", plan)
    assert not run.reasons
    assert len(run.rows) == 3
    assert not any("at a time: the others" in (row.note or "") for row in run.rows)


@pytest.mark.parametrize("at_once, waits", [(2, False), (1, True)])
def test_prompts_together_and_then_answers_together_are_no_queue(at_once: int, waits: bool) -> None:
    """Prompts of 0.9 s and answers of 0.08 s: a second one makes all wait for its prompt, and adds few answers."""

    def window(first_s: float, in_flight: float, at_once: int) -> Steady:
        answers = tuple(Answered(0.0, first_s, first_s + 0.08, 9, 100, 0, 9, 9, 9) for _ in range(9))
        return Steady(0.0, 10.0, answers, in_flight, 0.0, at_once, 0.1)

    waiting = Waiting()
    assert not waiting.judge(Point(1, 100, 9), window(0.9, 1.0, 1))
    assert bool(waiting.judge(Point(2, 100, 9), window(1.8, 2.0, at_once))) is waits


def test_slots_of_a_real_server(real: RealServer, tmp_path: Path) -> None:
    plan = plan_of(concurrencies=(1, 4, 8, 12), prompt_tokens=(64,), answer_tokens=(96,), requests_per_point=32)
    run = Run(real.url, tmp_path / "own.csv", plan)
    assert [outcome.point.concurrency for outcome in run.summary.outcomes if outcome.row] == [1, 4]
    assert run.reasons == 2 * ["the server answers about 4 at a time: the others wait"]


def test_single_worker(tmp_path: Path) -> None:
    with odd_server(lambda asked: asked.answer(first_s=0.01)) as server:
        run = Run(server.url, tmp_path / "own.csv", plan_of())
    assert run.row.concurrency == 1
    assert run.row.system_output_tokens_per_s is None
    assert run.row.serving_mode == "single_stream"
    assert run.summary.served_model == "served"
    assert any("'served'" in text for text in run.said)
    assert server.asked[-1].body["model"] == "served"
    assert any("no meter" in text for text in run.said)
    assert run.progress[-1][0] == run.summary.sent == len(server.asked)


def test_prompts_share_nothing_unless_they_are_to(tmp_path: Path) -> None:
    with odd_server(CachedPrompts(20).behave) as server:
        run = Run(server.url, tmp_path / "own.csv", plan_of(prompt_tokens=(40,), cached_shares=(0.0, 0.5)))
    prompts = [asked.body["prompt"].split() for asked in server.asked]
    assert len({tuple(words) for words in prompts}) == len(prompts)
    counted = [words for words in prompts if len(words) == 40]
    prefix = counted[-1][:20]
    assert sum(words[:20] == prefix for words in counted) == 8 + 1 + 1  # counted, the first, and the one before
    fresh_ones = [words for words in counted if words[:20] != prefix]
    assert len({tuple(words[:4]) for words in fresh_ones}) == len(fresh_ones)
    # The server says nothing of its cache, but the time to the first token does.
    fresh, cached = run.rows
    assert fresh.n_cached_tokens is None
    assert cached.n_cached_tokens == 20
    assert cached.note is not None
    assert "does not report cached tokens" in cached.note
    assert re.search(r"as the time shows \(0\.1\S* s to the first token, 0\.2\S* s for a fresh prompt\)", cached.note)


class CachedPrompts:
    """A server that needs 5 ms for a word, and none for the first words of a prompt that were seen before."""

    def __init__(self, words: int) -> None:
        self.words = words
        self.seen: set[tuple[str, ...]] = set()

    async def behave(self, asked: Asked) -> None:
        first = tuple(asked.body["prompt"].split()[: self.words])
        cached = self.words if self.words and first in self.seen else 0
        self.seen.add(first)
        await asked.answer(first_s=0.005 * (asked.words - cached), each_s=0.005)


def test_a_cache_that_is_neither_reported_nor_seen_gives_no_rows(tmp_path: Path) -> None:
    plan = plan_of(concurrencies=(1, 2), prompt_tokens=(40,), answer_tokens=(2, 3), cached_shares=(0.0, 0.5, 0.75))
    with odd_server(CachedPrompts(0).behave) as server:
        run = Run(server.url, tmp_path / "own.csv", plan)
    assert [outcome.point.cached_share for outcome in run.summary.outcomes if outcome.row] == [0, 0, 0, 0]
    assert len(run.reasons) == 8
    assert all("does not report cached tokens: 0.2" in reason for reason in run.reasons)
    assert all("show no cache" in reason for reason in run.reasons)
    assert not run.summary.stopped
    # Of each share one point was measured.
    assert run.summary.sent <= 2 + sum(plan.sent(point) for point in plan.points() if not point.cached_share) + 2 * 10


def test_a_cache_without_fresh_prompts_beside_it_cannot_be_told(tmp_path: Path) -> None:
    with odd_server(CachedPrompts(20).behave) as server:
        run = Run(server.url, tmp_path / "own.csv", plan_of(prompt_tokens=(40,), cached_shares=(0.5,)))
    assert not run.rows
    assert "--cached-share 0" in run.reasons[0]
    assert "cannot be told" in run.reasons[0]


def test_a_cache_that_is_reported_only_where_it_is_used(tmp_path: Path) -> None:
    async def behave(asked: Asked) -> None:
        await asked.begin()
        for _ in range(asked.max_tokens):
            await asked.token()
        await asked.finish(asked.max_tokens, cached=20 if asked.number % 2 else None)

    with odd_server(behave) as server:
        row = Run(server.url, tmp_path / "own.csv", plan_of(prompt_tokens=(40,), cached_shares=(0.5,))).row
    assert row.n_cached_tokens == 10
    assert "10 prompt tokens came from a cache, 20 were to" in (row.note or "")


def test_other_counts_than_asked_are_said_once(tmp_path: Path) -> None:
    async def behave(asked: Asked) -> None:
        await asked.begin()
        for _ in range(asked.max_tokens):
            await asked.token()
        # As with a template around the prompt, whose beginning is in the cache.
        await asked.finish(asked.max_tokens, n_in=asked.words + 50, cached=3)

    with odd_server(behave) as server:
        run = Run(server.url, tmp_path / "own.csv", plan_of(answer_tokens=(3, 4)))
    assert [(row.n_in_tokens, row.n_cached_tokens) for row in run.rows] == [(51, 3), (51, 3)]
    told = [note for note in run.said if "rows hold what the server counts" in note]
    assert len(told) == 2
    assert "a prompt of 20 tokens has 51 at the server" in told[0]
    assert "3 tokens came from a cache where none were to" in told[1]


def test_counts_as_asked_are_not_said(tmp_path: Path) -> None:
    async def behave(asked: Asked) -> None:
        await asked.begin()
        for _ in range(asked.max_tokens):
            await asked.token()
        await asked.finish(asked.max_tokens, cached=asked.words // 2)

    with odd_server(behave) as server:
        run = Run(server.url, tmp_path / "own.csv", plan_of(prompt_tokens=(40,), cached_shares=(0.5,)))
    assert run.row.n_cached_tokens == 20
    assert not any("what the server counts" in note for note in run.said)


def test_a_server_without_a_cache_is_told_of(tmp_path: Path) -> None:
    async def behave(asked: Asked) -> None:
        await asked.begin()
        for _ in range(asked.max_tokens):
            await asked.token()
        await asked.finish(asked.max_tokens, cached=0)

    with odd_server(behave) as server:
        row = Run(server.url, tmp_path / "own.csv", plan_of(prompt_tokens=(40,), cached_shares=(0.5,))).row
    assert row.n_cached_tokens == 0
    assert row.note is not None
    assert "0 prompt tokens came from a cache, 20 were to" in row.note


# --- servers that misbehave -------------------------------------------------------------------------------------------


def test_failed_requests_are_no_fast_ones(tmp_path: Path) -> None:
    async def behave(asked: Asked) -> None:
        if asked.number % 3 == 2:
            await asked.plain(500, {"error": "broken"})  # at once
        else:
            await asked.answer(first_s=0.3)

    with odd_server(behave) as server:
        run = Run(server.url, tmp_path / "own.csv", plan_of(requests_per_point=6))
    row = run.row
    assert row.n_repeats == 6
    assert row.ttft_s is not None
    assert row.ttft_s >= 0.3
    assert run.summary.failures["server error"] >= 2
    assert run.summary.answered + sum(run.summary.failures.values()) == run.summary.sent == len(server.asked)
    assert row.note is not None
    assert re.search(r"[23] of \d+ requests failed: [23] server error", row.note)


def test_failed_requests_are_not_in_flight(tmp_path: Path) -> None:
    """As many are in flight as are answered, whatever failed beside them or was told to wait."""

    async def behave(asked: Asked) -> None:
        if asked.number % 4 == 3:
            await asked.plain(500, "broken")  # at once, after which a worker pauses
        elif asked.number % 11 == 10:
            await asked.plain(429, "", Retry_After="1")
        else:
            await asked.answer(first_s=0.5)

    with odd_server(behave) as server:
        plan = plan_of(concurrencies=(4,), answer_tokens=(2,), requests_per_point=24)
        run = Run(server.url, tmp_path / "own.csv", plan)
    row = run.row
    assert run.summary.told_to_wait
    assert row.concurrency is not None
    assert row.duration_s is not None
    assert row.concurrency < 3.6
    # So that the time of the server for a token is that of its answers alone.
    assert row.concurrency / (row.system_output_tokens_per_s or 0) == pytest.approx(row.duration_s / 2)


@pytest.mark.parametrize("failing_s", [0.2, 1.0])
def test_failed_requests_that_load_the_server_leave_no_row(tmp_path: Path, failing_s: float) -> None:
    async def behave(asked: Asked) -> None:
        if asked.number > 6 and asked.number % 5 in (1, 3):
            await asyncio.sleep(failing_s)
            await asked.plain(500, "broken")
        else:
            await asked.answer(first_s=0.2)

    with odd_server(behave) as server:
        run = Run(server.url, tmp_path / "own.csv", plan_of(concurrencies=(4,), requests_per_point=30))
    (reason,) = run.reasons
    share = re.match(r"(\d+)% of the requests in flight failed: ", reason)
    assert share is not None
    # Two of five fail, and are in flight for as long as they take.
    assert float(share[1]) == pytest.approx(100 * 2 * failing_s / (2 * failing_s + 3 * 0.2), rel=0.3)


def test_requests_that_broke_are_counted(tmp_path: Path) -> None:
    async def behave(asked: Asked) -> None:
        if asked.number > 4 and asked.number % 3 == 0:
            await asyncio.sleep(0.4)
            asked.cut()
        else:
            await asked.answer(first_s=0.02)

    with odd_server(behave) as server:
        run = Run(server.url, tmp_path / "own.csv", plan_of(requests_per_point=6))
    assert run.summary.failures["cut off"] >= 2
    assert len(server.asked) == run.summary.sent == run.summary.answered + run.summary.failures["cut off"]
    assert not run.rows


def test_a_point_that_mostly_fails_gives_no_row(tmp_path: Path) -> None:
    async def behave(asked: Asked) -> None:
        if asked.words == 30 and asked.number % 4:
            await asked.plain(503, "overloaded")
        else:
            await asked.answer()

    with odd_server(behave) as server:
        # The one that finds the length is to be answered.
        run = Run(server.url, tmp_path / "own.csv", plan_of(prompt_tokens=(20, 30), requests_per_point=7))
    assert len(run.rows) == 1
    assert "server error (503: overloaded)" in run.reasons[0]
    assert not run.summary.stopped


@pytest.mark.parametrize("fail", ["error", "cut", "stall"])
def test_three_points_without_a_row_are_enough(tmp_path: Path, fail: str) -> None:
    async def behave(asked: Asked) -> None:
        if asked.max_tokens <= 4:
            await asked.answer()
        elif fail == "error":
            await asked.begin()
            await asked.event({"error": {"message": "no memory"}})
            await asked.end()
        else:
            await asked.begin()
            await asked.token()
            if fail == "cut":
                asked.cut()
            else:
                await asyncio.sleep(60)

    kind = {"error": "error in the stream", "cut": "cut off", "stall": "stalled"}[fail]
    with odd_server(behave) as server:
        plan = plan_of(answer_tokens=(4, 5, 6, 7, 8), requests_per_point=5)
        run = Run(server.url, tmp_path / "own.csv", plan, stall_s=0.5 if fail == "stall" else 120.0)
    assert len(run.rows) == 1
    assert len(run.reasons) == 3
    assert all(f"3 of 3 requests failed: 3 x {kind}" in reason for reason in run.reasons)
    assert run.summary.stopped
    assert [point.answer_tokens for point in run.summary.not_measured] == [8]
    assert run.summary.failures[kind] == 9


def test_answers_longer_than_asked_give_no_row(tmp_path: Path) -> None:
    async def behave(asked: Asked) -> None:
        await asked.answer(max(asked.max_tokens, 30) if asked.max_tokens > 5 else None)

    with odd_server(behave) as server:
        run = Run(server.url, tmp_path / "own.csv", plan_of(answer_tokens=(4, 20)))
    assert [row.n_out_tokens for row in run.rows] == [4]
    assert "ignores max_tokens" in run.reasons[0]


def test_short_answers_are_kept_as_they_are(tmp_path: Path) -> None:
    async def behave(asked: Asked) -> None:
        await asked.answer(min(asked.max_tokens, 6 + asked.number % 2))

    with odd_server(behave) as server:
        run = Run(server.url, tmp_path / "own.csv", plan_of(answer_tokens=(6, 8, 20, 30)))
    assert [row.n_out_tokens for row in run.rows] == [6, 6.5, 6.5, 6.5]
    assert "8 of 8 answers ended before 20 tokens" in (run.rows[2].note or "")
    fewer, far_fewer = (note for note in run.said if "than asked" in note)
    assert "answers of 1 x (20 in, 8 out) have fewer tokens than asked, 6.5 in the mean, as 8 of 8 ended" in fewer
    assert "llama.cpp ends an answer where the context of its slot is full" in fewer
    assert "answers of 1 x (20 in, 20 out) have far fewer tokens than asked, 6.5 in the mean" in far_fewer


def test_a_few_answers_that_end_early_are_not_told_of(tmp_path: Path) -> None:
    async def behave(asked: Asked) -> None:
        await asked.answer(asked.max_tokens - (asked.number % 3 == 0))

    with odd_server(behave) as server:
        run = Run(server.url, tmp_path / "own.csv", plan_of(answer_tokens=(20,)))
    assert "answers ended before 20 tokens" in (run.row.note or "")
    assert not any("than asked" in note for note in run.said)


def test_a_length_is_given_up_after_several_failures_alone(tmp_path: Path) -> None:
    """Every second request fails, so that the first of each length does, and the first with a prefix."""

    async def behave(asked: Asked) -> None:
        await (asked.plain(500, "broken") if asked.number % 2 else asked.answer(first_s=0.2))

    with odd_server(behave) as server:
        plan = plan_of(prompt_tokens=(20, 30), answer_tokens=(1,), requests_per_point=4)
        run = Run(server.url, tmp_path / "own.csv", plan)
    assert [row.n_in_tokens for row in run.rows] == [20, 30]
    assert run.summary.answered + run.summary.failures["server error"] == run.summary.sent == len(server.asked)


def test_a_length_that_always_fails_is_asked_for_three_times(tmp_path: Path) -> None:
    async def behave(asked: Asked) -> None:
        await (asked.plain(500, "broken") if asked.words == 30 else asked.answer())

    with odd_server(behave) as server:
        run = Run(server.url, tmp_path / "own.csv", plan_of(prompt_tokens=(20, 30)))
    assert run.reasons == ["3 of 3 requests failed: 3 x server error (500: broken)"]
    assert sum(asked.words == 30 for asked in server.asked) == 3


def test_a_length_that_is_refused_is_asked_for_once(tmp_path: Path) -> None:
    async def behave(asked: Asked) -> None:
        await (asked.plain(413, "too long") if asked.words == 30 else asked.answer())

    with odd_server(behave) as server:
        run = Run(server.url, tmp_path / "own.csv", plan_of(prompt_tokens=(20, 30)))
    assert run.reasons == ["the server refuses 30 + 4 tokens: 413: too long"]
    assert sum(asked.words == 30 for asked in server.asked) == 1


async def _without_usage(asked: Asked) -> None:
    await asked.begin()
    for _ in range(asked.max_tokens):
        await asked.token()
    await asked.finish(None)


def test_no_usage_ends_the_run(tmp_path: Path) -> None:
    with odd_server(_without_usage) as server, pytest.raises(EndpointProblem, match="--count-chunks"):
        Run(server.url, tmp_path / "own.csv", plan_of())
    assert len(server.asked) == 1
    assert not (tmp_path / "own.csv").exists()


def test_no_usage_with_chunks_counted(tmp_path: Path) -> None:
    with odd_server(_without_usage) as server:
        row = Run(server.url, tmp_path / "own.csv", plan_of(), count_chunks=True).row
    assert (row.n_in_tokens, row.n_out_tokens) == (20, 4)
    assert row.note is not None
    assert "reports no usage" in row.note


def test_only_the_named_host_is_asked(tmp_path: Path) -> None:
    with odd_server(lambda asked: asked.answer()) as other:

        async def redirect(asked: Asked) -> None:
            await asked.plain(308, Location=f"{other.url}/v1/completions")

        with odd_server(redirect) as server, pytest.raises(EndpointProblem) as caught:
            Run(server.url, tmp_path / "own.csv", plan_of())
    assert other.url in str(caught.value)
    assert not other.asked


def test_a_redirect_or_a_lost_key_in_the_middle_ends_the_sweep(tmp_path: Path) -> None:
    async def behave(asked: Asked) -> None:
        await (asked.plain(401, "expired") if asked.max_tokens == 5 else asked.answer())

    with odd_server(behave) as server:
        run = Run(server.url, tmp_path / "own.csv", plan_of(answer_tokens=(4, 5, 6)))
    assert len(run.rows) == 1
    assert "401: expired" in run.summary.stopped
    assert len(run.summary.not_measured) == 1


def test_several_models_and_none_of_that_name(tmp_path: Path) -> None:
    class Many:
        async def __call__(self, asked: Asked) -> None:
            await asked.answer()

    many = {"/v1/models": {"data": [{"id": "first", "aliases": ["named"]}, *({"id": f"m{i}"} for i in range(12))]}}
    with odd_server(Many(), many) as server:
        run = Run(server.url, tmp_path / "own.csv", plan_of(), model="named")
        with pytest.raises(EndpointProblem, match="no model called 'other'") as caught:
            Run(server.url, tmp_path / "other.csv", plan_of(), model="other")
        with pytest.raises(EndpointProblem, match=r"no model called 'llama-3\.1-8b'"):
            Run(server.url, tmp_path / "other.csv", plan_of())
    assert re.search(r"--served-model: first, m0, .*m8 and 3 more", caught.value.hint)
    assert run.summary.served_model == "named"
    assert {asked.body["model"] for asked in server.asked} == {"named"}


def test_a_server_without_a_list_is_asked_for_what_was_named(tmp_path: Path) -> None:
    with odd_server(lambda asked: asked.answer(), {}) as server:
        run = Run(server.url, tmp_path / "own.csv", plan_of(), model="named")
    assert run.summary.served_model == "named"
    assert run.row


@pytest.mark.parametrize("page", [None, "<html>hello</html>", b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"])
def test_a_server_without_a_list_is_asked_for_the_name_of_the_catalogue_and_that_is_said(
    tmp_path: Path, page: object
) -> None:
    with odd_server(lambda asked: asked.answer(), {"/v1/models": page}) as server:
        run = Run(server.url, tmp_path / "own.csv", plan_of())
    (note,) = [note for note in run.said if "lists no models" in note]
    assert "it is asked for 'llama-3.1-8b'; --served-model names another" in note
    assert {asked.body["model"] for asked in server.asked} == {"llama-3.1-8b"}


def test_an_only_model_of_another_name_is_not_taken_for_the_named_one(tmp_path: Path) -> None:
    with (
        odd_server(lambda asked: asked.answer()) as server,
        pytest.raises(EndpointProblem, match=r"no model called 'named'\n.*: served"),
    ):
        Run(server.url, tmp_path / "own.csv", plan_of(), model="named")
    assert not server.asked


def test_serving_software_is_that_of_the_server(real: RealServer, tmp_path: Path) -> None:
    run = Run(real.url, tmp_path / "own.csv", plan_of(), subject=replace(SUBJECT, engine=None))
    with urllib.request.urlopen(f"{real.url}/props", timeout=60) as answer:
        build = json.load(answer)["build_info"]
    version = None if "unknown" in build else build
    assert (run.row.engine, run.row.engine_version) == ("llama.cpp-server", version)
    assert any("the engine is taken to be llama.cpp-server" in note for note in run.summary.notes)
    assert any(build in note for note in run.summary.notes) is (version is not None)


@pytest.mark.parametrize(
    "stated, stated_version, owner, engine, version",
    [
        (None, None, "vllm", "vllm", "0.11.2"),
        ("vllm-0.11", None, "vllm", "vllm-0.11", "0.11.2"),
        ("vllm", "0.9", "vllm", "vllm", "0.9"),
        ("vllm", None, "", "vllm", "0.11.2"),
        ("sglang", None, "vllm", "sglang", None),  # what is stated stands, and the other's version is none of it
        (None, None, "openai", None, None),
    ],
)
def test_serving_software_is_stated_or_told(
    tmp_path: Path, stated: str | None, stated_version: str | None, owner: str, engine: str | None, version: str | None
) -> None:
    pages = {"/v1/models": {"data": [{"id": "m", "owned_by": owner}]}, "/version": {"version": "0.11.2"}}
    subject = replace(SUBJECT, engine=stated, engine_version=stated_version)
    with odd_server(lambda asked: asked.answer(), pages) as server:
        run = Run(server.url, tmp_path / "own.csv", plan_of(), subject=subject)
    assert (run.row.engine, run.row.engine_version) == (engine, version)
    assert any("is taken to be vllm" in note for note in run.said) is (stated is None and engine == "vllm")
    assert any("--engine that it is sglang" in note for note in run.said) is (stated == "sglang")
    assert ("/version" in server.got) is (version == "0.11.2")


def test_rate_limit_is_waited_for_once(tmp_path: Path) -> None:
    async def behave(asked: Asked) -> None:
        # Before it are the first of all, the one that finds the length, and that before the window.
        if asked.number == 3:
            await asked.plain(429, "", Retry_After="1")
        else:
            await asked.answer(first_s=0.4)

    with odd_server(behave) as server:
        run = Run(server.url, tmp_path / "own.csv", plan_of(requests_per_point=1))
    assert run.row.n_repeats == 1
    assert run.row.duration_s is not None
    assert run.row.duration_s < 1  # the wait is no part of it
    assert run.summary.told_to_wait == 1
    assert not run.summary.failures


# --- what a row says of its requests ---------------------------------------------------------------------------------


def steady(in_flight: float, *, seconds: float = 1.0, client_share: float = 0.1) -> Steady:
    """A window of ten requests of 0.2 s, so that two are in flight in 1 s."""
    answers = tuple(Answered(0.0, 0.1, 0.2, 5, 100, 0, 5, 5, 5) for _ in range(10))
    return Steady(0.0, seconds, answers, in_flight, 0.0, 2, client_share)


def note_of(window: Steady, **point: int) -> str:
    shape = {"concurrency": 2, "prompt_tokens": 100, "answer_tokens": 5}
    return point_row("1", SUBJECT, Point(**{**shape, **point}), window, []).note or ""


def test_two_ways_to_count_requests() -> None:
    assert steady(2.0).rate == pytest.approx(steady(2.0).counted_rate)
    assert "Little" not in note_of(steady(2.08))
    assert "requests/s: 11 by Little's law, 10 counted" in note_of(steady(2.2))
    assert "Little" not in note_of(steady(2.2), concurrency=1)
    assert "4 requests were to be in flight" in note_of(steady(2.0), concurrency=4)


def test_an_answer_at_once_has_no_time_between_tokens(tmp_path: Path) -> None:
    async def whole(asked: Asked) -> None:
        await asked.begin()
        await asyncio.sleep(0.1)
        await asked.token(" word" * asked.max_tokens)
        await asked.finish(asked.max_tokens)

    async def empty(asked: Asked) -> None:
        await asked.begin()
        await asyncio.sleep(0.1)
        for _ in range(asked.max_tokens):
            await asked.token("")
        await asked.finish(asked.max_tokens)

    for number, behave in enumerate((whole, empty)):
        with odd_server(behave) as server:
            row = Run(server.url, tmp_path / f"{number}.csv", plan_of(concurrencies=(2,), answer_tokens=(32,))).row
        assert row.itl_ms is None
        assert "no time between tokens is known" in (row.note or "")
        assert "itl_ms" not in (row.note or "")
        assert row.system_output_tokens_per_s == pytest.approx(2 * 32 / 0.1, rel=0.3)


def test_spread_lengths_and_a_busy_client() -> None:
    assert note_of(steady(2.0)) == "10th to 90th percentile: ttft_s 0.1 to 0.1, itl_ms 25 to 25, duration_s 0.2 to 0.2"
    assert "prompts were to have 120 tokens" in note_of(steady(2.0), prompt_tokens=120)
    assert "10 of 10 answers ended before 9 tokens" in note_of(
        replace(steady(2.0), answers=tuple(replace(answer, asked=9) for answer in steady(2.0).answers)), answer_tokens=9
    )
    bunched = tuple(replace(answer, n_bursts=2) for answer in steady(2.0).answers)
    assert "chunks came 2.5 at a time" in note_of(replace(steady(2.0), answers=bunched))
    assert "the client computed 80% of the time" in note_of(steady(2.0, client_share=0.8))


@pytest.mark.parametrize("boundary", ["gpu_only", "system_wall_ac"])
@pytest.mark.parametrize(
    "concurrency, idle_w, joules, said",
    [
        # 40 requests of 0.2 s in 10 s, so that the client pauses for 0.05 s after each.
        (1, 50.0, 100 * 0.25 - 50 * 0.05, "were 20.0% of the time: the idle power in them is not in the energy"),
        (1, 120.0, 100 * 0.2, "is not in the energy"),  # no pause draws more than the mean
        (1, None, 100 * 0.25, "were 20.0% of the time: their energy is in it, as no idle power is known"),
        (2, 50.0, 100 * 0.2 / 0.8, ""),
    ],
)
def test_energy_of_a_single_request_is_without_the_pauses(
    boundary: Any, concurrency: int, idle_w: float | None, joules: float, said: str
) -> None:
    window = Steady(0.0, 10.0, 40 * (Answered(0.0, 0.1, 0.2, 5, 100, 0, 5, 5, 5),), 0.8, 0.0, 1, 0.1)
    point = Point(concurrency, 100, 5)
    row = energy_of(
        point_row("1", SUBJECT, point, window, []), point, window, Window(0.0, 10.0, 1000.0, 0.1), boundary, idle_w
    )
    assert row.energy_per_request_j == pytest.approx(joules)
    assert row.energy_per_output_token_j == pytest.approx(joules / 5)
    assert (row.avg_gpu_power_w_all_gpus or row.avg_system_power_w) == pytest.approx(100)
    assert ("pauses between requests" in (row.note or "")) is bool(said)
    assert said in (row.note or "")


def test_short_pauses_are_not_said() -> None:
    window = Steady(0.0, 10.0, 40 * (Answered(0.0, 0.1, 0.25, 5, 100, 0, 5, 5, 5),), 0.99, 0.0, 1, 0.1)
    point = Point(1, 100, 5)
    row = energy_of(
        point_row("1", SUBJECT, point, window, []), point, window, Window(0.0, 10.0, 1000.0, 0.1), "gpu_only", 50.0
    )
    assert "pauses" not in (row.note or "")
    assert row.energy_per_request_j == pytest.approx(25 - 50 * 0.01 * 0.25)


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_never_more_requests_than_allowed(tmp_path: Path) -> None:
    with odd_server(lambda asked: asked.answer()) as server:
        run = Run(server.url, tmp_path / "own.csv", plan_of(answer_tokens=(2, 3, 4, 5), max_requests=25))
    assert len(server.asked) == run.summary.sent <= 25
    assert len(run.rows) == 2
    assert "--max-requests" in run.summary.stopped


def test_time_of_a_point_and_of_the_sweep(tmp_path: Path) -> None:
    lengths = tuple(range(2, 20))
    with odd_server(lambda asked: asked.answer(first_s=0.1)) as server:
        plan = plan_of(answer_tokens=lengths, requests_per_point=1000, seconds_per_point=0.55, max_seconds=4.0)
        run = Run(server.url, tmp_path / "own.csv", plan)
    # Each takes 0.1 s at least, and the one that is under way at the end counts.
    assert run.rows
    assert all(1 <= (row.n_repeats or 0) <= 6 for row in run.rows)
    assert "--max-seconds" in run.summary.stopped
    assert run.summary.not_measured


# --- energy -----------------------------------------------------------------------------------------------------------


class FakeMeter:
    """A counter that shows a constant power."""

    name = "a made-up meter"

    def __init__(self, watts: float = 100.0, boundary: str = "gpu_only", *, resolution_s: float = 0.08) -> None:
        self.boundary, self.watts, self.resolution_s = boundary, watts, resolution_s
        self.begun = time.monotonic()

    def reset(self) -> None:
        self.begun = time.monotonic()

    def read(self) -> Reading:
        now = time.monotonic()
        return Reading(now, self.watts * (now - self.begun))

    def close(self) -> None:
        pass


def test_energy_of_the_steady_window(tmp_path: Path) -> None:
    with odd_server(lambda asked: asked.answer(first_s=0.04)) as server:
        plan = plan_of(concurrencies=(2,))
        run = Run(server.url, tmp_path / "own.csv", plan, meter=FakeMeter())
    row = run.row
    assert row.energy_boundary == "gpu_only"
    assert row.avg_gpu_power_w_all_gpus == pytest.approx(100, rel=0.02)
    assert row.idle_gpu_power_w == pytest.approx(100, rel=0.05)
    # 100 W shared by two requests of 0.04 s each at least.
    assert row.energy_per_request_j is not None
    assert row.energy_per_request_j > 100 * 0.04 / 2
    assert row.duration_s is not None
    assert row.concurrency is not None
    assert row.energy_per_request_j == pytest.approx(100 * row.duration_s / row.concurrency, rel=0.15)
    assert row.energy_per_output_token_j == pytest.approx(row.energy_per_request_j / 4)
    assert row.energy_per_output_token_j * row.system_output_tokens_per_s == pytest.approx(100, rel=0.02)
    assert (row.n_repeats or 0) >= 8
    assert run.summary.meter is not None
    assert run.summary.meter["boundary"] == "gpu_only"
    assert not any("no meter" in note for note in run.summary.notes)


def test_energy_of_short_requests_is_that_of_their_own_time(tmp_path: Path) -> None:
    """At 100 W with and without work, whatever this client needs between two requests."""
    with odd_server(lambda asked: asked.answer(first_s=0.015)) as server:
        row = Run(server.url, tmp_path / "own.csv", plan_of(answer_tokens=(1,)), meter=FakeMeter()).row
    assert row.duration_s is not None
    assert row.energy_per_request_j == pytest.approx(100 * row.duration_s, rel=0.03)


class TokenMeter(FakeMeter):
    """A counter of 1 J for each token that a server makes, and hardly any in between: no meter stands still."""

    waiting_w = 0.01

    def __init__(self, engine: Engine) -> None:
        super().__init__(resolution_s=0.02)
        self.engine = engine

    def read(self) -> Reading:
        now = time.monotonic()
        return Reading(now, self.engine.made + self.waiting_w * (now - self.begun))


@pytest.mark.parametrize("in_batches", [False, True])
def test_energy_and_throughput_are_of_the_tokens_of_the_window(tmp_path: Path, in_batches: bool) -> None:
    """Also where the window ends with the first answer of a batch, of which the others are just behind."""
    engine = Engine(0.02, in_batches=in_batches)
    with odd_server(engine.behave) as server:
        plan = plan_of(concurrencies=(8,), answer_tokens=(12,), requests_per_point=50, seconds_per_point=20.0)
        row = Run(server.url, tmp_path / "own.csv", plan, meter=TokenMeter(engine)).row
    assert row.energy_per_output_token_j == pytest.approx(1.0, rel=0.03)
    assert row.system_output_tokens_per_s == pytest.approx(row.avg_gpu_power_w_all_gpus, rel=0.03)


def test_energy_of_a_machine(tmp_path: Path) -> None:
    with odd_server(lambda asked: asked.answer(first_s=0.02)) as server:
        plan = plan_of(answer_tokens=(1,))
        row = Run(server.url, tmp_path / "own.csv", plan, meter=FakeMeter(boundary="system_wall_ac")).row
    assert row.avg_system_power_w == pytest.approx(100, rel=0.02)
    assert row.avg_gpu_power_w_all_gpus is None
    assert row.idle_gpu_power_w is None
    assert row.note is not None
    assert "idle 1" in row.note
    assert row.energy_per_request_j
    assert row.energy_per_output_token_j is None  # the prompt's


@pytest.mark.parametrize("watts, said", [(0.0, "stands still"), (100.0, "runs backwards")])
def test_a_meter_that_cannot_be_right_leaves_times(tmp_path: Path, watts: float, said: str) -> None:
    meter = FakeMeter(watts)

    async def behave(asked: Asked) -> None:
        if asked.number == 10:
            meter.reset()
        await asked.answer(first_s=0.05)

    with odd_server(behave) as server:
        run = Run(server.url, tmp_path / "own.csv", plan_of(requests_per_point=16), meter=meter)
    row = run.row
    assert row.energy_per_request_j is None
    assert row.energy_boundary is None
    assert row.note is not None
    assert said in row.note
    assert any(said in note for note in run.summary.notes)
    assert row.ttft_s


class LostMeter(FakeMeter):
    """A counter that raises for ever after it was reset."""

    is_lost = False

    def reset(self) -> None:
        self.is_lost = True

    def read(self) -> Reading:
        if self.is_lost:
            raise MeterProblem("a made-up meter runs backwards", hint="Measure again.")
        return super().read()


def given_up_of(run: Run) -> str:
    """The one note that says that energy is given up, beside which nothing else says that there is none."""
    (note,) = [note for note in run.said if "no energy" in note or "energy is given up" in note]
    return note


@pytest.mark.parametrize("kind", [FakeMeter, LostMeter])
def test_energy_is_given_up_once_with_a_counter_that_was_reset(tmp_path: Path, kind: type[FakeMeter]) -> None:
    meter = kind(resolution_s=0.02)

    async def behave(asked: Asked) -> None:
        if asked.max_tokens == 4:
            meter.reset() if asked.number % 2 else None
        await asked.answer(first_s=0.02)

    with odd_server(behave) as server:
        plan = plan_of(answer_tokens=(3, 4, 5, 6), requests_per_point=4)
        run = Run(server.url, tmp_path / "own.csv", plan, meter=meter)
    assert [row.energy_per_request_j is None for row in run.rows] == [False, True, True, True]
    assert "runs backwards" in given_up_of(run)
    assert all("no energy: " in (row.note or "") and "runs backwards" in (row.note or "") for row in run.rows[1:])
    assert [row.n_repeats for row in run.rows[2:]] == [4, 4]  # which do not wait for the meter


def remove(path: Path) -> None:
    path.unlink()


def write_oops(path: Path) -> None:
    with path.open("a") as stream:
        stream.write("oops\n")


def write_back_in_time(path: Path) -> None:
    with path.open("a") as stream:
        stream.write(f"{time.time() - 5:.6f},90\n")


@contextmanager
def growing(path: Path) -> Iterator[threading.Event]:
    """A file of a wall meter that grows until an event."""
    stop, began = threading.Event(), threading.Event()
    path.write_text("time,watts\n")

    def write() -> None:
        number = 0
        while not stop.wait(0.02):
            with path.open("a") as stream:
                stream.write(f"{time.time():.6f},{100 + number % 3}\n")
            number += 1
            began.set()

    writer = threading.Thread(target=write)
    writer.start()
    assert began.wait(60)
    try:
        yield stop
    finally:
        stop.set()
        writer.join()


@pytest.mark.parametrize(
    "damage, said, hint",
    [
        (remove, "cannot read", "Leave the file where it is"),
        (write_oops, "'oops' has no time or no power", "A line: "),
        (write_back_in_time, "is not after the line before", "Sort the lines by time"),
    ],
)
def test_a_file_that_breaks_costs_the_energy_alone(tmp_path: Path, damage: Any, said: str, hint: str) -> None:
    path, broken = tmp_path / "wall.csv", threading.Event()

    with growing(path) as stop:

        async def behave(asked: Asked) -> None:
            if asked.max_tokens == 4 and not broken.is_set():
                broken.set()
                stop.set()
                await asyncio.sleep(0.2)
                damage(path)
            await asked.answer(first_s=0.02)

        with odd_server(behave) as server:
            plan = plan_of(answer_tokens=(3, 4, 5), requests_per_point=4)
            run = Run(server.url, tmp_path / "own.csv", plan, meter=WallMeter(path))
    assert [row.n_out_tokens for row in run.rows] == [3, 4, 5]
    assert [row.energy_per_request_j is None for row in run.rows] == [False, True, True]
    assert not run.summary.stopped
    note = given_up_of(run)
    assert said in note
    assert hint in note
    assert all("no energy: " in (row.note or "") and said in (row.note or "") for row in run.rows[1:])


@pytest.mark.parametrize(
    "seconds, max_requests, option",
    [(60.0, 60, "--max-requests"), (0.6, 2000, "--seconds"), (60.0, 2000, "--requests")],
)
def test_windows_that_are_too_short_are_told_of_once_with_the_option(
    tmp_path: Path, seconds: float, max_requests: int, option: str
) -> None:
    class Slower(FakeMeter):
        """It shows a new value every 0.4 s, and seems finer until the end of a window is looked at."""

        def read(self) -> Reading:
            now = time.monotonic()
            step = 0.4 * ((now - self.begun) // 0.4)
            return Reading(now, self.watts * step)

    with odd_server(lambda asked: asked.answer(first_s=0.01)) as server:
        plan = plan_of(answer_tokens=(3, 4), max_requests=max_requests, seconds_per_point=seconds)
        meter = Slower(resolution_s=0.02 if option != "--max-requests" else 0.4)
        run = Run(server.url, tmp_path / "own.csv", plan, meter=meter)
    assert [row.energy_per_request_j for row in run.rows] == [None, None]
    assert all("are too short for a meter" in (row.note or "") for row in run.rows)
    (note,) = [note for note in run.said if "are too short" in note]
    assert note.startswith("no energy for 1 x (20 in, 3 out): ")
    assert option in note
    assert "Other rows without energy say why themselves" in note


@pytest.mark.parametrize(
    "meter, said",
    [
        (FakeMeter(0.0, resolution_s=math.inf), "stood still under load for"),  # as one that never showed two values
        (FakeMeter(0.0, resolution_s=0.02), "stood still under load for"),
        (FakeMeter(resolution_s=10.0), "needs 220 s for a point, which has 1 s"),
    ],
)
def test_no_later_point_waits_for_a_meter_in_vain(tmp_path: Path, meter: FakeMeter, said: str) -> None:
    with odd_server(lambda asked: asked.answer(first_s=0.02)) as server:
        plan = plan_of(answer_tokens=(2, 3, 4, 5), requests_per_point=2, seconds_per_point=1.0)
        run = Run(server.url, tmp_path / "own.csv", plan, meter=meter)
    sent = Counter(asked.max_tokens for asked in server.asked)
    assert [row.energy_per_request_j for row in run.rows] == [None] * 4
    assert all("no energy: " in (row.note or "") for row in run.rows)
    # The first point waited for the meter as long as it may; the others had what counts, and nothing more.
    assert (run.rows[0].n_repeats or 0) > 2
    assert [row.n_repeats for row in run.rows[1:]] == [2, 2, 2]
    assert [sent[answer] for answer in (3, 4, 5)] == [3, 3, 3]
    (given_up,) = [note for note in run.said if "energy is given up" in note]
    assert said in given_up


def test_a_point_that_waits_for_its_meter_leaves_the_others_theirs(tmp_path: Path) -> None:
    with odd_server(lambda asked: asked.answer()) as server:
        plan = plan_of(answer_tokens=(3, 4, 5), max_requests=100)
        run = Run(server.url, tmp_path / "own.csv", plan, meter=FakeMeter(0.0, resolution_s=math.inf))
    assert [row.n_out_tokens for row in run.rows] == [3, 4, 5]
    sent = Counter(asked.max_tokens for asked in server.asked)
    # After two requests to meet the server, 9 each are usual, and of the 71 beyond those half are spare.
    assert [sent[answer] for answer in (3, 4, 5)] == [9 + 35, 9 + 18, 9 + 18]
    assert run.summary.sent == 100
    assert not run.summary.stopped
    assert all("stands still" in (row.note or "") for row in run.rows)
    (note,) = [note for note in run.said if "--max-requests" in note]
    assert "Its requests were used up before the meter had resolved it: allow more with --max-requests" in note


def test_progress_counts_what_a_meter_needs(tmp_path: Path) -> None:
    with odd_server(lambda asked: asked.answer(first_s=0.02)) as server:
        run = Run(server.url, tmp_path / "own.csv", plan_of(answer_tokens=(3, 4)), meter=FakeMeter())
    totals = [total for _, total in run.progress if total is not None]
    assert len(totals) == len(run.progress)
    assert totals == sorted(totals)
    assert all(sent <= total for (sent, _), total in zip(run.progress, totals, strict=True))
    # As soon as a point has the answers that count, it is known how many more the meter takes.
    assert run.summary.sent > 2 * totals[0]
    of_first = len([asked for asked in server.asked if asked.max_tokens == 3])
    assert totals[13] > 0.6 * of_first


def test_a_meter_that_cannot_be_read_at_all(tmp_path: Path) -> None:
    class Away(FakeMeter):
        def read(self) -> Reading:
            raise MeterProblem("the meter is away")

    with odd_server(lambda asked: asked.answer()) as server, pytest.raises(MeterProblem, match="away"):
        Run(server.url, tmp_path / "own.csv", plan_of(), meter=Away())


# --- the command ------------------------------------------------------------------------------------------------------

COMMAND = ["measure", "endpoint", "--model", "llama-3.1-8b", "--gpu", "h100_sxm", "--meter", "none"]
SMALL = ["--concurrency", "1,2", "--prompt-tokens", "20", "--answer-tokens", "3", "--cached-share", "0"]


def command(*arguments: str, **environment: str):
    return CliRunner().invoke(app, [*COMMAND, *arguments], env=environment)


def test_command(tmp_path: Path) -> None:
    out = tmp_path / "own.csv"
    with odd_server(lambda asked: asked.answer()) as server:
        result = command(server.url, *SMALL, "--out", str(out), "--json", "--engine", "vllm", "--precision", "fp8")
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert [row["serving_mode"] for row in shown["rows"]] == ["single_stream", "aggregated"]
    assert shown["requests"]["sent"] == len(server.asked)
    assert shown["observations"] == str(out)
    assert any("no energy" in note for note in shown["notes"])
    assert "2 points against" in result.stderr
    assert "about 30 requests; at most" in result.stderr
    assert "at most" in result.stderr
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert {row["precision_name"] for row in rows} == {"fp8"}
    assert {row["gpu"] for row in rows} == {"h100_80gb_sxm"}


def test_command_prints_a_table(tmp_path: Path) -> None:
    with odd_server(lambda asked: asked.answer()) as server:
        result = command(server.url, *SMALL, "--out", str(tmp_path / "own.csv"))
    lines = result.stdout.splitlines()
    assert lines[0].split()[:3] == ["in", "flight", "in"]
    assert len(lines) == 1 + 2 + 2
    assert lines[-1].startswith("2 rows in ")


def test_keys_are_sent_and_never_written(tmp_path: Path) -> None:
    out = tmp_path / "own.csv"
    with odd_server(lambda asked: asked.answer()) as server:
        result = command(
            *[server.url, *SMALL, "--out", str(out), "--json", "--api-key-variable", "MY_KEY"],
            *["--header", "X-Api-Key:env:OTHER_KEY", "--header", "X-Route: blue"],
            MY_KEY="hidden-1",
            OTHER_KEY="hidden-2",
        )
    assert result.exit_code == 0, result.output
    headers = server.asked[0].headers
    assert headers["authorization"] == "Bearer hidden-1"
    assert headers["x-api-key"] == "hidden-2"
    assert headers["x-route"] == "blue"
    assert "hidden" not in result.output + result.stderr + out.read_text()


def test_keys_that_the_server_repeats_are_not_shown(tmp_path: Path) -> None:
    async def behave(asked: Asked) -> None:
        if asked.max_tokens > 2:
            await asked.plain(500, f"{asked.headers['authorization']} at {asked.headers['x-route']}")
        else:
            await asked.answer()

    pages = {"/v1/models": {"data": [{"id": "for hidden-1"}]}}
    with odd_server(behave, pages) as server:
        result = command(
            *[server.url, *SMALL, "--out", str(tmp_path / "own.csv"), "--json", "--api-key-variable", "MY_KEY"],
            *["--header", "X-Route:env:ROUTE"],
            MY_KEY="hidden-1",
            ROUTE="hidden-2",
        )
    assert "500: *** at ***" in result.stdout
    assert "500: *** at ***" in result.stderr
    assert "hidden" not in result.output + result.stderr


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["http://192.0.2.1/v1"], "not on this machine"),
        (["http://localhost:1", "--header", "Authorization: Bearer x"], "seen by others"),
        (["http://localhost:1", "--api-key-variable", "NOT_SET"], "NOT_SET"),
        (["http://localhost:1", "--header", "blue"], "--header: "),
        (["http://localhost:1", "--concurrency", "0"], "--concurrency: 0 "),
        (["http://localhost:1", "--prompt-tokens", "0"], "--prompt-tokens: 0 "),
        (["http://localhost:1", "--answer-tokens", "0"], "--answer-tokens: 0 "),
        (["http://localhost:1", "--cached-share", "0,1.5"], "--cached-share: 1.5 is no share"),
        (["http://localhost:1", "--seconds", "0"], "--seconds: 0 "),
        (["http://localhost:1", "--max-seconds", "-1"], "--max-seconds: -1 "),
        (["http://localhost:1", "--timeout", "0"], "--timeout: 0 s"),
        (["http://localhost:1", "--timeout", "inf"], "--timeout: inf s"),
        (["http://localhost:1", "--stall-seconds", "nan"], "--stall-seconds: nan s"),
        (["http://localhost:1", "--idle-seconds", "-1"], "--idle-seconds: -1 s"),
        (["http://localhost:1", "--ca-file", "/nowhere.pem"], "--ca-file: cannot read"),
        (["http://localhost:1", "--max-requests", "10"], "--max-requests: 10: to meet a server"),
        (["http://localhost:1", "--engine", "foo"], "unknown engine 'foo'\n  One of vllm, "),
        (["http://localhost:1", "--tensor-parallel", "2"], "--tensor-parallel: 2 of 1 "),
        (["http://localhost:1", "--gpu-count", "4", "--tensor-parallel", "3"], "--tensor-parallel: 3 of 4 "),
        (["http://localhost:1", "--node", "my box"], "--node: 'my box' cannot be"),
        (["http://localhost:1", "--node", "general"], "--node: 'general' cannot be"),
        (["ftp://localhost:1"], "no address"),
        (["http://localhost:1", "--model", "flux.1-dev"], "--model: flux.1-dev is a model for image, which writes no"),
    ],
)
def test_refused_before_anything_is_sent(tmp_path: Path, arguments: list[str], said: str) -> None:
    result = command(*arguments, "--out", str(tmp_path / "own.csv"))
    assert isinstance(result.exception, InvalidInput), result.output
    assert said in str(result.exception)
    assert not list(tmp_path.iterdir())


def test_a_model_that_does_not_fit_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    large = ["http://localhost:1", "--out", str(tmp_path / "own.csv"), "--model", "llama-3.1-405b"]
    assert isinstance(command(*large).exception, DoesNotFit)
    assert isinstance(command(*large, "--gpu-count", "16", "--tensor-parallel", "2").exception, DoesNotFit)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("asked", ["wal:x.csv", "wall", "wall:{}/missing.csv"])
def test_a_meter_that_is_not_there_is_named_with_its_option(tmp_path: Path, asked: str) -> None:
    asked = asked.format(tmp_path)
    result = command("http://localhost:1", "--out", str(tmp_path / "own.csv"), "--meter", asked)
    assert isinstance(result.exception, MeterProblem)
    assert result.exception.message.startswith("--meter: ")
    assert asked.partition(":")[0] in result.exception.message


def test_a_meter_elsewhere_is_asked_for_first(tmp_path: Path) -> None:
    """192.0.2.1 is nobody's: it is not contacted, as nobody is there to say so."""
    out = str(tmp_path / "own.csv")
    begun = time.monotonic()
    result = command("http://localhost:1", "--out", out, "--meter", "dcgm:http://192.0.2.1:9400/metrics")
    assert isinstance(result.exception, InvalidInput)
    assert "--meter: http://192.0.2.1:9400/metrics is not on this machine" in str(result.exception)
    assert time.monotonic() - begun < 8  # asking it would take longer to fail


@pytest.mark.parametrize(
    "model, precision, said",
    [
        ("llama-3.1-8b", "bf16", "precision: bf16, as published; --precision says otherwise"),
        ("llama-3.1-8b-fp8", "fp8", "precision: fp8, as the model's name says"),
        ("bloomz-7b1", "", ""),
    ],
)
def test_the_usual_precision_is_written_and_said(tmp_path: Path, model: str, precision: str, said: str) -> None:
    out = tmp_path / "own.csv"
    with odd_server(lambda asked: asked.answer()) as server:
        result = command(server.url, *SMALL, "--out", str(out), "--model", model)
    assert result.exit_code == 0, result.output
    assert {row["precision_name"] for row in csv.DictReader(out.read_text().splitlines())} == {precision}
    assert said in result.stderr
    assert ("precision: " in result.stderr) is bool(said)


def test_one_point_is_no_points(tmp_path: Path) -> None:
    one = ["--concurrency", "1", "--prompt-tokens", "20", "--answer-tokens", "3", "--cached-share", "0"]
    with odd_server(lambda asked: asked.answer()) as server:
        result = command(server.url, *one, "--out", str(tmp_path / "own.csv"))
    assert "1 point against" in result.stderr
    assert "1 row in " in result.stdout


def test_a_file_that_is_there_is_refused_before_the_plan_is_said(tmp_path: Path) -> None:
    out = tmp_path / "own.csv"
    out.write_text("mine\n")
    result = command("http://192.0.2.1/v1", "--out", str(out))
    assert isinstance(result.exception, FileProblem)
    assert "is there already" in str(result.exception)
    assert "points against" not in result.stderr
    assert out.read_text() == "mine\n"


def test_the_node_may_be_one_that_is_yet_to_be_made(tmp_path: Path) -> None:
    rows = []
    for node in ("my-box", "aws:p5.48xlarge"):
        out = tmp_path / f"{node[:2]}.csv"
        with odd_server(lambda asked: asked.answer()) as server:
            result = command(server.url, *SMALL, "--out", str(out), "--node", node)
        assert result.exit_code == 0, result.output
        assert ("inferprint catalog add-node my-box" in result.stderr) is (node == "my-box")
        rows += list(csv.DictReader(out.read_text().splitlines()))
    assert [row["node_id"] for row in rows] == ["my-box", "my-box", "aws:p5.48xlarge", "aws:p5.48xlarge"]


def test_unknown_names_and_lists(tmp_path: Path) -> None:
    out = ["http://localhost:1", "--out", str(tmp_path / "own.csv")]
    assert "unknown GPU" in str(command(*out, "--gpu", "h1000").exception)
    assert "unknown model" in str(command(*out, "--model", "lama").exception)
    result = command(*out, "--concurrency", "1;2")
    assert result.exit_code == 2
    assert "no list of numbers" in result.stderr


def test_exit_tells_of_a_sweep_that_stopped(tmp_path: Path) -> None:
    async def behave(asked: Asked) -> None:
        await (asked.answer() if asked.max_tokens < 3 else asked.plain(500, "broken"))

    with odd_server(behave) as server:
        result = command(server.url, *SMALL, "--out", str(tmp_path / "own.csv"))
    assert result.exit_code == 1
    assert "no row for 1 x (20 in, 3 out): 3 of 3 requests failed" in result.stderr
    assert not list(tmp_path.iterdir())


PATIENCE_S = 240.0
ALONE = ["--concurrency", "1", "--prompt-tokens", "20", "--cached-share", "0", "--answer-tokens", "3,5", "--json"]


@contextmanager
def running(*arguments: str, interrupts: Any = signal.default_int_handler) -> Iterator[subprocess.Popen[str]]:
    """The command in a process of its own; gone at the end, with its pipes.

    What a shell starts in the background ignores interrupts, as may these tests: a process inherits that.
    """
    before = signal.signal(signal.SIGINT, interrupts)
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "inferprint", *COMMAND, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str], by: signal.Signals, when: threading.Event) -> tuple[int, str, str]:
    """What a command that gets a signal at a moment exits with and says."""
    end = time.monotonic() + PATIENCE_S
    while not when.wait(0.1):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end
    process.send_signal(by)
    stdout, stderr = process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in stderr
    return process.returncode, stdout, stderr


@pytest.mark.parametrize(
    "by, interrupts, code",
    [
        (signal.SIGINT, signal.default_int_handler, 130),
        (signal.SIGTERM, signal.default_int_handler, 143),
        (signal.SIGTERM, signal.SIG_IGN, 143),
        (signal.SIGINT, signal.SIG_IGN, 130),
    ],
)
def test_interrupted_keeps_its_rows(tmp_path: Path, by: signal.Signals, interrupts: Any, code: int) -> None:
    out, second = tmp_path / "own.csv", threading.Event()

    async def behave(asked: Asked) -> None:
        if asked.max_tokens > 3:
            second.set()
            await asyncio.sleep(600)
        await asked.answer()

    with (
        odd_server(behave) as server,
        running(server.url, *ALONE, "--out", str(out), interrupts=interrupts) as process,
    ):
        returned, stdout, stderr = ended(process, by, second)
    assert returned == code, stderr
    assert f"interrupted: 1 row is in {out}" in stderr
    shown = json.loads(stdout)
    assert shown["stopped"] == "interrupted"
    assert len(shown["rows"]) == 1
    assert len(list(csv.DictReader(out.read_text().splitlines()))) == 1


@pytest.mark.parametrize("answered", [0, 1, 3])
def test_interrupted_before_the_first_row_names_no_rows(tmp_path: Path, answered: int) -> None:
    out, asked_for = tmp_path / "own.csv", threading.Event()

    async def behave(asked: Asked) -> None:
        if asked.number == answered:
            asked_for.set()
            await asyncio.sleep(600)
        await asked.answer()

    with odd_server(behave) as server, running(server.url, *ALONE, "--out", str(out)) as process:
        returned, stdout, stderr = ended(process, signal.SIGINT, asked_for)
    assert returned == 130, stderr
    assert f"interrupted: nothing was measured, and nothing is written to {out}" in stderr
    assert "rows are in" not in stderr
    shown = json.loads(stdout)
    assert shown["observations"] is None
    counts = {name: shown["requests"][name] for name in ("sent", "answered", "under_way", "failed")}
    assert counts == {"sent": answered + 1, "answered": answered, "under_way": 1, "failed": {}}
    assert not list(tmp_path.iterdir())
