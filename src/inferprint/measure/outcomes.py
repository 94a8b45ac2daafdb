"""What came of the points of a run, and who is told of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from inferprint.measure.observations import Row

P = TypeVar("P")
"""A point: what is measured at a time."""


@dataclass(frozen=True, slots=True)
class Outcome(Generic[P]):
    """What came of a point: its row, or why there is none; `is_known` where that follows from what others showed."""

    point: P
    row: Row | None
    reason: str = ""
    is_known: bool = False


@dataclass(slots=True, kw_only=True)
class Outcomes(Generic[P]):
    """What a run did, as far as it came.

    Attributes
    ----------
    outcomes
        Points in the order in which they were measured.
    notes
        What is to be known of all of them.
    meter
        Its name, its boundary and idle powers [W]; None without a meter.
    stopped
        Why it ended before its last point; empty where it did not.
    seconds
        How long it took [s].
    """

    outcomes: list[Outcome[P]] = field(default_factory=list)
    not_measured: list[P] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    meter: dict[str, Any] | None = None
    stopped: str = ""
    seconds: float = 0.0

    @property
    def rows(self) -> list[Row]:
        """The rows that were written."""
        return [outcome.row for outcome in self.outcomes if outcome.row is not None]

    def told(self) -> dict[str, Any]:
        """This as plain data."""
        return {
            "rows": [row.to_dict() for row in self.rows],
            "without_row": [
                {"point": str(outcome.point), "reason": outcome.reason}
                for outcome in self.outcomes
                if outcome.row is None
            ],
            "not_measured": [str(point) for point in self.not_measured],
            "energy": self.meter,
            "notes": self.notes,
            "stopped": self.stopped or None,
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True, slots=True)
class Watch(Generic[P]):
    """Who is told of a run.

    Attributes
    ----------
    say
        Told a sentence that concerns the whole run.
    progress
        Told how much is done, and how much there will be by all that is known: requests of an endpoint, else points.
    done
        Told what came of a point.
    """

    say: Callable[[str], None] = lambda _: None
    progress: Callable[[int, int | None], None] = lambda _done, _total: None
    done: Callable[[Outcome[P]], None] = lambda _: None
