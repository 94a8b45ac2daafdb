"""The meter of a command: the one that was asked for, else one of this machine where it is what computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from inferprint.errors import MeterProblem
from inferprint.measure.meters.base import BOUNDARIES, Boundary, CountsDevices, Meter, kind_of, open_meter
from inferprint.measure.scrape import is_loopback

if TYPE_CHECKING:
    from inferprint.catalogue import Gpu

NONE = "none"
"""What is asked for where no energy is to be measured."""

ACCELERATORS = ("nvidia", "amd", "apple")
"""Meters of accelerators of this machine, in the order in which they are tried."""


NO_RECORDS: frozenset[Boundary] = frozenset({"soc_package"})
"""Boundaries that are those of no accelerator of the catalogue: an Apple chip's record is of its whole machine."""


def usual_meters(gpu: Gpu) -> tuple[str, ...]:
    """The meters to try where nobody named one.

    A processor is metered by its own counters where its record is of its packages alone; for one whose record is of a
    whole machine no meter is picked, as fits would refuse that energy. The accelerators of a machine whose processor
    computes are none of it.
    """
    if gpu.device_class != "cpu":
        return ACCELERATORS
    return ("rapl",) if gpu.power_boundary == "board" else ()


def check_asked(asked: str | None) -> None:
    """Check that a meter that is asked for is of a known kind, without opening it.

    Raises
    ------
    MeterProblem
        It is not.
    """
    if asked not in (None, NONE):
        kind_of(asked or "")


@contextmanager
def metered(
    asked: str | None,
    usual: Sequence[str],
    say: Callable[[str], None],
    *,
    here: bool = True,
    count: int | None = None,
    ask: Callable[[str], None] | None = None,
) -> Iterator[Meter | None]:
    """Open a meter, tell which, and close it at the end; None where there is none or none is wanted.

    Parameters
    ----------
    asked
        KIND or KIND:ARGUMENT, "none", or None to try the usual ones.
    usual
        What to try, in order, each as KIND or KIND:ARGUMENT.
    say
        Is told which meter it is, or why there is none.
    here
        Whether this machine computes; else nothing is tried.
    count
        Devices that compute: a meter that would count more is not taken, unless they were listed. None where any
        number does.
    ask
        Is told the address of a meter that is not on this machine before it is contacted, and raises where it shall not
        be. None asks nobody.

    Raises
    ------
    MeterProblem
        The meter that was asked for is not there, or would count more accelerators than compute.
    """
    meter = None
    if asked not in (None, NONE):
        meter = _named(asked or "", say, count, ask)
    elif asked is None and not here:
        say("no meter: what computes is not this machine; --meter names one that reads it")
    elif asked is None:
        meter = _first(usual, say, count)
    if meter is not None:
        say(f"meter: {meter.name} ({meter.boundary}: {BOUNDARIES[meter.boundary]})")
        if asked is None and meter.boundary in NO_RECORDS:
            say("no record of the catalogue is of that alone: fits take the times of the rows, and not their energy")
    try:
        yield meter
    finally:
        if meter is not None:
            meter.close()


def _named(asked: str, say: Callable[[str], None], count: int | None, ask: Callable[[str], None] | None) -> Meter:
    """The meter that was asked for, which counts no more accelerators than compute unless they were listed."""
    kind, argument = kind_of(asked)
    url = kind.address(argument)
    if ask is not None and url and not is_loopback(url):
        ask(url)
    meter = open_meter(asked)
    there = _devices(meter)
    if meter.boundary != "gpu_only" or count is None or there is None or there == count:
        return meter
    differ = f"{there} {'device' if there == 1 else 'devices'}, and {_compute(count)}"
    few = kind.listed(argument, count)
    if there > count and few != argument:
        meter.close()
        raise MeterProblem(
            f"the meter {asked} would count {differ}", hint=f"List those that compute, as --meter {kind.name}:{few}"
        )
    say(f"the meter {asked} counts {differ}: energy per request is that of what it counts")
    return meter


def _devices(meter: Meter) -> int | None:
    return meter.devices if isinstance(meter, CountsDevices) else None


def _compute(count: int) -> str:
    return "1 computes" if count == 1 else f"{count} compute"


def _first(usual: Sequence[str], say: Callable[[str], None], count: int | None) -> Meter | None:
    """The first of the usual meters that is there; else why not is told."""
    reasons = []
    for asked in usual:
        try:
            meter = open_meter(asked)
        except MeterProblem as problem:
            reasons.append(f"{asked}: {problem.message}")
            continue
        there = _devices(meter)
        if count is None or there is None or there <= count:
            return meter
        meter.close()
        kind, argument = kind_of(asked)
        few = kind.listed(argument, count)
        reasons.append(
            f"{asked}: it would count {there} devices, and {_compute(count)}: say which, as --meter {kind.name}:{few}"
        )
    if not usual:
        reasons.append("the record of what computes is of a whole machine, which a meter at the wall reads")
    say(f"no meter of this machine: {'; '.join(reasons)}")
    say("--meter names one; inferprint measure meters lists the kinds")
    return None
