"""What a sweep measures: its points, and how much it may send and take."""

from __future__ import annotations

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass

from inferprint.errors import InvalidInput

PROBES_PER_LENGTH = 3
"""Requests, at most, by which a prompt length is found."""

FIRST_PROBES = 5
"""Requests, at most, by which it is found what the server understands."""

LEAST_REQUESTS = 8
ROUNDS = 4
"""Requests of a point where none are stated: so many, or so many times the concurrency where that is more."""

MAX_TOKENS = 10_000_000
"""Longest prompt or answer that is taken for meant [tokens]."""


@dataclass(frozen=True, slots=True, order=True)
class Point:
    """One load.

    Attributes
    ----------
    concurrency
        Requests in flight.
    prompt_tokens, answer_tokens
        Asked lengths [tokens].
    cached_share
        Share of the prompt that was sent before, 0 to 1.
    """

    concurrency: int
    prompt_tokens: int
    answer_tokens: int
    cached_share: float = 0.0

    @property
    def first_rounds(self) -> int:
        """Requests of each worker after which the load is steady."""
        return 1 if self.concurrency == 1 else 2

    @property
    def first(self) -> int:
        """Requests of all workers after which the load is steady."""
        return self.first_rounds * self.concurrency

    def __str__(self) -> str:
        """The point in words."""
        cached = f", {self.cached_share:.0%} of it cached" if self.cached_share else ""
        return f"{self.concurrency} x ({self.prompt_tokens} in{cached}, {self.answer_tokens} out)"


@dataclass(frozen=True, slots=True)
class SweepPlan:
    """The points of a sweep and its bounds.

    Attributes
    ----------
    concurrencies, prompt_tokens, answer_tokens, cached_shares
        Every combination is a point; but an answer of one token, which measures prompts, is asked for at the smallest
        concurrency alone. By default the longer prompt has as many tokens to compute with a prefix cached as the
        shorter one without, so that their difference tells what cached tokens take.
    requests_per_point
        Requests that count; by default 8, or four times the concurrency where that is more.
    seconds_per_point
        A point ends with the request that is under way then, even with fewer requests [s].
    max_requests, max_seconds
        Bounds of the whole sweep; the requests are at least enough for the first point.
    """

    concurrencies: Sequence[int] = (1, 2, 4, 8, 16)
    prompt_tokens: Sequence[int] = (512, 2048)
    answer_tokens: Sequence[int] = (1, 64, 256)
    cached_shares: Sequence[float] = (0.0, 0.75)
    requests_per_point: int | None = None
    seconds_per_point: float = 60.0
    max_requests: int = 2000
    max_seconds: float = 3600.0

    def __post_init__(self) -> None:
        for name, most in (("concurrencies", 100_000), ("prompt_tokens", MAX_TOKENS), ("answer_tokens", MAX_TOKENS)):
            _check_counts(name, getattr(self, name), most)
        if not self.cached_shares:
            raise InvalidInput("cached_shares", "none is given")
        for share in self.cached_shares:
            if not 0 <= share < 1:
                raise InvalidInput("cached_shares", f"{share:g} is no share of a prompt: at least 0 and below 1")
        if self.requests_per_point is not None and self.requests_per_point < 1:
            raise InvalidInput("requests_per_point", f"{self.requests_per_point} requests: one is the least")
        for name in ("seconds_per_point", "max_seconds"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise InvalidInput(name, f"{value:g} is not above 0")
        self._check_most()

    def _check_most(self) -> None:
        first = self.points()[0]
        least = FIRST_PROBES + PROBES_PER_LENGTH + self.sent(first)
        if self.max_requests < least:
            what = f"{self.max_requests}: to meet a server and measure the first point, {first}, takes up to {least}"
            raise InvalidInput("max_requests", what, hint="Allow more, or let fewer requests of a point count.")

    def points(self) -> list[Point]:
        """The points in the order in which they are measured: one request at a time first."""
        least = min(self.concurrencies)
        return [
            Point(concurrency, prompt, answer, share)
            for concurrency in sorted(set(self.concurrencies))
            for prompt in sorted(set(self.prompt_tokens))
            for share in sorted(set(self.cached_shares))
            for answer in sorted(set(self.answer_tokens))
            if answer > 1 or concurrency == least
        ]

    def counted(self, point: Point) -> int:
        """Requests of a point that count."""
        return self.requests_per_point or max(LEAST_REQUESTS, ROUNDS * point.concurrency)

    def sent(self, point: Point) -> int:
        """Requests of a point where none fails: the first of each worker, those that count, those under way last."""
        return point.first + self.counted(point) + point.concurrency - 1 + (point.cached_share > 0)

    @property
    def usual_requests(self) -> int:
        """Requests of the sweep where none fails."""
        return min(self.max_requests, self._probes() + sum(self.sent(point) for point in self.points()))

    def most_requests(self, *, metered: bool = False) -> int:
        """Requests of the sweep at most: a point is given up when more failed than were to count.

        With a meter a point may go on until the meter has resolved it, within its share (see `share`), so that the
        bound of the plan is the only one of the sweep.
        """
        if metered:
            return self.max_requests
        points = self.points()
        return min(
            self.max_requests, self._probes() + sum(self.sent(point) + self.counted(point) + 1 for point in points)
        )

    def most_tokens(self, *, metered: bool = False) -> int:
        """Prompt and answer tokens of the sweep at most, as they are asked for."""
        longest = max(self.prompt_tokens) + max(self.answer_tokens)
        if metered:
            return self.max_requests * longest
        probes = FIRST_PROBES + PROBES_PER_LENGTH * sum(set(self.prompt_tokens))
        points = sum(
            (self.sent(point) + self.counted(point) + 1) * (point.prompt_tokens + point.answer_tokens)
            for point in self.points()
        )
        return min(self.max_requests * longest, probes + points)

    def share(self, place: int, left: int, found: Container[int] = ()) -> int:
        """Requests that a point may send at most.

        Points after it keep what they usually take; of what is spare beyond that it may have half, the last one all.

        Parameters
        ----------
        place
            Of the point among `points`.
        left
            Requests that the sweep may still send.
        found
            Prompt lengths that need no finding any more.
        """
        points = self.points()
        usual, later = self.sent(points[place]), points[place + 1 :]
        spare = left - usual - self.usual_after(place, found)
        return usual + max(0, spare) // (2 if later else 1)

    def usual_after(self, place: int, found: Container[int] = ()) -> int:
        """Requests that the points after one usually take: see `share`."""
        points = self.points()
        found_then = {points[place].prompt_tokens}
        lengths = {point.prompt_tokens for point in points[place + 1 :]} - found_then
        finding = PROBES_PER_LENGTH * sum(length not in found for length in lengths)
        return finding + sum(self.sent(point) for point in points[place + 1 :])

    def _probes(self) -> int:
        return FIRST_PROBES + PROBES_PER_LENGTH * len(set(self.prompt_tokens))


def _check_counts(name: str, values: Sequence[int], most: int) -> None:
    if not values:
        raise InvalidInput(name, "none is given")
    for value in values:
        if not 1 <= value <= most:
            raise InvalidInput(name, f"{value} is not between 1 and {most:,}")
