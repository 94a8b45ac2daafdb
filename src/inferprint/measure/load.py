"""One point of a sweep: as many requests in flight as it says, and the window in which their number is steady."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean

from inferprint.measure.answers import Answered, Failed
from inferprint.measure.client import Client
from inferprint.measure.plan import Point

PAUSE_AFTER_FAILURE_S = 0.2
LONGEST_WAIT_S = 60.0
"""Longest wait that a server may ask for [s]."""

AT_ONCE_SHARE = 0.1
"""Share of the time with answers under way in which at least so many are, to say that so many are given at a time."""

HOPELESS = 3
"""Failures one after the other, and two for each worker, after which a point is given up."""


Span = tuple[float, float]
"""From one moment to another [s]."""


class Budget:
    """How many requests may still be sent.

    Parameters
    ----------
    limit
        Requests at most.
    report
        Told how many were sent.
    """

    def __init__(self, limit: int, report: Callable[[int], None] = lambda _: None) -> None:
        self.limit, self.sent, self.waits, self.again = limit, 0, 0, 0
        self._report = report
        self._whole: Budget | None = None

    def part(self, limit: int) -> Budget:
        """A budget of so many requests at most, which are taken from this one too."""
        part = Budget(limit)
        part._whole = self
        return part

    @property
    def left(self) -> int:
        """Requests that may still be sent."""
        own = self.limit - self.sent
        return own if self._whole is None else min(own, self._whole.left)

    def take(self, count: int = 1) -> bool:
        """Take requests; False where there are none left."""
        if self.left < count:
            return False
        self.sent += count
        if self._whole is not None:
            self._whole.take(count)
        self._report(self.sent)
        return True

    def take_again(self) -> bool:
        """Take a request that is sent a second time, as the server cannot have seen it; False where none is left."""
        if not self.take():
            return False
        self.again += 1
        if self._whole is not None:
            self._whole.again += 1
        return True

    def wait(self) -> None:
        """Count a request that was told to wait."""
        self.waits += 1
        if self._whole is not None:
            self._whole.wait()


Ask = Callable[[str, int], Awaitable[Answered | Failed]]
"""Sends a prompt and asks for so many answer tokens; see `Client.ask`."""


async def ask_patiently(ask: Ask, budget: Budget, prompt: str, answer_tokens: int) -> Answered | Failed | None:
    """One request, and once more where the server asks to wait or cannot have seen it; None without any budget."""
    if not budget.take():
        return None
    outcome = await ask(prompt, answer_tokens)
    if isinstance(outcome, Failed) and outcome.is_stale and budget.take_again():
        outcome = await ask(prompt, answer_tokens)
    if isinstance(outcome, Answered) or outcome.retry_after_s is None or outcome.retry_after_s > LONGEST_WAIT_S:
        return outcome
    budget.wait()
    await asyncio.sleep(outcome.retry_after_s)
    return await ask(prompt, answer_tokens) if budget.take() else outcome


@dataclass(frozen=True, slots=True)
class Steady:
    """The steady window of a point and the requests that ended in it.

    It begins when every worker has ended its first requests (see `Point.first_rounds`), and ends with an answer, so
    that whole requests lie between both ends. The first ones ask for answers of spread lengths, so that those after
    them do not run in step. Where a server answers batch by batch, those after them wait for each other all the same,
    and longer than later ones do, so that they are no part of it.

    Attributes
    ----------
    start_s, end_s
        By `time.monotonic` [s].
    answers
        All began while every worker was busy.
    in_flight
        Mean number of requests in flight, counted, of those that did not fail.
    failed_in_flight
        The same of those that failed.
    at_once
        Number of answers that are given at a time: so many, or more, in a tenth of the time in which any is.
    client_share
        Share of the window that the client's own thread was computing.
    """

    start_s: float
    end_s: float
    answers: tuple[Answered, ...]
    in_flight: float
    failed_in_flight: float
    at_once: int
    client_share: float

    @property
    def seconds(self) -> float:
        """Its length [s]."""
        return self.end_s - self.start_s

    @property
    def duration_s(self) -> float:
        """Mean time of a request [s]."""
        return fmean(answer.duration_s for answer in self.answers)

    @property
    def n_out(self) -> float:
        """Mean answer tokens of a request."""
        return fmean(answer.n_out for answer in self.answers)

    @property
    def rate(self) -> float:
        """Requests per second by Little's law: those in flight over their mean time.

        Where answers come in bursts, as of a server that answers batch by batch, the window ends with the first of a
        burst, so that counting would add up to a whole burst to what the time between both ends gave.
        """
        return self.in_flight / self.duration_s

    @property
    def counted_rate(self) -> float:
        """Requests per second as they ended in the window."""
        return len(self.answers) / self.seconds

    @property
    def pause_share(self) -> float:
        """Share of the window in which a single worker had no request in flight."""
        return max(0.0, 1.0 - self.in_flight - self.failed_in_flight)

    @property
    def tokens_per_s(self) -> float:
        """Answer tokens per second."""
        return self.rate * self.n_out


@dataclass(slots=True)
class Load:
    """Workers that keep a point's requests in flight: each sends its next one when it has its answer.

    Attributes
    ----------
    budget
        What the point may send.
    counted
        Answers that end the point.
    least_seconds, most_seconds
        The window lasts at least so long even with more answers, and ends so late even with fewer [s].
    give_up_at
        Moment at which what is under way is dropped [s].
    next_prompt
        Makes the next prompt.
    outcomes, late
        What came of the requests that ended until the window did, and of those after it.
    was_dropped
        Whether `give_up_at` came first.
    """

    client: Client
    budget: Budget
    point: Point
    next_prompt: Callable[[], str]
    counted: int
    least_seconds: float
    most_seconds: float
    give_up_at: float
    outcomes: list[Answered | Failed] = field(default_factory=list)
    late: list[Answered | Failed] = field(default_factory=list)
    was_dropped: bool = False
    _inside: list[Answered] = field(default_factory=list)
    _spans: list[Span] = field(default_factory=list)
    _failed: list[Span] = field(default_factory=list)
    _answering: list[Span] = field(default_factory=list)
    _start: float | None = None
    _computing: tuple[float, float] = (0.0, 0.0)
    _ramping: int = 0
    _failed_in_a_row: int = 0
    _over: bool = False

    @property
    def failures(self) -> list[Failed]:
        """Requests that failed until the window ended."""
        return [outcome for outcome in self.outcomes if isinstance(outcome, Failed)]

    @property
    def expected(self) -> int:
        """Requests that it will still send, by how it went so far, but for failures."""
        after = self.point.concurrency - 1
        if self._over:
            return 0
        if self._start is None:
            return min(self.budget.left, max(0, self.counted + self.point.first + after - self.budget.sent))
        inside, seconds = len(self._inside), time.monotonic() - self._start
        missing = self.counted - inside
        if missing <= 0 < seconds:
            missing = math.ceil((min(self.least_seconds, self.most_seconds) - seconds) * inside / seconds)
        return min(self.budget.left, max(0, missing))

    async def run(self) -> Steady | None:
        """Run the point; None where no request ended in a steady window."""
        self._ramping = self.point.first
        try:
            async with asyncio.timeout_at(self.give_up_at), asyncio.TaskGroup() as group:
                for place in range(self.point.concurrency):
                    group.create_task(self._work(place))
        except TimeoutError:
            self.was_dropped = True
        if self._start is None or not self._inside:
            return None
        end = max(answer.ended for answer in self._inside)
        if end <= self._start:
            return None
        share = (self._computing[1] - self._computing[0]) / (end - self._start)
        window, inside = (self._start, end), tuple(self._inside)
        return Steady(
            *window,
            inside,
            in_flight=_mean_number(self._spans, window),
            failed_in_flight=_mean_number(self._failed, window),
            at_once=_at_once(self._answering, window),
            client_share=share,
        )

    async def _ask(self, prompt: str, answer_tokens: int) -> Answered | Failed:
        """One request, of which it is kept from when to when it was in flight."""
        began = time.monotonic()
        outcome: Answered | Failed | None = None
        try:
            outcome = await self.client.ask(prompt, answer_tokens)
        finally:
            span = (outcome.started, outcome.ended) if outcome is not None else (began, time.monotonic())
            if not isinstance(outcome, Failed):
                self._spans.append(span)
            elif not outcome.is_stale:
                # What the server cannot have seen loaded nothing.
                self._failed.append(span)
        if isinstance(outcome, Answered):
            self._answering.append((outcome.first_token, outcome.last_token))
        return outcome

    async def _work(self, place: int) -> None:
        """What one worker does."""
        answer_tokens = math.ceil(self.point.answer_tokens * (place + 1) / self.point.concurrency)
        ended = 0
        while not self._over:
            outcome = await ask_patiently(self._ask, self.budget, self.next_prompt(), answer_tokens)
            if outcome is None:
                self._over = True
                return
            self._take(outcome, is_first=ended < self.point.first_rounds)
            if isinstance(outcome, Failed):
                await asyncio.sleep(PAUSE_AFTER_FAILURE_S)
            answer_tokens = self.point.answer_tokens
            ended += 1

    def _take(self, outcome: Answered | Failed, *, is_first: bool) -> None:
        if self._over:
            self.late.append(outcome)
            return
        self.outcomes.append(outcome)
        self._failed_in_a_row = self._failed_in_a_row + 1 if isinstance(outcome, Failed) else 0
        if is_first:
            self._ramping -= 1
            if not self._ramping:
                self._start = outcome.ended
                self._computing = (time.thread_time(), time.thread_time())
        elif self._start is not None and isinstance(outcome, Answered):
            self._inside.append(outcome)
            self._computing = (self._computing[0], time.thread_time())
        self._over = self._is_over()

    def _is_over(self) -> bool:
        if len(self.failures) > self.counted or self._failed_in_a_row >= max(HOPELESS, 2 * self.point.concurrency):
            return True
        if self._start is None:
            return False
        seconds = time.monotonic() - self._start
        return seconds >= self.most_seconds or (len(self._inside) >= self.counted and seconds >= self.least_seconds)


def _inside(spans: Sequence[Span], window: Span) -> list[Span]:
    """What of spans lies in a window."""
    cut = ((max(first, window[0]), min(last, window[1])) for first, last in spans)
    return [(first, last) for first, last in cut if first < last]


def _mean_number(spans: Sequence[Span], window: Span) -> float:
    """How many spans run in the mean of a window."""
    return math.fsum(last - first for first, last in _inside(spans, window)) / (window[1] - window[0])


def _at_once(spans: Sequence[Span], window: Span) -> int:
    """How many spans run at a time: see `Steady`."""
    inside = _inside(spans, window)
    # Where one ends as another begins, they do not run together.
    steps = sorted([(first, 1) for first, _ in inside] + [(last, -1) for _, last in inside])
    seconds: dict[int, float] = {}
    running = 0
    for (moment, step), (later, _) in pairwise(steps):
        running += step
        seconds[running] = seconds.get(running, 0.0) + later - moment
    busy = math.fsum(span for number, span in seconds.items() if number)
    for number in sorted(seconds, reverse=True):
        if math.fsum(span for other, span in seconds.items() if other >= number) >= AT_ONCE_SHARE * busy > 0:
            return number
    return 0
