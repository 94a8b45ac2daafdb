"""What a meter is: energy since it was opened, read at moments; and how one is asked for and found."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

from inferprint.discovery import members
from inferprint.errors import MeterProblem


def _as_it_is(argument: str, _count: int) -> str:
    """What stands behind the colon of a meter whose devices cannot be listed."""
    return argument


def _nowhere(_argument: str) -> str:
    """The address of a meter that contacts none."""
    return ""


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


NO_METER = "no energy was measured, as there is no meter: the rows hold times alone"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a meter showed at a moment.

    Attributes
    ----------
    at_s
        Moment by `time.monotonic` [s].
    joules
        Energy since the meter was opened [J].
    watts
        Power that it showed then, where it is power that it shows [W].
    """

    at_s: float
    joules: float
    watts: float | None = None


class Meter(Protocol):
    """An open meter. Reading it raises `MeterProblem` where it cannot be read, or where what it shows cannot be.

    One that has lost energy, as a counter does that is reset, raises it for ever: what comes after is no energy since
    the meter was opened.
    """

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


@runtime_checkable
class CountsDevices(Protocol):
    """A meter that says how many devices it adds up; None where nothing tells it."""

    devices: int | None


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
    place
        Its place in lists.
    needs
        What has to be named after the colon, such as "an address"; "" where it reads this machine by itself.
    listed
        (what stands behind the colon, n) -> the same with the first n devices listed; unchanged where some are listed
        already, or where none can be.
    address
        (what stands behind the colon) -> the address that it contacts, "" where none.
    """

    name: str
    title: str
    example: str
    open: Callable[[str], Meter]
    place: int = 100
    needs: str = ""
    listed: Callable[[str, int], str] = _as_it_is
    address: Callable[[str], str] = _nowhere


def meter_kinds() -> dict[str, MeterKind]:
    """The kinds of meters that there are, by name, in the order of their places."""
    found = members("inferprint.measure.meters", MeterKind).values()
    return {kind.name: kind for kind in sorted(found, key=lambda kind: (kind.place, kind.name))}


def kind_of(asked: str) -> tuple[MeterKind, str]:
    """The kind of a meter that was asked for as KIND or KIND:ARGUMENT, and the argument.

    Raises
    ------
    MeterProblem
        There is no such kind.
    """
    name, _, argument = asked.strip().partition(":")
    kinds = meter_kinds()
    if name.lower() not in kinds:
        width = max(len(kind.name) for kind in kinds.values())
        listed = "".join(f"\n    {kind.name:<{width}}  {kind.example}" for kind in kinds.values())
        raise MeterProblem(f"unknown meter '{name}'", hint=f"The kinds, as they are asked for, or none:{listed}")
    return kinds[name.lower()], argument.strip()


def open_meter(asked: str) -> Meter:
    """The meter that was asked for as KIND or KIND:ARGUMENT.

    Raises
    ------
    MeterProblem
        There is no such kind, no such meter here, or it cannot be read.
    """
    kind, argument = kind_of(asked)
    return kind.open(argument)


def why_not_here(kind: MeterKind) -> str | None:
    """Why a meter of this machine does not work at this moment; None where it does.

    It is opened for that, and closed again.
    """
    try:
        kind.open("").close()
    except MeterProblem as problem:
        return f"{problem.message}: {problem.hint}" if problem.hint else problem.message
    return None
