"""Timing of a step: warm up until it is steady, then repeats of many steps, with their spread."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import fmean, stdev

STEADY = 0.03
"""Difference of two batches of steps, one after the other, below which a step is warm."""

MOST_WARM_BATCHES = 12
DRIFT = 0.05
"""Part by which the last repeat is slower than the first before a row says so."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Repeats of a step.

    Attributes
    ----------
    steps
        Steps of one repeat.
    seconds
        Time of one step in each repeat [s].
    start_s, end_s
        When the first repeat began and the last ended, by `time.monotonic` [s].
    was_steady
        Whether the warm-up came to rest.
    slowed
        What held the device's clocks down meanwhile.
    """

    steps: int
    seconds: tuple[float, ...]
    start_s: float
    end_s: float
    was_steady: bool = True
    slowed: tuple[str, ...] = ()

    @property
    def step_s(self) -> float:
        """Mean time of a step [s]."""
        return fmean(self.seconds)

    @property
    def spread(self) -> float:
        """Relative standard deviation of the repeats; 0 where there is one."""
        return stdev(self.seconds) / self.step_s if len(self.seconds) > 1 else 0.0

    @property
    def between(self) -> float:
        """Share of the time from the first repeat to the last in which no step ran, from 0 to 1."""
        return max(0.0, 1.0 - self.steps * sum(self.seconds) / (self.end_s - self.start_s))

    def remarks(self) -> list[str]:
        """What is to be known of it."""
        said = [f"relative standard deviation {self.spread:.2%} over {len(self.seconds)} x {self.steps} steps"]
        slower = self.seconds[-1] / self.seconds[0] - 1
        if slower > DRIFT:
            said.append(f"the last repeat was {slower:.0%} slower than the first: its clocks may have fallen")
        if not self.was_steady:
            said.append("the warm-up did not come to rest")
        return [*said, *(f"held down by {reason}" for reason in self.slowed)]


def measure(
    timed: Callable[[int], float],
    *,
    repeats: int,
    seconds: float,
    end_s: float = math.inf,
    slowed_by: Callable[[], list[str]] = list,
    clock: Callable[[], float] = time.monotonic,
) -> Timing | None:
    """Time a step.

    Parameters
    ----------
    timed
        Runs so many steps and returns their time [s].
    repeats, seconds
        So many repeats, together so long at least [s].
    end_s
        When to begin no other repeat, by the clock [s].
    slowed_by
        What holds the device's clocks down at a moment.

    Returns
    -------
    Timing or None
        None where the time was over before the first repeat.
    """
    wanted = seconds / repeats
    steps, was_steady = _warm(timed, wanted, end_s, clock)
    found: list[float] = []
    slowed: dict[str, None] = {}
    start = clock()
    while len(found) < repeats and clock() < end_s:
        found.append(timed(steps) / steps)
        slowed |= dict.fromkeys(slowed_by())
    if not found:
        return None
    return Timing(steps, tuple(found), start, clock(), was_steady, tuple(slowed))


def _warm(timed: Callable[[int], float], wanted: float, end_s: float, clock: Callable[[], float]) -> tuple[int, bool]:
    """Steps that take a repeat's time, found while the device warms up; and whether it came to rest."""
    steps, before = 1, math.inf
    for _ in range(MOST_WARM_BATCHES):
        if clock() >= end_s:
            return steps, False
        each = timed(steps) / steps
        enough = max(1, math.ceil(wanted / max(each, 1e-9)))
        if steps * 4 >= enough and abs(each / before - 1) <= STEADY:
            return enough, True
        before = each
        steps = min(4 * steps, max(1, math.ceil(enough / 4)))
    return max(1, math.ceil(wanted / max(before, 1e-9))), False
