"""A wall meter that writes a CSV file: read while it grows, or after the run."""

from __future__ import annotations

import csv
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median

from inferprint.errors import MeterProblem
from inferprint.measure.meters.base import Boundary, Meter, MeterKind, Reading
from inferprint.measure.meters.integrated import Power, checked, energy_of
from inferprint.usage.times import moment

TIMES, POWERS = ("time", "timestamp", "datetime"), ("watts", "power_w", "watt", "power")
"""Names of the columns, the first that is there."""

LINE = "2026-11-20T09:00:00Z,431.5"
"""What a line looks like."""


@dataclass
class WallMeter:
    """The whole machine at the wall, from a file.

    Attributes
    ----------
    clock_s
        `time.monotonic` less the time of day, when the meter was opened [s].
    """

    path: Path
    clock_s: float = field(default_factory=lambda: time.monotonic() - time.time())
    boundary: Boundary = "system_wall_ac"
    _kept: list[Reading] = field(default_factory=list, init=False)
    _stamp: tuple[int, int] | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        """What is metered and how."""
        return f"wall meter {self.path.name}"

    @property
    def resolution_s(self) -> float:
        """Usual time between two lines of those that could be read [s]."""
        with suppress(MeterProblem):
            self.readings()
        gaps = [later.at_s - earlier.at_s for earlier, later in pairwise(self._kept)]
        return median(gaps) if gaps else float("inf")

    def read(self) -> Reading:
        """Energy from the file's first line to its last."""
        return self.readings()[-1]

    def readings(self) -> list[Reading]:
        """Energy at each line, read anew where the file has grown.

        Raises
        ------
        MeterProblem
            A line cannot be read, or its time is not after that of the line before.
        """
        try:
            found = self.path.stat()
        except OSError as error:
            hint = "Leave the file where it is, and let it grow, until the run has ended."
            raise MeterProblem(f"cannot read {self.path}: {error.strerror}", hint=hint) from error
        stamp = (found.st_size, found.st_mtime_ns)
        if stamp != self._stamp:
            powers = [Power(power.at_s + self.clock_s, power.watts) for power in powers_of(self.path)]
            self._kept, self._stamp = energy_of(powers), stamp
        return self._kept

    def close(self) -> None:
        """Nothing is held."""


def powers_of(path: Path) -> list[Power]:
    """Power by time since 1970 [s], from the lines of a file with the columns time and watts.

    Raises
    ------
    MeterProblem
        There is no such file, column or line; or a line cannot be read, or is out of order.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            text = stream.read()
    except (OSError, UnicodeDecodeError) as error:
        raise MeterProblem(f"cannot read {path}: {error}", hint="Give a CSV file in UTF-8.") from error
    # A line that is being written is not whole yet.
    lines = text.splitlines() if text.endswith(("\n", "\r")) else text.splitlines()[:-1] or text.splitlines()
    rows = list(csv.reader(lines))
    heads = [head.strip().lower() for head in rows[0]] if rows else []
    columns = [next((heads.index(name) for name in names if name in heads), None) for names in (TIMES, POWERS)]
    if None in columns:
        raise MeterProblem(
            f"{path}: columns {', '.join(heads) or 'none'}; needed are {TIMES[0]} and {POWERS[0]}",
            hint=f"A line: {LINE}",
        )
    at, power = columns
    powers: list[Power] = []
    for number, row in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        try:
            found = _power([cell.strip() for cell in row], at or 0, power or 0, len(heads))
        except ValueError as error:
            raise MeterProblem(
                f"{path}, line {number}: '{','.join(row)}' has no time or no power: {error}",
                hint=f"A line: {LINE}, the watts with a decimal point.",
            ) from error
        checked(found.watts, f"{path.name}, line {number},")
        if powers and found.at_s <= powers[-1].at_s:
            raise MeterProblem(
                f"{path}, line {number}: {row[at or 0]} with {found.watts:g} W is not after the line before",
                hint="Sort the lines by time, and leave repeated ones out.",
            )
        powers.append(found)
    if not powers:
        raise MeterProblem(f"{path} has no reading yet", hint="Begin to record before the run.")
    return powers


def _power(cells: Sequence[str], at: int, power: int, columns: int) -> Power:
    """The power of a line, which has its time and power in these columns of so many."""
    if len(cells) <= max(at, power):
        raise ValueError(f"{len(cells)} of {columns} columns")
    if any(cells[columns:]):
        # As of "42,5", whose watts would be read as 42.
        raise ValueError(f"{len(cells)} values for {columns} columns")
    when = moment(cells[at])
    if when is None:
        raise ValueError(f"'{cells[at]}' is no time")
    try:
        watts = float(cells[power])
    except ValueError:
        raise ValueError(f"'{cells[power]}' is no number of watts") from None
    return Power(when.timestamp(), watts)


def _open(argument: str) -> Meter:
    """The meter that writes a file, which has to be there."""
    if not argument:
        raise MeterProblem("the meter 'wall' needs a file", hint=f"For example {WALL.example}")
    meter = WallMeter(Path(argument))
    if not meter.path.is_file():
        what = "file" if meter.path.parent.is_dir() else f"folder {meter.path.parent} for the file"
        hint = "Begin to record before the run: columns time and watts, a line as often as the meter shows a value."
        raise MeterProblem(f"wall:{argument}: there is no {what} {meter.path.name}", hint=hint)
    meter.read()
    return meter


WALL = MeterKind(
    name="wall",
    title="a meter at the wall that writes a CSV file with the columns time (ISO 8601 or since 1970, UTC) and watts",
    example="wall:FILE.csv",
    open=_open,
    place=7,
    needs="a file",
)
