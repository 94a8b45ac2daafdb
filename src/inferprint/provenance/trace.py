"""The trail of a result: which numbers went in, and why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from inferprint.provenance.source import Provenance, Quality
from inferprint.quantities import Range

How = Literal["given", "catalogue", "derived", "inferred", "assumed"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One number, or choice, that a result rests on.

    Attributes
    ----------
    field
        What it is, in the vocabulary of the request.
    value
        Central value in `unit`, or the text of a choice.
    low, high
        Bounds of its 95 % interval; None where it has no spread or is a choice.
    how
        given by the caller, taken from the catalogue, derived from other entries, inferred from a price, or assumed.
    reason
        Why this value.
    source, date, quality
        Origin: id of a catalogue source, date it holds for, grade.
    """

    field: str
    value: float | str
    unit: str
    low: float | None
    high: float | None
    how: How
    reason: str
    source: str
    date: str
    quality: Quality


@dataclass(slots=True)
class Trail:
    """Entries and warnings, in the order in which a request was resolved."""

    entries: list[Entry] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def add(
        self,
        name: str,
        value: float | str | Range,
        unit: str,
        how: How,
        reason: str,
        origin: Provenance | None = None,
    ) -> None:
        """Record one number. A `Range` without width has no bounds in the trail."""
        centre: float | str = value.value if isinstance(value, Range) else value
        spread = isinstance(value, Range) and value.low != value.high
        low, high = (value.low, value.high) if spread and isinstance(value, Range) else (None, None)
        source, date, quality = (origin.source, origin.date, origin.quality) if origin else _origin_of(how)
        note = f"{reason}; {origin.note}" if origin and origin.note and how != "catalogue" else reason
        self.entries.append(Entry(name, centre, unit, low, high, how, note, source, date, quality))

    @property
    def assumptions(self) -> list[Entry]:
        """The entries that nobody stated."""
        return [entry for entry in self.entries if entry.how in ("inferred", "assumed")]


def _origin_of(how: How) -> tuple[str, str, Quality]:
    """Origin of a number without a published source."""
    return ("caller", "", "high") if how == "given" else (how, "", "assumption" if how == "assumed" else "medium")
