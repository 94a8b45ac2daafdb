"""Meters that show a counter of energy."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from statistics import median

from inferprint.errors import MeterProblem
from inferprint.measure.meters.base import Boundary, Reading


class CounterMeter:
    """A meter that reads a counter when it is asked.

    Parameters
    ----------
    name, boundary
        See `Meter`.
    counters
        Returns the moment by `time.monotonic` [s] and the counter of each device [J].
    finest_s
        Changes closer than that are not told apart: it is not asked more often [s].
    devices
        How many it adds up; None where nothing tells it.
    least_wrap_j
        The counter begins anew at its end, which is no less than that [J], and may be seen to before the energy until
        then is added to what it shows: such a fall is one for a moment only. None where every fall is a reset, after
        which energy is missing.
    """

    def __init__(
        self,
        name: str,
        boundary: Boundary,
        counters: Callable[[], tuple[float, Sequence[float]]],
        finest_s: float = 0.0,
        *,
        devices: int | None = None,
        least_wrap_j: float | None = None,
    ) -> None:
        self.name = name
        self.devices: int | None = devices
        self.boundary: Boundary = boundary
        self._counters, self._finest_s = counters, finest_s
        at_s, self._first = counters()
        self._last, self._last_joules = tuple(self._first), 0.0
        self._changes = [at_s]
        self._least_wrap_j = least_wrap_j
        self._fell_s: float | None = None
        self._reset: str | None = None
        self._lock = threading.Lock()

    @property
    def resolution_s(self) -> float:
        """Time between two changes that were seen [s]; infinite before the second one."""
        # Since the first reading there was no whole step.
        with self._lock:
            changes = self._changes[1:]
        gaps = [later - earlier for earlier, later in pairwise(changes)]
        return max(self._finest_s, median(gaps)) if gaps else math.inf

    def read(self) -> Reading:
        """Energy since the meter was opened.

        Raises
        ------
        MeterProblem
            A counter fell, now or before, or it cannot be read.
        """
        with self._lock:
            return self._read()

    def _read(self) -> Reading:
        if self._reset is not None:
            raise self._runs_backwards(self._reset)
        at_s, values = self._counters()
        self._check_rising(at_s, values)
        joules = math.fsum(now - first for now, first in zip(values, self._first, strict=True))
        if joules > self._last_joules:
            self._changes.append(at_s)
            del self._changes[:-MOST_CHANGES]
        self._last, self._last_joules = tuple(values), joules
        return Reading(at_s, joules)

    def _check_rising(self, at_s: float, values: Sequence[float]) -> None:
        """Refuse a fall: for ever, however high the counter climbs afterwards, unless it may have come to its end."""
        falls = [
            (before - now, f"counter {device} of {len(values)} runs backwards, from {before:.6g} J to {now:.6g} J")
            for device, (before, now) in enumerate(zip(self._last, values, strict=True), 1)
            if not (math.isfinite(now) and now >= before)
        ]
        if not falls:
            self._fell_s = None
            return
        if self._fell_s is None:
            self._fell_s = at_s
        may_end = self._least_wrap_j is not None and at_s - self._fell_s <= LATE_WRAP_S
        resets = [said for fall_j, said in falls if not (may_end and fall_j >= (self._least_wrap_j or 0.0))]
        if resets:
            self._reset = resets[0]
        raise self._runs_backwards(resets[0] if resets else falls[0][1])

    def _runs_backwards(self, said: str) -> MeterProblem:
        return MeterProblem(
            f"{self.name}: {said}",
            hint="It was reset, by its driver or a restart, and energy is missing: measure again.",
        )

    def close(self) -> None:
        """Nothing is held."""

    def learn_resolution(self, changes: int, at_most_s: float, pause_s: float) -> None:
        """Read until the counter has changed often enough to know its resolution, or for a while.

        Raises
        ------
        MeterProblem
            It stands still.
        """
        until, looks = time.monotonic() + at_most_s, 0
        while len(self._changes) <= changes:
            # A busy machine may let the time pass without a look: that is no counter that stands still.
            if time.monotonic() > until and looks >= LEAST_LOOKS:
                if len(self._changes) > 2:
                    return
                shown = math.fsum(self._last)
                raise MeterProblem(
                    f"{self.name} stands still: its counter is at {shown:.6g} J for {at_most_s:g} s",
                    hint="Check that the accelerator is on and that its driver counts energy.",
                )
            time.sleep(pause_s)
            self.read()
            looks += 1


LATE_WRAP_S = 10.0
"""Time after a counter began anew in which the energy until then is added to it; a second, on a machine that is not
busy [s]."""

MOST_CHANGES = 200
"""Changes that a resolution is taken from, the newest."""

LEAST_LOOKS = 20
"""Readings before which a counter is not said to stand still."""
