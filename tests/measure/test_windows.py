"""Energy between two moments, and its shares."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferprint.errors import MeterProblem
from inferprint.measure.meters import windows
from inferprint.measure.meters.base import Boundary, Meter, Reading
from inferprint.measure.meters.counted import LATE_WRAP_S, CounterMeter
from inferprint.measure.meters.integrated import Power, PowerMeter, energy_of
from inferprint.measure.meters.windows import (
    LEAST_POWERS,
    LEAST_RESOLUTIONS,
    ReadAs,
    Recorder,
    attribute,
    energy_between,
)


class Clock:
    """The time of a test: it passes when somebody waits, and nothing depends on how fast the machine is."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Counter:
    """A counter of a steady power that shows a new value every `step_s`."""

    name = "counter"

    def __init__(
        self, clock: Clock, watts: float, step_s: float, spoil: Callable[[float, float], float] | None = None
    ) -> None:
        self.clock, self.watts, self.resolution_s, self.spoil = clock, watts, step_s, spoil
        self.begin = clock.now
        self.boundary: Boundary = "gpu_only"

    def read(self) -> Reading:
        passed = self.clock.now - self.begin
        joules = self.watts * self.resolution_s * math.floor(passed / self.resolution_s)
        return Reading(self.begin + passed, self.spoil(passed, joules) if self.spoil else joules)

    def close(self) -> None:
        pass


class Looking(Recorder):
    """A recorder that looks when it is waited for, and not in a thread."""

    def __init__(self, meter: Meter, monkeypatch: pytest.MonkeyPatch, clock: Clock | None = None) -> None:
        super().__init__(meter)
        self.clock = clock or meter.clock  # type: ignore[attr-defined]
        self.stall_s = 0.0
        monkeypatch.setattr(windows, "time", self.clock)
        monkeypatch.setattr(self._stopped, "wait", self.wait)
        self._look()

    def wait(self, seconds: float) -> None:
        self.clock.now += seconds
        if self.stall_s > 0:
            self.stall_s -= seconds
        else:
            self._look()

    def look_for(self, seconds: float) -> float:
        """Look again and again for a while; the moment of its end."""
        until = self.clock.now + seconds
        while self.clock.now < until:
            self.wait(self._pause_s())
        return self.clock.now


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
    assert energy_between(late, 1, 59, read_as="counter").joules == pytest.approx(5800.0)
    assert energy_between(late, 8, 15, read_as="counter").joules == pytest.approx(700.0)
    with pytest.raises(MeterProblem, match=r"was not read for 1\.2 s of the 4\.5 s") as error:
        energy_between(late, 10.5, 15, read_as="counter")
    assert "measure 24 s at least" in error.value.hint
    assert energy_between(late, 10.5, 40, read_as="counter").watts == pytest.approx(100.0)
    stood = [*steady(100, 10), Reading(11.0, 1000.0), *(Reading(1.1 + r.at_s, r.joules) for r in steady(100, 60)[101:])]
    with pytest.raises(MeterProblem, match="no new value for 1 s after 1000 J"):
        energy_between(stood, 8, 15, read_as="counter")


def test_power_that_was_not_looked_at_is_interpolated_for_a_small_part() -> None:
    late = [*steady(100, 10), *steady(100, 60)[112:]]
    assert energy_between(late, 1, 59, read_as="power").joules == pytest.approx(5800.0)
    with pytest.raises(MeterProblem, match=r"was not read for 1\.2 s of the 7 s"):
        energy_between(late, 8, 15, read_as="power")
    often = [reading for reading in steady(100, 60) if reading.at_s % 10 < 9]
    with pytest.raises(MeterProblem, match=r"was not read for 5\.5 s of the 49 s"):
        energy_between(often, 5, 54, read_as="power")


def powers(*watts: float) -> list[Reading]:
    return energy_of([Power(float(i), each) for i, each in enumerate(watts)])


@pytest.mark.parametrize("read_as", ["record", "power"])
def test_power_that_never_changes_is_that_of_a_meter_that_stands_still(read_as: ReadAs) -> None:
    """The last value of a meter that is off, again and again; it matters what is in the window alone."""
    frozen = powers(*[120.0, 130.0] * 5, *[123.4] * 100, *[120.0, 130.0] * 15)
    with pytest.raises(MeterProblem, match=r"stands still: it shows 123\.4 W in all 61 readings of 60 s"):
        energy_between(frozen, 20, 80, read_as=read_as)
    assert energy_between(frozen, 112, 138, read_as=read_as).watts == pytest.approx(125.0)
    small = powers(*[123.4] * 50, 123.5, *[123.4] * 50)
    assert energy_between(small, 20, 80, read_as=read_as).watts == pytest.approx(123.4, rel=1e-3)


@pytest.mark.parametrize("still,refused", [(LEAST_POWERS, True), (LEAST_POWERS - 1, False)])
def test_a_few_powers_may_be_the_same(still: int, refused: bool) -> None:
    same = powers(100.0, *[123.4] * (still + 2), 100.0)
    with pytest.raises(MeterProblem, match="stands still") if refused else nullcontext():
        energy_between(same, 1.5, still + 1.5, flag_short=True)


def test_a_counter_may_rise_evenly() -> None:
    assert energy_between(steady(100, 60), 1, 59, read_as="counter").watts == pytest.approx(100.0)


def test_a_power_meter_that_shows_an_old_value_is_refused() -> None:
    meter = PowerMeter("power", "gpu_only", lambda: Power(time.monotonic(), 320.0), 0.001)
    try:
        waited(lambda: len(meter.readings()) > 2 * LEAST_POWERS)
        readings = meter.readings()
        with (
            Recorder(meter) as recorder,
            pytest.raises(MeterProblem, match="power stands still: it shows 320 W in all"),
        ):
            recorder.window(readings[1].at_s, readings[-2].at_s)
    finally:
        meter.close()


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


def test_a_recorder_knows_windows_of_the_past(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Looking(Counter(Clock(), 250.0, 0.1), monkeypatch)
    start = recorder.look_for(1.0)
    end = recorder.look_for(5.0)
    recorder.look_for(1.0)
    window = recorder.window(start, end)
    assert window.joules == pytest.approx(250.0 * (end - start), rel=0.02)
    assert recorder.window(start, end) == window


def test_a_window_waits_for_its_end_and_for_a_machine_that_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Looking(Counter(Clock(), 250.0, 0.1), monkeypatch)
    start = recorder.look_for(1.0)
    end = recorder.look_for(200.0)
    recorder.stall_s = 8.0
    assert recorder.window(start, end).watts == pytest.approx(250.0, rel=0.01)
    assert recorder.clock.now == pytest.approx(end + 8.0, abs=0.2)


def test_a_recorder_that_hardly_looked_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Looking(Counter(Clock(), 250.0, 0.1), monkeypatch)
    start = recorder.look_for(1.0)
    end = recorder.look_for(5.0)
    recorder.stall_s = 8.0
    with pytest.raises(MeterProblem, match=r"was not read for 8\S* s of the 5\S* s.*too busy"):
        recorder.window(start, end)


def test_a_recorder_of_a_counter_that_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = Counter(Clock(), 250.0, 0.1, spoil=lambda passed, joules: min(joules, 500.0))
    recorder = Looking(stopped, monkeypatch)
    end = recorder.look_for(10.0)
    with pytest.raises(MeterProblem, match="stands still at 500 J"):
        recorder.window(stopped.begin + 0.5, end)


def test_a_recorder_of_a_counter_that_is_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    reset = Counter(Clock(), 250.0, 0.1, spoil=lambda passed, joules: joules if passed < 5 else joules - 1000.0)
    recorder = Looking(reset, monkeypatch)
    end = recorder.look_for(10.0)
    with pytest.raises(MeterProblem, match="runs backwards"):
        recorder.window(reset.begin + 0.5, end)


class Exporter:
    """Counters of 50 W and of 1,000 W with ten values a second; they start again, or one comes to its end."""

    END_J = 65_536.0

    def __init__(self, clock: Clock, *, restarts_s: float = math.inf, ends: bool = False, late_s: float = 0.0) -> None:
        self.clock, self.begin, self.restarts_s = clock, clock.now, restarts_s
        self.ends, self.late_s = ends, late_s

    def counters(self) -> tuple[float, list[float]]:
        passed = math.floor((self.clock.now - self.begin) / 0.1) * 0.1
        if passed >= self.restarts_s:
            return self.clock.now, [watts * (passed - self.restarts_s) for watts in (50.0, 1000.0)]
        # The second one is near its end, and what it has counted until then is added some time after it.
        rest = passed - 3.0
        late = self.ends and 0 <= rest < self.late_s
        return self.clock.now, [20.0 + 50.0 * passed, self.END_J + 1000.0 * rest - (self.END_J if late else 0.0)]


@pytest.mark.parametrize("least_wrap_j", [None, 50e3])
def test_a_counter_that_is_reset_and_climbs_past_what_it_was(
    monkeypatch: pytest.MonkeyPatch, least_wrap_j: float | None
) -> None:
    """No window over the moment has an energy, nor one after it, however high the counter is; one before it has."""
    exporter = Exporter(Clock(), restarts_s=20.0)
    meter = CounterMeter("exporter", "gpu_only", exporter.counters, least_wrap_j=least_wrap_j)
    recorder = Looking(meter, monkeypatch, exporter.clock)
    start = recorder.look_for(1.0)
    end = recorder.look_for(10.0)
    assert recorder.window(start, end).watts == pytest.approx(1050.0, rel=0.02)
    after = recorder.look_for(200.0)
    assert exporter.counters()[1] > [20.0 + 50.0 * 20, 65_536.0 + 1000.0 * 17]
    latest = recorder.look_for(50.0)
    for begin, until in ((start, after), (end, latest), (after, latest)):
        with pytest.raises(MeterProblem, match=r"exporter: counter 1 of 2 runs backwards, from 1\d+ J to \S+ J"):
            recorder.window(begin, until)
    assert recorder.window(start, end).watts == pytest.approx(1050.0, rel=0.02)


def test_a_counter_that_comes_to_its_end_is_tolerated_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = Exporter(Clock(), ends=True, late_s=1.0)
    meter = CounterMeter("packages", "cpu_package", exporter.counters, least_wrap_j=50e3)
    recorder = Looking(meter, monkeypatch, exporter.clock)
    start = recorder.look_for(1.0)
    end = recorder.look_for(30.0)
    assert recorder.window(start, end).joules == pytest.approx(1050.0 * (end - start), rel=0.02)


@pytest.mark.parametrize("least_wrap_j,late_s", [(None, 1.0), (70e3, 1.0), (50e3, LATE_WRAP_S + 2)])
def test_what_is_no_end_of_a_counter(
    monkeypatch: pytest.MonkeyPatch, least_wrap_j: float | None, late_s: float
) -> None:
    """Where a meter has none, where a fall is too small for one, and where the energy before it does not come back."""
    exporter = Exporter(Clock(), ends=True, late_s=late_s)
    meter = CounterMeter("packages", "cpu_package", exporter.counters, least_wrap_j=least_wrap_j)
    recorder = Looking(meter, monkeypatch, exporter.clock)
    start = recorder.look_for(1.0)
    end = recorder.look_for(60.0)
    with pytest.raises(MeterProblem, match="counter 2 of 2 runs backwards"):
        recorder.window(start, end)


def test_a_meter_that_cannot_be_read_for_a_moment_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A problem at a window's end is none where the meter comes back; energy before it is kept where it does not."""
    gone = [(5.0, 5.3), (20.0, math.inf)]

    def away(passed: float, joules: float) -> float:
        if any(begin <= passed < end for begin, end in gone):
            raise MeterProblem("the driver does not answer")
        return joules

    recorder = Looking(Counter(Clock(), 250.0, 0.1, spoil=away), monkeypatch)
    start = recorder.look_for(1.0)
    end = recorder.look_for(4.1)
    assert recorder.window(start, end, flag_short=True).watts == pytest.approx(250.0, rel=0.1)
    until = recorder.look_for(12.0)
    recorder.look_for(10.0)
    assert recorder.window(start, until).watts == pytest.approx(250.0, rel=0.02)
    with pytest.raises(MeterProblem, match="the driver does not answer"):
        recorder.window(start, recorder.clock.now)


def waited(enough: Callable[[], bool]) -> None:
    """Wait for a thread, however slow the machine is."""
    until = time.monotonic() + 60
    while not enough():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_a_recorder_reads_in_the_background() -> None:
    class Steady(Counter):
        def read(self) -> Reading:
            now = time.monotonic()
            return Reading(now, 250.0 * now)

    with Recorder(Steady(Clock(), 250.0, 0.01), interval_s=0.001) as recorder:
        waited(lambda: len(recorder.readings()) > 20)
    count = len(recorder.readings())
    assert "meter" not in {thread.name for thread in threading.enumerate()}
    assert len(recorder.readings()) == count


def test_power_is_integrated_in_the_background() -> None:
    meter = PowerMeter("power", "gpu_only", lambda: Power(time.monotonic(), 320.0), 0.001)
    try:
        waited(lambda: len(meter.readings()) > 20)
    finally:
        meter.close()
    readings = meter.readings()
    assert readings[-1].joules == pytest.approx(320.0 * (readings[-1].at_s - readings[0].at_s), rel=1e-9)
    assert "power" not in {thread.name for thread in threading.enumerate()}


def test_a_power_that_cannot_be() -> None:
    with pytest.raises(MeterProblem, match="shows -5 W"):
        PowerMeter("power", "gpu_only", lambda: Power(time.monotonic(), -5.0), 0.01)
