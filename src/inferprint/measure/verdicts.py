"""What a sweep learns of a server as it compares its points: whether requests wait, and whether it has a cache."""

from __future__ import annotations

from statistics import fmean, median

from inferprint.measure.load import Steady
from inferprint.measure.plan import Point, SweepPlan

MORE_IN_FLIGHT = 1.25
"""Rise of the requests in flight from which on two points tell whether the added ones wait."""

LEAST_ANSWERED = 0.25
"""Part of that rise that the requests being answered have to rise by; below it the added ones wait."""

LEAST_JUDGED_TOKENS = 8
"""Answers with fewer tokens are over too soon to tell how many are given at a time."""

LEAST_FALL = 0.5
"""Part of the cached share by which the time to the first token has to fall where there is a cache."""

Lengths = tuple[int, int, float]


class Waiting:
    """Tells a server with a queue, whose requests in flight are not its batch.

    A server that answers all of its requests together is not taken for one, however long their prompts take: either
    their answers overlap, so that more of them are given at a time, or prompts of some hold up the answers of others,
    so that each takes longer and more are under way in the mean. Where neither grows as requests are added, they wait.
    """

    def __init__(self) -> None:
        self._before: dict[Lengths, Steady] = {}
        self._judged: dict[int, list[str]] = {}
        self._full: dict[Lengths, str] = {}

    def judge(self, point: Point, steady: Steady) -> str:
        """Why a point that was measured gives no row; empty where it may. Points come in the order of concurrency."""
        if point.answer_tokens < LEAST_JUDGED_TOKENS or not _answering(steady):
            return ""
        before = self._before.get(_lengths(point))
        if before is None or steady.in_flight < MORE_IN_FLIGHT * before.in_flight:
            self._before.setdefault(_lengths(point), steady)
            return ""
        most = 1 + LEAST_ANSWERED * (steady.in_flight / before.in_flight - 1)
        waits = steady.at_once < most * before.at_once and _answering(steady) < most * _answering(before)
        reason = f"the server answers about {steady.at_once} at a time: the others wait" if waits else ""
        self._judged.setdefault(point.concurrency, []).append(reason)
        if waits:
            self._full[_lengths(point)] = reason
        else:
            self._before[_lengths(point)] = steady
        return reason

    def known(self, point: Point) -> str:
        """Why a point gives no row without being measured; empty where that is not known."""
        if _lengths(point) in self._full:
            return self._full[_lengths(point)]
        # Few tokens tell nothing themselves: they wait where all others do.
        is_short = point.answer_tokens < LEAST_JUDGED_TOKENS
        for concurrency, reasons in self._judged.items():
            if all(reasons) and (concurrency < point.concurrency or (is_short and concurrency == point.concurrency)):
                return reasons[0]
        return ""


def _lengths(point: Point) -> Lengths:
    return point.prompt_tokens, point.answer_tokens, point.cached_share


def _answering(steady: Steady) -> float:
    """Mean number of requests whose answers are under way: tokens per second times the time between two."""
    gaps = [answer.itl_s for answer in steady.answers if answer.itl_s is not None]
    return steady.tokens_per_s * fmean(gaps) if gaps else 0.0


class Cache:
    """Tells whether a server that does not report cached tokens has a cache, by its time to the first token.

    Points are compared at the smallest concurrency, with those of the same lengths and a fresh prompt.
    """

    def __init__(self, plan: SweepPlan) -> None:
        self._least = min(plan.concurrencies)
        self._fresh: dict[tuple[int, int], float] = {}
        self._missing: dict[tuple[int, float], str] = {}
        self._shown: dict[tuple[int, float], str] = {}

    def judge(self, point: Point, steady: Steady) -> str:
        """Why a point that was measured gives no row; empty where it may."""
        first_s, lengths = (
            median(answer.ttft_s for answer in steady.answers),
            (point.prompt_tokens, point.answer_tokens),
        )
        if not point.cached_share:
            if point.concurrency == self._least:
                self._fresh[lengths] = first_s
            return ""
        key = (point.prompt_tokens, point.cached_share)
        if key in self._shown or any(answer.n_cached is not None for answer in steady.answers):
            return ""
        fresh_s = self._fresh.get(lengths) if point.concurrency == self._least else None
        if fresh_s is None:
            said = "without a point of fresh prompts (--cached-share 0) it cannot be told whether it has a cache"
        elif first_s <= (1 - LEAST_FALL * point.cached_share) * fresh_s:
            self._shown[key] = f"{first_s:.3g} s to the first token, {fresh_s:.3g} s for a fresh prompt"
            return ""
        else:
            said = f"{first_s:.3g} s to the first token, {fresh_s:.3g} s for a fresh prompt, show no cache"
        self._missing[key] = f"the server does not report cached tokens: {said}"
        return self._missing[key]

    def known(self, point: Point) -> str:
        """Why a point gives no row without being measured; empty where that is not known."""
        return self._missing.get((point.prompt_tokens, point.cached_share), "")

    def shown_by(self, point: Point) -> str:
        """The times that show a cache; empty where none were needed."""
        return self._shown.get((point.prompt_tokens, point.cached_share), "")
