"""Energy of a sweep: idle power first, then each point's window, as long as the meter can tell."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from inferprint.errors import MeterProblem
from inferprint.measure.load import Load, Steady
from inferprint.measure.meters.base import NO_METER, Meter, Reading
from inferprint.measure.meters.windows import LEAST_RESOLUTIONS, Recorder, Window, changes_of, too_short
from inferprint.measure.observations import Row
from inferprint.measure.plan import Point
from inferprint.measure.rows import energy_of

LONGEST_UNKNOWN_WAIT_S = 120.0
"""Longest wait for a meter of which it is not known how often it shows a new value [s]."""

FINEST_READING_S = 0.05
"""Time between two readings of a meter that shows more than is read of it [s]."""

LONGEST_STILL_S = 30.0
"""Time under load without a new value after which a meter stands still, where its usual one is not known [s]."""

NEARLY = 0.9
"""Part of the longest time of a point from which on it was used: a window ends with a whole answer, a little before."""

GIVEN_UP = "energy is given up, and the rows hold times alone"


class SweepEnergy:
    """Meters one sweep.

    Parameters
    ----------
    meter
        Of what serves; None where there is none.
    seconds_per_point
        Longest time of a point [s].
    note
        Told what holds for the whole sweep.
    idle_seconds
        How long the power of the waiting server is metered [s].

    Attributes
    ----------
    told
        The meter's name, its boundary and the idle power [W]; None before that was metered.
    """

    def __init__(
        self, meter: Meter | None, seconds_per_point: float, note: Callable[[str], None], *, idle_seconds: float
    ) -> None:
        self._meter, self._seconds_per_point = meter, seconds_per_point
        self._note, self._idle_seconds = note, idle_seconds
        self.told: dict[str, Any] | None = None
        self._recorder: Recorder | None = None
        self._idle_w: float | None = None
        self._still_s = 0.0
        self._given_up = ""
        self._has_said_why = False

    @contextmanager
    def metering(self) -> Iterator[None]:
        """Read the meter meanwhile."""
        if self._meter is None:
            self._note(NO_METER)
            yield
            return
        with Recorder(self._meter) as self._recorder:
            yield

    def least_seconds(self) -> float:
        """How long a window has to be for the meter [s]."""
        if self._meter is None or self._recorder is None or self._given_up:
            return 0.0
        return min(_needed_s(self._meter), self._longest_s)

    @property
    def _longest_s(self) -> float:
        """How long a point may wait for its meter [s]."""
        known = self._meter is not None and math.isfinite(self._meter.resolution_s)
        return self._seconds_per_point if known else min(self._seconds_per_point, LONGEST_UNKNOWN_WAIT_S)

    async def wait_idle(self, end_s: float) -> None:
        """Meter the server while it waits for work, once, and until the sweep has to end at the latest."""
        recorder = self._recorder
        if recorder is None or self.told is not None:
            return
        self.told = {"meter": recorder.meter.name, "boundary": recorder.meter.boundary, "idle_w": None}
        start = time.monotonic()
        await asyncio.sleep(max(0.1, min(self._idle_seconds, end_s - start)))
        try:
            window = await asyncio.to_thread(recorder.window, start, time.monotonic(), flag_short=True)
            self._idle_w = self.told["idle_w"] = window.watts
        except MeterProblem as problem:
            # Nothing is drawn, or the counter sleeps: under load it will be seen again.
            self._note(f"no power before the load: {problem}")

    async def window(self, point: Point, load: Load, steady: Steady) -> tuple[Window | None, list[str]]:
        """Energy of a point's window, or what is to be said where there is none."""
        recorder = self._recorder
        if recorder is None:
            return None, []
        if self._given_up:
            return None, [f"no energy: {self._given_up}"]
        is_short = False
        try:
            window = await asyncio.to_thread(recorder.window, steady.start_s, steady.end_s, flag_short=True)
            is_short = window.is_short
            if not is_short:
                return window, []
            problem = too_short(window, recorder.meter.name)
        except MeterProblem as met:
            problem = met
        if not self._gives_up(recorder, steady) and not self._has_said_why:
            self._has_said_why = True
            hints = ["" if is_short else problem.hint, self._what_gives_more(load, steady, is_short=is_short)]
            advice = " ".join([*filter(None, hints), "Other rows without energy say why themselves."])
            self._note(f"no energy for {point}: {problem.message}\n  {advice}")
        return None, [f"no energy: {problem.message}"]

    def added_to(self, row: Row, point: Point, steady: Steady, window: Window) -> Row:
        """The row of a point with the energy of its window."""
        assert self._meter is not None
        return energy_of(row, point, steady, window, self._meter.boundary, self._idle_w)

    def _what_gives_more(self, load: Load, steady: Steady, *, is_short: bool) -> str:
        """What to change for a window that its meter can resolve, by what ended it; empty where it was long enough."""
        if not load.budget.left:
            return "Its requests were used up before the meter had resolved it: allow more with --max-requests."
        if not is_short:
            return ""
        if steady.seconds >= NEARLY * self._longest_s:
            return "Allow a point more time with --seconds."
        return "Let more answers of a point count with --requests."

    def _gives_up(self, recorder: Recorder, steady: Steady) -> bool:
        """After a window without energy, whether no later point has to wait for the meter.

        So it is where that is lost, stands still or can resolve none.
        """
        meter, resolution = recorder.meter, recorder.meter.resolution_s
        try:
            shown = {reading.joules for reading in _since(steady.start_s, recorder)}
        except MeterProblem as lost:
            self._given_up = lost.message
            hint = f"\n  {lost.hint}" if lost.hint else ""
            self._note(f"{lost.message}: {GIVEN_UP}{hint}")
            return True
        self._still_s = self._still_s + steady.seconds if len(shown) <= 1 else 0.0
        enough = LEAST_RESOLUTIONS * resolution if math.isfinite(resolution) else LONGEST_STILL_S
        if self._still_s >= NEARLY * min(enough, self._longest_s):
            self._given_up = f"{meter.name} stood still under load for {self._still_s:.3g} s"
        elif math.isfinite(resolution) and enough > self._longest_s:
            needed = f"{meter.name} needs {_needed_s(meter):.3g} s for a point"
            self._given_up = f"{needed}, which has {self._longest_s:.3g} s (--seconds)"
        if self._given_up:
            self._note(f"{self._given_up}: {GIVEN_UP}")
        return bool(self._given_up)


def _needed_s(meter: Meter) -> float:
    """Length of a window that a meter resolves [s]; infinite as long as it has not shown two new values."""
    return 1.1 * LEAST_RESOLUTIONS * max(meter.resolution_s, FINEST_READING_S)


def _since(moment_s: float, recorder: Recorder) -> list[Reading]:
    """What a meter showed since a moment.

    Raises
    ------
    MeterProblem
        It can be read no more, or its readings cannot be.
    """
    readings = recorder.readings()
    changes_of(readings, recorder.meter.name)
    return [reading for reading in readings if reading.at_s >= moment_s]
