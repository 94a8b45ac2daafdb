"""One point of a sweep by itself, with a client that answers as it is told."""

from __future__ import annotations

import asyncio
import math
import time
from typing import Any

import pytest

from inferprint.measure.answers import Answered, Failed
from inferprint.measure.load import Budget, Load, Steady
from inferprint.measure.plan import Point

ANSWER_S = 0.01


class Told:
    """A client of which every second request fails at first."""

    def __init__(self, **failed: Any) -> None:
        self.asked, self._failed = 0, failed

    async def ask(self, _prompt: str, answer_tokens: int) -> Answered | Failed:
        self.asked += 1
        began = time.monotonic()
        await asyncio.sleep(ANSWER_S)
        ended = time.monotonic()
        if self.asked % 2 and self._failed:
            return Failed("cut off", "closed", began, ended, **self._failed)
        return Answered(began, (began + ended) / 2, ended, answer_tokens, 20, 0, answer_tokens, answer_tokens, 2)


def run(client: Any) -> tuple[Load, Budget, Steady | None]:
    budget = Budget(200)
    load = Load(
        client, budget, Point(1, 20, 4), lambda: "words",
        counted=8, least_seconds=0.0, most_seconds=60.0, give_up_at=math.inf,
    )  # fmt: skip
    return load, budget, asyncio.run(within(load))


async def within(load: Load) -> Steady | None:
    load.give_up_at = asyncio.get_running_loop().time() + 120.0
    return await load.run()


def test_what_the_server_cannot_have_seen_was_not_in_flight() -> None:
    load, budget, steady = run(Told(is_stale=True))
    assert steady is not None
    assert not load.failures
    assert budget.again == len(load.outcomes) + len(load.late)
    assert steady.failed_in_flight == 0.0
    assert 0.3 < steady.in_flight < 0.7


def test_what_failed_at_the_server_was() -> None:
    load, budget, steady = run(Told(status=500))
    assert steady is not None
    assert load.failures
    assert not budget.again
    assert steady.failed_in_flight > 0.01


def test_answers_follow_each_other() -> None:
    _, budget, steady = run(Told())
    assert steady is not None
    assert steady.rate == pytest.approx(steady.counted_rate, rel=0.3)
    assert steady.in_flight > 0.8
    assert budget.again == 0
