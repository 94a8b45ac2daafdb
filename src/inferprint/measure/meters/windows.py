"""Energy between two moments, and whose it is.

Between two readings energy is taken to grow evenly. What a meter shows changes in steps; a value that did not change is
no new reading, so that a step is spread over the time that it stands for.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from types import TracebackType
from typing import Literal

from inferprint.errors import MeterProblem
from inferprint.measure.meters.base import KeepsReadings, Meter, Reading
from inferprint.measure.meters.integrated import PowerMeter

LEAST_RESOLUTIONS = 20.0
"""A window is to be so many times as long as the resolution: the unknown at both ends is below a tenth then."""

LONGEST_GAP = 5.0
"""Spacings, as usual ones go, beyond which a gap between readings is no spacing any more."""

MOST_UNSEEN = 0.05
"""Share of a window over which energy may be taken to grow evenly because nothing was read there, or nothing new."""

LEAST_POWERS = 10
"""Readings of power from which on it stands still where all are the same."""

ReadAs = Literal["record", "power", "counter"]
"""Who read a meter: "record": somebody else, so that a gap is one of the meter; "power", "counter": this package, so
that a gap may be one of its own looking. A counter misses nothing while nobody looks, power is interpolated."""

SHORTEST_POLL_S, LONGEST_POLL_S = 0.02, 0.5
SURPLUS_S = 2.0
"""Time that a meter gets beyond its usual spacing to show the end of a window [s]."""

LEAST_OFFSET_S = 900.0
"""Least difference between the times of two zones [s]."""

LATEST_LOOK_S = 30.0
"""Time after that in which this package may come to look at the meter, on a machine that is busy [s]."""


@dataclass(frozen=True, slots=True)
class Window:
    """Energy between two moments.

    Attributes
    ----------
    start_s, end_s
        Moments [s].
    joules
        Energy between them [J].
    resolution_s
        Time between two readings [s].
    """

    start_s: float
    end_s: float
    joules: float
    resolution_s: float

    @property
    def seconds(self) -> float:
        """Its length [s]."""
        return self.end_s - self.start_s

    @property
    def watts(self) -> float:
        """Mean power [W]."""
        return self.joules / self.seconds

    @property
    def is_short(self) -> bool:
        """Whether the meter is too slow for it: the ends may hold more than a tenth of the energy."""
        return self.seconds < LEAST_RESOLUTIONS * self.resolution_s


def energy_between(
    readings: Sequence[Reading],
    start_s: float,
    end_s: float,
    *,
    name: str = "the meter",
    resolution_s: float = 0.0,
    read_as: ReadAs = "record",
    flag_short: bool = False,
) -> Window:
    """Energy between two moments, interpolated between readings.

    Parameters
    ----------
    readings
        In the order of time; `start_s` and `end_s` are of the same clock.
    name
        Of the meter, for messages.
    resolution_s
        Of the meter, where it is coarser than the readings [s].
    read_as
        Who read them, by which gaps are judged.
    flag_short
        Return a window that is too short for the meter (see `Window.is_short`) instead of refusing it.

    Raises
    ------
    MeterProblem
        The readings run backwards, stand still, have a gap, or do not cover the window; power is the same all the time;
        or the window is too short.
    """
    if not start_s < end_s:
        raise MeterProblem(f"{name}: a window from {start_s:.6g} s to {end_s:.6g} s has no length")
    changes = changes_of(readings, name)
    _check_power(readings, start_s, end_s, name)
    if len(changes) < 2:
        raise _stands_still(name, changes[0] if changes else None, end_s - start_s)
    spacing = median(later.at_s - earlier.at_s for earlier, later in pairwise(changes))
    _check_covered(changes, readings[-1], start_s, end_s, name)
    _check_gaps(readings, changes, (start_s, end_s), spacing, name, read_as)
    first, last = _at(changes, start_s), _at(changes, end_s)
    if not last > first:
        raise _stands_still(name, Reading(end_s, last), end_s - start_s)
    window = Window(start_s, end_s, last - first, max(spacing, resolution_s))
    if window.is_short and not flag_short:
        raise too_short(window, name)
    return window


def too_short(window: Window, name: str) -> MeterProblem:
    """What is to be said of a window that is too short for its meter (see `Window.is_short`)."""
    return MeterProblem(
        f"{name}: {window.seconds:.3g} s with {window.joules:.4g} J are too short for a meter that shows a new "
        f"value every {window.resolution_s:.3g} s",
        hint=f"Measure {LEAST_RESOLUTIONS * window.resolution_s:.3g} s at least.",
    )


def changes_of(readings: Sequence[Reading], name: str = "the meter") -> list[Reading]:
    """The readings at which the meter showed a new value.

    Raises
    ------
    MeterProblem
        Time or energy runs backwards.
    """
    changes: list[Reading] = []
    for reading in readings:
        if not changes:
            changes.append(reading)
            continue
        before = changes[-1]
        if not math.isfinite(reading.joules) or reading.joules < before.joules:
            raise MeterProblem(
                f"{name} runs backwards: {before.joules:.6g} J, and {reading.joules:.6g} J "
                f"{reading.at_s - before.at_s:.3g} s later",
                hint="Its counter was reset, or wrapped around: measure again.",
            )
        if reading.at_s <= before.at_s:
            if reading != before:
                raise MeterProblem(
                    f"{name}: the time runs backwards, from {before.at_s:.6f} s to {reading.at_s:.6f} s "
                    f"at {reading.joules:.6g} J"
                )
        elif reading.joules > before.joules:
            changes.append(reading)
    return changes


def _check_power(readings: Sequence[Reading], start_s: float, end_s: float, name: str) -> None:
    """Refuse power that never changes: what is shown is an old value again and again, as real power varies."""
    shown = [r.watts for r in readings if r.watts is not None and start_s <= r.at_s <= end_s]
    if len(shown) >= LEAST_POWERS and min(shown) == max(shown):
        raise MeterProblem(
            f"{name} stands still: it shows {shown[0]:.6g} W in all {len(shown)} readings of {end_s - start_s:.3g} s",
            hint="Real power varies a little: check that the meter is on, and that what is read from it is new.",
        )


def _check_covered(changes: Sequence[Reading], last: Reading, start_s: float, end_s: float, name: str) -> None:
    first, newest = changes[0], changes[-1]
    if start_s < first.at_s:
        raise MeterProblem(
            f"{name}: its first reading, {first.joules:.6g} J, is {_seconds(first.at_s - start_s)} after the beginning "
            "of the window",
            hint=_other_clock(first.at_s - start_s) or "Begin to read the meter before the work begins.",
        )
    if end_s > newest.at_s:
        # Only what was looked at stood still.
        still = last.at_s - newest.at_s if last.at_s >= end_s else 0.0
        what = f"stands still at {newest.joules:.6g} J for {still:.3g} s" if still > 0 else "has no later reading"
        raise MeterProblem(
            f"{name} {what}, and the window ends {_seconds(end_s - newest.at_s)} after its last value",
            hint=_other_clock(end_s - newest.at_s) or "Read the meter until after the work has ended.",
        )


def _seconds(seconds: float) -> str:
    return f"{seconds:,.0f} s" if seconds >= LEAST_OFFSET_S else f"{seconds:.3g} s"


def _other_clock(off_s: float) -> str:
    """What to do where readings are off by so much that their clock is another one; empty where it need not be [s]."""
    if off_s < LEAST_OFFSET_S:
        return ""
    return "Are its times those of another zone? They are to be in UTC, or to name their offset, as +02:00."


def _check_gaps(
    readings: Sequence[Reading],
    changes: Sequence[Reading],
    window: tuple[float, float],
    spacing: float,
    name: str,
    read_as: ReadAs,
) -> None:
    """Refuse gaps over which energy cannot be taken to grow evenly: of the meter, or of our own looking at it."""
    start_s, end_s = window
    unseen_limit = max(LONGEST_GAP * spacing, MOST_UNSEEN * (end_s - start_s))
    limit = LONGEST_GAP * spacing if read_as == "record" else unseen_limit
    looked = {reading.joules: reading.at_s for reading in readings}
    unseen = 0.0
    for earlier, later in pairwise(changes):
        if later.at_s <= start_s or earlier.at_s >= end_s or later.at_s - earlier.at_s <= LONGEST_GAP * spacing:
            continue
        still = later.at_s - earlier.at_s if read_as == "record" else looked[earlier.joules] - earlier.at_s
        if still > limit:
            raise MeterProblem(
                f"{name}: no new value for {still:.3g} s after {earlier.joules:.6g} J, where one came every "
                f"{spacing:.3g} s",
                hint="It stood still or was not recorded meanwhile: measure again.",
            )
        inside = start_s < earlier.at_s and later.at_s < end_s
        if read_as == "power" or not inside:
            unseen += later.at_s - earlier.at_s
    if unseen > unseen_limit:
        raise MeterProblem(
            f"{name} was not read for {unseen:.3g} s of the {end_s - start_s:.3g} s or at their ends: this machine was "
            "too busy to look at it, or it did not answer",
            hint=f"Leave this command a core, or measure {unseen / MOST_UNSEEN:.3g} s at least.",
        )


def _stands_still(name: str, reading: Reading | None, seconds: float) -> MeterProblem:
    shown = "it shows nothing" if reading is None else f"it shows {reading.joules:.6g} J throughout"
    return MeterProblem(
        f"{name} stands still: {shown}, for {seconds:.3g} s",
        hint="Check that it meters the machine that does the work, and that it is on.",
    )


def _at(changes: Sequence[Reading], moment_s: float) -> float:
    """Energy at a moment within the readings [J]."""
    after = min(bisect_right(changes, moment_s, key=lambda reading: reading.at_s), len(changes) - 1)
    earlier, later = changes[after - 1], changes[after]
    share = (moment_s - earlier.at_s) / (later.at_s - earlier.at_s)
    return earlier.joules + share * (later.joules - earlier.joules)


def attribute(total_j: float, weights: Sequence[float]) -> list[float]:
    """Shares of an energy in proportion to weights; their sum, in any order, is the energy itself.

    Parameters
    ----------
    total_j
        Energy [J].
    weights
        Of any unit, none below 0. The largest share takes what rounding leaves.

    Raises
    ------
    ValueError
        A weight or the energy is negative or no number, or no weight is above 0.
    """
    whole = math.fsum(weights)
    if not (math.isfinite(total_j) and total_j >= 0):
        raise ValueError(f"{total_j} J cannot be shared out")
    if not (math.isfinite(whole) and whole > 0) or min(weights) < 0:
        raise ValueError("shares need weights of which none is negative and one above 0")
    largest = max(range(len(weights)), key=weights.__getitem__)
    # In steps of the last bit of the whole, so that no sum of shares is rounded.
    step = math.ulp(total_j)
    shares = [math.floor(total_j * (weight / whole) / step) * step for weight in weights]
    shares[largest] = total_j - sum(share for i, share in enumerate(shares) if i != largest)
    return shares


class Recorder:
    """Reads a meter in the background, so that the energy between any two moments is known afterwards.

    Parameters
    ----------
    meter
        Read and not closed; one that keeps its own readings is left to do so.
    interval_s
        Time between two readings [s]; half the meter's resolution by default.
    """

    def __init__(self, meter: Meter, *, interval_s: float | None = None) -> None:
        self.meter = meter
        self._interval_s = interval_s
        self._readings: list[Reading] = []
        self._problem: MeterProblem | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="meter", daemon=True)

    def __enter__(self) -> Recorder:
        """Begin to read.

        Raises
        ------
        MeterProblem
            The meter cannot be read.
        """
        if not isinstance(self.meter, KeepsReadings):
            self._readings.append(self.meter.read())
            self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Stop reading; what was read stays."""
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join()

    def readings(self) -> list[Reading]:
        """What was read so far.

        Raises
        ------
        MeterProblem
            The meter could not be read any more.
        """
        if isinstance(self.meter, KeepsReadings):
            return list(self.meter.readings())
        if self._problem is not None:
            raise self._problem
        return list(self._readings)

    def window(self, start_s: float, end_s: float, *, flag_short: bool = False) -> Window:
        """Energy between two moments by `time.monotonic`; waits until the meter has shown the end.

        Raises
        ------
        MeterProblem
            See `energy_between`; or the meter could not be read.
        """
        name = self.meter.name
        readings = self._readings_until(end_s)
        resolution = self.meter.resolution_s
        return energy_between(
            readings,
            start_s,
            end_s,
            name=name,
            resolution_s=resolution if math.isfinite(resolution) else 0.0,
            read_as=self._read_as(),
            flag_short=flag_short,
        )

    def _read_as(self) -> ReadAs:
        if not isinstance(self.meter, KeepsReadings):
            return "counter"
        return "power" if isinstance(self.meter, PowerMeter) else "record"

    def _readings_until(self, end_s: float) -> list[Reading]:
        """The readings, as soon as they show a moment, or when they should have shown it.

        What cannot be read at one moment may be at the next.
        """
        while True:
            problem: MeterProblem | None = None
            try:
                readings = self.readings()
            except MeterProblem as met:
                problem, readings = met, list(self._readings)
            changes = changes_of(readings, self.meter.name)
            if changes and changes[-1].at_s >= end_s:
                return readings
            now, late = time.monotonic(), end_s + self._patience_s(changes)
            ours = problem is None and readings and self._read_as() != "record"
            looked = readings[-1].at_s if ours else now
            # Where nobody came to look, the meter is not to blame.
            if now > late and (looked > late or self._stopped.is_set() or now > late + LATEST_LOOK_S):
                if problem is not None:
                    raise problem
                return readings
            self._stopped.wait(SHORTEST_POLL_S)

    def _patience_s(self, changes: Sequence[Reading]) -> float:
        """How long after a window's end its meter may show it [s]."""
        if self._stopped.is_set():
            return 0.0
        usual = [later.at_s - earlier.at_s for earlier, later in pairwise(changes)]
        resolution = self.meter.resolution_s
        return SURPLUS_S + 2 * max([*usual[-3:], resolution if math.isfinite(resolution) else 0.0])

    def _run(self) -> None:
        while not self._stopped.wait(self._pause_s()):
            self._look()

    def _look(self) -> None:
        """Read the meter once and keep what it shows."""
        try:
            reading = self.meter.read()
        except MeterProblem as problem:
            self._problem = problem  # it may come back: a gap that is too long shows in the window
            return
        self._problem = None
        before = self._readings
        if len(before) > 1 and before[-2].joules == before[-1].joules == reading.joules:
            before[-1] = reading  # it stands still since the one before: only until when is of interest
        else:
            before.append(reading)

    def _pause_s(self) -> float:
        if self._interval_s is not None:
            return self._interval_s
        half = self.meter.resolution_s / 2
        return min(max(half, SHORTEST_POLL_S), LONGEST_POLL_S) if half > 0 else LONGEST_POLL_S
