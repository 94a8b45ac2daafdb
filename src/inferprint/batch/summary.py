"""What a run says at its end, for people and for programs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from inferprint.batch.totals import Total
from inferprint.batch.workspace import REJECTS
from inferprint.errors import InferprintError
from inferprint.estimate.result import as_dict
from inferprint.provenance.trace import Entry
from inferprint.quantities import BREAKDOWN, RESULTS, TWO_TERM, Quantity, Range

WARNINGS_SHOWN = 8
REASONS_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of the records that were read: records = estimated + merged + skipped + rejected.

    Attributes
    ----------
    requests
        Requests that the estimated records stand for.
    merged
        Records of a request for which another one counts.
    skipped
        Records left out, by the name of the rule.
    reasons
        Rejected records by the reason, most first.
    """

    records: int
    estimated: int
    merged: int
    skipped: Mapping[str, int]
    rejected: int
    requests: float
    reasons: Mapping[str, int] = field(default_factory=dict)

    def checked(self) -> Counts:
        """The counts, if no record was lost.

        Raises
        ------
        InferprintError
            They do not add up: a defect of this program.
        """
        accounted = self.estimated + self.merged + sum(self.skipped.values()) + self.rejected
        if accounted != self.records:
            hint = "This is a defect: please report it with the file. Nothing was written."
            raise InferprintError(f"{self.records} records read, {accounted} accounted for", hint=hint)
        return self


@dataclass(slots=True)
class Summary:
    """Counts and totals of a run.

    Attributes
    ----------
    files
        Paths, in the order in which they were read.
    formats
        Files by the name of their format.
    total
        The total over everything.
    totals
        The totals by model, service, place, project, application, user, day and week, as in totals.csv.
    uncertainty
        Share of each source in the spread of the total usage_emissions_gco2e, largest first.
    quality
        Share of the total usage_energy_wh by what it rests on: measured, specified, inferred from price or assumed.
    assumptions
        What nobody stated about the pair of cards with the most energy, which is that of `assumptions_of`.
    warnings
        What the reader should know, most records first.
    doubts
        What could not be checked about the formats of the logs.
    resumed
        Whether an interrupted run was continued.
    seconds
        Time that the run took [s].
    """

    files: tuple[str, ...]
    formats: Mapping[str, int]
    out: Path
    counts: Counts
    total: Total
    totals: tuple[Total, ...]
    uncertainty: Mapping[str, float]
    quality: Mapping[str, float]
    assumptions: tuple[Entry, ...]
    assumptions_of: str
    warnings: tuple[str, ...]
    doubts: tuple[str, ...]
    versions: Mapping[str, str]
    resumed: bool
    seconds: float

    def range(self, name: str) -> Range | None:
        """The total of an output by its name, None where it is unknown."""
        return self.total.outputs[name]

    def to_dict(self) -> dict[str, Any]:
        """The summary as plain data: what summary.json holds."""
        return {
            "files": list(self.files),
            "formats": dict(self.formats),
            "counts": asdict(self.counts),
            "totals": self._part(RESULTS),
            "breakdown": self._part(BREAKDOWN),
            "two_term": self._part(TWO_TERM),
            "uncertainty": dict(self.uncertainty),
            "largest_uncertainty": next(iter(self.uncertainty), None),
            "quality": dict(self.quality),
            "assumptions_of": self.assumptions_of,
            "assumptions": [asdict(entry) for entry in self.assumptions],
            "warnings": list(self.warnings),
            "doubts": list(self.doubts),
            "versions": dict(self.versions),
            "resumed": self.resumed,
            "seconds": self.seconds,
        }

    def _part(self, quantities: Sequence[Quantity]) -> dict[str, dict[str, float] | None]:
        return {quantity.name: as_dict(self.range(quantity.name)) for quantity in quantities}

    def text(self) -> str:
        """The summary for a terminal."""
        lines = [
            count_line(self.counts),
            "",
            *(self._tables() if self.counts.estimated else []),
            *self._rejected(),
            *(f"warning: {warning}" for warning in self.warnings[:WARNINGS_SHOWN]),
        ]
        more = len(self.warnings) - WARNINGS_SHOWN
        lines += [f"{more} more warnings in summary.json"] if more > 0 else []
        lines += [f"{len(self.doubts)} doubts about the formats of the logs: see summary.json"] if self.doubts else []
        lines.append(f"written to {self.out} in {self.seconds:.2g} s")
        return "\n".join(lines)

    def _tables(self) -> list[str]:
        """The totals, their parts, and what they rest on."""
        return [
            f"{'':<42}{'total':>18}{'low':>18}{'high':>18}",
            *(_table_line(quantity, self.range(quantity.name)) for quantity in RESULTS),
            "",
            "of which",
            *(_table_line(quantity, self.range(quantity.name)) for quantity in BREAKDOWN),
            "",
            "for comparison",
            *(_table_line(quantity, self.range(quantity.name)) for quantity in TWO_TERM),
            "",
            *self._largest(),
        ]

    def _rejected(self) -> list[str]:
        """The commonest reasons for which records were rejected."""
        reasons = list(self.counts.reasons.items())
        more = f", and {len(reasons) - REASONS_SHOWN} more reasons" if len(reasons) > REASONS_SHOWN else ""
        return [*rejected_lines(self.counts), *([f"see {REJECTS}{more}"] if reasons else [])]

    def _largest(self) -> list[str]:
        named = ", ".join(f"{name} {share:.0%}" for name, share in list(self.uncertainty.items())[:3])
        lines = [f"largest uncertainty: {named} of the spread"] if named else []
        rests = ", ".join(f"{tier} {share:.0%}" for tier, share in self.quality.items())
        return [*lines, *([f"the energy rests on: {rests}"] if rests else [])]


def rejected_lines(counts: Counts) -> list[str]:
    """The commonest reasons for which records were rejected."""
    reasons = list(counts.reasons.items())[:REASONS_SHOWN]
    return [f"rejected: {reason} ({records:,} records)" for reason, records in reasons]


def count_line(counts: Counts) -> str:
    """All records, and what became of them."""
    parts = [f"{counts.estimated:,} estimated"]
    parts += [f"{counts.merged:,} merged (another record of the same request counts)"] if counts.merged else []
    parts += [f"{number:,} skipped ({rule})" for rule, number in counts.skipped.items() if number]
    parts += [f"{counts.rejected:,} rejected"] if counts.rejected else []
    stands = f", for {counts.requests:,.0f} requests" if round(counts.requests) != counts.estimated else ""
    return f"{counts.records:,} records: {', '.join(parts)}{stands}"


def _table_line(quantity: Quantity, total: Range | None) -> str:
    """One quantity with its interval."""
    summed = " (summed)" if quantity.unit == "ms" else ""
    name = f"{quantity.name} [{quantity.unit}]{summed}"
    cells = [_figure(value) for value in total] if total is not None else ["unknown"]
    return f"{name:<42}" + "".join(f"{cell:>18}" for cell in cells)


def _figure(value: float) -> str:
    """Four significant digits, thousands marked."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
