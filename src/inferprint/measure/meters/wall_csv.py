"""A wall meter that writes a CSV file: read while it grows, or after the run."""

from __future__ import annotations

import csv
import time
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
        """Usual time between two lines [s]."""
        kept = self.readings()
        gaps = [later.at_s - earlier.at_s for earlier, later in pairwise(kept)]
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
            raise MeterProblem(f"cannot read {self.path}: {error.strerror}", hint="wall:FILE.csv") from error
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
            hint="A line: 2026-11-20T09:00:00Z,431.5",
        )
    at, power = columns
    powers: list[Power] = []
    for number, row in enumerate(rows[1:], 2):
        if not any(cell.strip() for cell in row):
            continue
        try:
            found = _power(row[at or 0].strip(), row[power or 0].strip(), path.name)
        except (IndexError, ValueError) as error:
            raise MeterProblem(f"{path}, line {number}: '{','.join(row)}' has no time or no power: {error}") from error
        if powers and found.at_s <= powers[-1].at_s:
            raise MeterProblem(
                f"{path}, line {number}: {row[at or 0]} with {found.watts:g} W is not after the line before",
                hint="Sort the lines by time, and leave repeated ones out.",
            )
        powers.append(found)
    if not powers:
        raise MeterProblem(f"{path} has no reading yet", hint="Begin to record before the run.")
    return powers


def _power(time_text: str, watts_text: str, name: str) -> Power:
    when = moment(time_text)
    if when is None:
        raise ValueError(f"'{time_text}' is no time")
    return Power(when.timestamp(), checked(float(watts_text), name))


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
