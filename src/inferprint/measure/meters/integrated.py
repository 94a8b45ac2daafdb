"""Meters that show power: a thread reads it and adds up energy by the trapezoid rule."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from inferprint.errors import MeterProblem
from inferprint.measure.meters.base import Boundary, Reading

LONGEST_SILENCE_S = 10.0
"""Time without power after which reading the meter is a problem; shorter ones are gaps between readings [s]."""


@dataclass(frozen=True, slots=True)
class Power:
    """Power at a moment by `time.monotonic` [s], [W]."""

    at_s: float
    watts: float


def energy_of(powers: list[Power]) -> list[Reading]:
    """Energy since the first of some powers, by the trapezoid rule."""
    total, readings = 0.0, [Reading(power.at_s, 0.0, power.watts) for power in powers[:1]]
    for before, after in pairwise(powers):
        total += (before.watts + after.watts) / 2 * (after.at_s - before.at_s)
        readings.append(Reading(after.at_s, total, after.watts))
    return readings


def checked(watts: float, name: str) -> float:
    """A power that can be.

    Raises
    ------
    MeterProblem
        It is negative, or no number.
    """
    if not (math.isfinite(watts) and watts >= 0):
        raise MeterProblem(f"{name} shows {watts:g} W", hint="A meter shows power from 0 up.")
    return watts


class PowerMeter:
    """A meter whose readings are sums of power.

    Parameters
    ----------
    name, boundary
        See `Meter`.
    power
        Power now, and when: raises `MeterProblem` where it cannot be read.
    interval_s
        Time between two readings [s].
    devices
        How many it adds up; None where nothing tells it.

    Raises
    ------
    MeterProblem
        The first power cannot be read.
    """

    def __init__(
        self,
        name: str,
        boundary: Boundary,
        power: Callable[[], Power],
        interval_s: float,
        *,
        devices: int | None = None,
    ) -> None:
        self.name = name
        self.devices: int | None = devices
        self.boundary: Boundary = boundary
        self._power, self._interval_s = power, interval_s
        self._last = self._checked(power())
        self._readings = [Reading(self._last.at_s, 0.0, self._last.watts)]
        self._changed: list[float] = []
        self._problem: MeterProblem | None = None
        self._lock, self._stopped = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="power", daemon=True)
        self._thread.start()

    @property
    def resolution_s(self) -> float:
        """Time between two changes of the power that it shows; between two readings, where it changes with each."""
        with self._lock:
            gaps = [later - earlier for earlier, later in pairwise(self._changed)]
        return max(self._interval_s, median(gaps)) if gaps else self._interval_s

    def read(self) -> Reading:
        """Energy up to the newest power."""
        return self.readings()[-1]

    def readings(self) -> list[Reading]:
        """Energy at each power that was read.

        Raises
        ------
        MeterProblem
            There has been no power for a while.
        """
        with self._lock:
            found, problem = list(self._readings), self._problem
        if problem is not None and time.monotonic() - found[-1].at_s > LONGEST_SILENCE_S:
            raise MeterProblem(
                f"{problem.message}; the last reading was {self._last.watts:.4g} W, "
                f"{time.monotonic() - found[-1].at_s:.0f} s ago",
                hint=problem.hint,
            )
        return found

    def close(self) -> None:
        """Stop reading."""
        self._stopped.set()
        self._thread.join()

    def _checked(self, power: Power) -> Power:
        checked(power.watts, self.name)
        return power

    def _run(self) -> None:
        while not self._stopped.wait(self._interval_s):
            try:
                power = self._checked(self._power())
            except MeterProblem as problem:
                self._problem = problem
                continue
            self._problem = None
            if power.at_s > self._last.at_s:
                self._add(power)

    def _add(self, power: Power) -> None:
        before = self._last
        joules = self._readings[-1].joules + (before.watts + power.watts) / 2 * (power.at_s - before.at_s)
        with self._lock:
            self._readings.append(Reading(power.at_s, joules, power.watts))
            if power.watts != before.watts:
                self._changed.append(power.at_s)
        self._last = power
