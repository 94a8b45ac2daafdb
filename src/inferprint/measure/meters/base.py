"""What a meter is: energy since it was opened, read at moments; and how one is asked for and found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from inferprint.discovery import members
from inferprint.errors import MeterProblem, UnknownName

Boundary = Literal["gpu_only", "cpu_package", "cpu_package_dram", "soc_package", "system_wall_ac"]
"""What a meter's energy contains, in the words of the column `energy_boundary` of observations."""

BOUNDARIES: Mapping[Boundary, str] = {
    "gpu_only": "the boards of the accelerators",
    "cpu_package": "the processor packages",
    "cpu_package_dram": "the processor packages and their memory",
    "soc_package": "processor, graphics, neural engine and memory of one chip",
    "system_wall_ac": "the whole machine at the wall",
}
"""The boundaries, each with what is inside."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a meter showed at a moment.

    Attributes
    ----------
    at_s
        Moment by `time.monotonic` [s].
    joules
        Energy since the meter was opened [J].
    """

    at_s: float
    joules: float


class Meter(Protocol):
    """An open meter. Reading it raises `MeterProblem` where it cannot be read, or where what it shows cannot be."""

    @property
    def name(self) -> str:
        """What is metered and how, for people."""

    @property
    def boundary(self) -> Boundary:
        """What its energy contains."""

    @property
    def resolution_s(self) -> float:
        """Time between two changes of what it shows [s]; infinite as long as it has not changed twice."""

    def read(self) -> Reading:
        """Energy since the meter was opened."""

    def close(self) -> None:
        """Stop what reads it in the background, and let go of it."""


@runtime_checkable
class KeepsReadings(Protocol):
    """A meter that keeps its own readings, as one does that integrates power, or whose readings come from a file."""

    def readings(self) -> Sequence[Reading]:
        """All readings so far, in order, at least as new as those of `read`."""


@dataclass(frozen=True)
class MeterKind:
    """A kind of meter.

    Attributes
    ----------
    name
        As it is asked for, before the colon.
    title
        What it meters, in a few words.
    example
        How it is asked for on the command line.
    open
        (what stands behind the colon, or "") -> the meter, or `MeterProblem` where there is none.
    found_by_itself
        Whether it is tried where nobody asked for a meter: it reads this machine and needs no address.
    """

    name: str
    title: str
    example: str
    open: Callable[[str], Meter]
    found_by_itself: bool = False


def meter_kinds() -> dict[str, MeterKind]:
    """The kinds of meters that there are, by name."""
    return members("inferprint.measure.meters", MeterKind)


def open_meter(asked: str) -> Meter:
    """The meter that was asked for as KIND or KIND:ARGUMENT.

    Raises
    ------
    UnknownName
        There is no such kind.
    MeterProblem
        There is no such meter here, or it cannot be read.
    """
    kind, _, argument = asked.strip().partition(":")
    kinds = meter_kinds()
    if kind.lower() not in kinds:
        raise UnknownName("meter", kind, [known.example for known in kinds.values()], "inferprint measure meters")
    return kinds[kind.lower()].open(argument.strip())


def find_meter() -> tuple[Meter | None, list[str]]:
    """The first meter of accelerators that this machine has, and why it has not those that were tried before."""
    reasons: list[str] = []
    for kind in meter_kinds().values():
        if not kind.found_by_itself:
            continue
        try:
            return kind.open(""), reasons
        except MeterProblem as problem:
            reasons.append(f"{kind.name}: {problem.message}")
    return None, reasons
