"""Energy between two moments, and its shares."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferprint.errors import MeterProblem
from inferprint.measure.meters.base import Boundary, Reading
from inferprint.measure.meters.integrated import Power, PowerMeter, energy_of
from inferprint.measure.meters.windows import LEAST_RESOLUTIONS, Recorder, attribute, energy_between


class Counter:
    """A counter of a steady power that shows a new value every `step_s`."""

    name, boundary = "counter", "gpu_only"

    def __init__(self, watts: float, step_s: float, spoil: Callable[[float, float], float] | None = None) -> None:
        self.watts, self.resolution_s, self.spoil = watts, step_s, spoil
        self.begin = time.monotonic()
        self.boundary: Boundary = "gpu_only"

    def read(self) -> Reading:
        passed = time.monotonic() - self.begin
        joules = self.watts * self.resolution_s * math.floor(passed / self.resolution_s)
        return Reading(self.begin + passed, self.spoil(passed, joules) if self.spoil else joules)

    def close(self) -> None:
        pass


def steady(watts: float, seconds: int, per_s: int = 10) -> list[Reading]:
    return [Reading(i / per_s, watts * i / per_s) for i in range(seconds * per_s + 1)]


def test_steady_power_between_readings() -> None:
    window = energy_between(steady(700.0, 60), 10.03, 40.07)
    assert window.joules == pytest.approx(700.0 * 30.04, rel=1e-12)
    assert (window.seconds, window.watts) == (pytest.approx(30.04), pytest.approx(700.0))
    assert not window.is_short


def test_a_power_curve_has_its_analytic_integral() -> None:
    """P(t) = 500 + 200 sin(t / 7): the integral is 500 t - 1400 (cos(b / 7) - cos(a / 7))."""
    powers = [Power(i / 4, 500 + 200 * math.sin(i / 28)) for i in range(1001)]
    window = energy_between(energy_of(powers), 20.1, 220.6)
    exact = 500 * 200.5 - 1400 * (math.cos(220.6 / 7) - math.cos(20.1 / 7))
    assert window.joules == pytest.approx(exact, rel=1e-4)


def test_windows_next_to_each_other_add_up() -> None:
    readings = energy_of([Power(i / 4, 300 + (i % 7) * 40) for i in range(1001)])
    edges = [10.0, 47.3, 120.01, 249.9]
    parts = [energy_between(readings, start, end).joules for start, end in pairwise(edges)]
    assert math.fsum(parts) == pytest.approx(energy_between(readings, 10.0, 249.9).joules, rel=1e-12)


def test_steps_of_a_counter_are_spread() -> None:
    """A counter that is read ten times as often as it changes loses nothing at the ends of a window."""
    readings = [Reading(i / 100, 400.0 * math.floor(i / 10) / 10) for i in range(10_001)]
    window = energy_between(readings, 20.05, 40.05)
    assert window.joules == pytest.approx(8000.0, rel=1e-9)
    assert window.resolution_s == pytest.approx(0.1)


REFUSED: list[tuple[str, Sequence[Reading], float, float, str]] = [
    ("backwards", [*steady(100, 10), Reading(10.5, 3.0), Reading(20, 900.0)], 1, 9, r"backwards: 1000 J, and 3 J"),
    ("not a number", [*steady(100, 10), Reading(10.5, math.nan)], 1, 9, "backwards"),
    ("time backwards", [*steady(100, 10), Reading(4.0, 2000.0)], 1, 9, "the time runs backwards"),
    ("still throughout", [Reading(float(i), 5.0) for i in range(100)], 1, 90, r"stands still: it shows 5 J"),
    ("empty", [], 1, 90, "shows nothing"),
    (
        "still in between",
        [*steady(100, 10), *(Reading(30 + i / 10, 1001 + i) for i in range(100))],
        1,
        35,
        r"no new value for 20 s after 1000 J",
    ),
    ("still at the end", [*steady(100, 10), Reading(60, 1000.0)], 1, 50, r"stands still at 1000 J for 50 s"),
    ("begun too late", steady(100, 60), -5, 50, "its first reading, 0 J, is 5 s after"),
    ("ended too early", steady(100, 60), 5, 61, "no later reading"),
    ("no length", steady(100, 60), 5, 5, "no length"),
    ("too short", steady(100, 60), 5, 6.9, r"1\.9 s with 190 J are too short"),
]


@pytest.mark.parametrize("what,readings,start,end,said", REFUSED, ids=[case[0] for case in REFUSED])
def test_refused_with_the_reading(what: str, readings: Sequence[Reading], start: float, end: float, said: str) -> None:
    with pytest.raises(MeterProblem, match=said):
        energy_between(readings, start, end)


def test_a_gap_outside_the_window_does_no_harm() -> None:
    readings = [*steady(100, 10), *(Reading(30 + i / 10, 1001 + 10 * i) for i in range(100))]
    assert energy_between(readings, 31, 38).watts == pytest.approx(100.0)


def test_a_counter_may_be_read_late_but_not_stand_still() -> None:
    late = [*steady(100, 10), *steady(100, 60)[112:]]  # not read for 1.1 s
    with pytest.raises(MeterProblem, match=r"no new value for 1\.2 s"):
        energy_between(late, 1, 59)
    assert energy_between(late, 1, 59, counted=True).joules == pytest.approx(5800.0)
    assert energy_between(late, 8, 15, counted=True).joules == pytest.approx(700.0)
    with pytest.raises(MeterProblem, match=r"no new value for 1\.2 s"):
        energy_between(late, 10.5, 15, counted=True)
    stood = [*steady(100, 10), Reading(11.0, 1000.0), *(Reading(1.1 + r.at_s, r.joules) for r in steady(100, 60)[101:])]
    with pytest.raises(MeterProblem, match="no new value for 1 s after 1000 J"):
        energy_between(stood, 8, 15, counted=True)


def test_a_short_window_may_be_flagged() -> None:
    window = energy_between(steady(100, 60), 5, 6.9, flag_short=True)
    assert window.is_short
    assert energy_between(steady(100, 60), 5, 5 + LEAST_RESOLUTIONS / 10 + 0.01).is_short is False
    assert energy_between(steady(100, 60), 5, 50, resolution_s=30.0, flag_short=True).is_short


weights = st.lists(st.floats(0, 1e12, allow_subnormal=False), min_size=1, max_size=40).filter(lambda w: sum(w) > 1e-6)


@given(st.floats(0, 1e12, allow_subnormal=False), weights)
def test_shares_add_up_and_none_is_negative(total: float, shares: list[float]) -> None:
    found = attribute(total, shares)
    assert math.fsum(found) == sum(found) == sum(reversed(found)) == total
    assert min(found) >= 0
    near = [total * weight / math.fsum(shares) for weight in shares]
    assert found == pytest.approx(near, rel=1e-9, abs=1e-12 * total)
    assert all(share == 0 for share, weight in zip(found, shares, strict=True) if weight == 0)


@pytest.mark.parametrize("total,shares", [(1.0, [0.0, 0.0]), (1.0, [2.0, -1.0]), (-1.0, [1.0]), (1.0, [math.nan])])
def test_what_cannot_be_shared_out(total: float, shares: list[float]) -> None:
    with pytest.raises(ValueError, match=r"shared out|shares need"):
        attribute(total, shares)


def test_a_recorder_knows_windows_of_the_past() -> None:
    with Recorder(Counter(250.0, 0.02)) as recorder:
        start = time.monotonic() + 0.05
        time.sleep(0.75)
        end = time.monotonic()
        window = recorder.window(start, end)
    assert window.joules == pytest.approx(250.0 * (end - start), rel=0.1)
    assert recorder.window(start, end).joules == pytest.approx(window.joules, rel=1e-9)


def test_a_recorder_of_a_counter_that_stops() -> None:
    stopped = Counter(250.0, 0.02, spoil=lambda passed, joules: min(joules, 100.0))
    with Recorder(stopped) as recorder:
        time.sleep(1.0)
        with pytest.raises(MeterProblem, match="stands still at 100 J"):
            recorder.window(stopped.begin + 0.1, time.monotonic())


def test_a_recorder_of_a_counter_that_is_reset() -> None:
    reset = Counter(250.0, 0.02, spoil=lambda passed, joules: joules if passed < 0.5 else joules - 100.0)
    with Recorder(reset) as recorder:
        time.sleep(0.8)
        with pytest.raises(MeterProblem, match="runs backwards"):
            recorder.window(reset.begin + 0.1, time.monotonic())


def test_power_is_integrated_in_the_background() -> None:
    meter = PowerMeter("power", "gpu_only", lambda: Power(time.monotonic(), 320.0), 0.01)
    try:
        with Recorder(meter) as recorder:
            start = time.monotonic()
            time.sleep(0.5)
            end = time.monotonic()
            assert recorder.window(start, end).watts == pytest.approx(320.0, rel=1e-9)
    finally:
        meter.close()
    assert "power" not in {thread.name for thread in threading.enumerate()}


def test_a_power_that_cannot_be() -> None:
    with pytest.raises(MeterProblem, match="shows -5 W"):
        PowerMeter("power", "gpu_only", lambda: Power(time.monotonic(), -5.0), 0.01)
