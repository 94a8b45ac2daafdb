"""What a run is told: which column is which field, what fills the rest, and how to write the outcome."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from inferprint.batch.workspace import OUTPUT_FORMATS
from inferprint.errors import FileProblem, InvalidInput
from inferprint.estimate import Estimator
from inferprint.estimate.media import MEDIA_FIELDS
from inferprint.estimate.request import FIELDS, WRITTEN_FIELDS

IDENTITY = (
    "request_id",
    "application_id",
    "project_id",
    "client_id",
    "user_id",
    "session_id",
    "trace_id",
    "environment",
    "utc_datetime",
)
"""Columns that say whose request it was; carried to the output."""

UNKNOWN = ("reject", "estimate", "fail")

REQUIRED = ("model_id", *WRITTEN_FIELDS)
"""Fields that every row of a table of text needs, from a column or filled."""

LOOKS_LIKE = {
    "model_id": ("model",),
    "input_tokens": ("input", "prompt", "context"),
    "output_tokens": ("output", "completion", "generated"),
}
"""Parts of the names under which logs keep a required field; only used to word a hint."""

Progress = Callable[[str, float, float | None], None]
"""Called with what is done ("read" in bytes, "cards", "rows"), how much of it, and how much there is in all."""

CHUNK_ROWS = 4_000_000
ODD_ROWS = 100_000
"""Rows with measured times, pictures or doubtful numbers that are held in memory at a time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a run reads and writes.

    Attributes
    ----------
    columns
        Column of the file by our field, for columns that are not named like the field. Files are tables then, whatever
        they look like.
    fills
        Value by field, for fields that the table lacks and for blank cells.
    input_format
        Name of the format of all files, one of `inferprint.usage`, or "table"; recognised by default.
    formats
        Format of single files, by path, where the caller knows it.
    unknown
        What becomes of records whose model or service nobody knows: rejected, estimated from what they cost or as a
        model of their kind, or the end of the run.
    use_times
        Whether the durations that a log holds tell how busy its service was. They contain queue and network.
    row_intervals
        Whether each row gets its bounds; totals have theirs in any case.
    output_format
        Format of the impacts: "parquet", "csv" or "json" (lines).
    overwrite
        Replace the output of an earlier run.
    estimator
        Estimates with this catalogue; the default one otherwise.
    processes
        Processes that may resolve cards beside this one. A script that asks for more than 1 needs
        `if __name__ == "__main__":`.
    progress
        See `Progress`.
    chunk_rows
        Rows between two points at which an interrupted run can be continued.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    fills: Mapping[str, Any] = field(default_factory=dict)
    input_format: str | None = None
    formats: Mapping[Path, str] = field(default_factory=dict)
    unknown: Literal["reject", "estimate", "fail"] = "reject"
    use_times: bool = False
    row_intervals: bool = True
    output_format: Literal["parquet", "csv", "json"] = "parquet"
    overwrite: bool = False
    estimator: Estimator | None = None
    processes: int = 1
    progress: Progress | None = None
    chunk_rows: int = CHUNK_ROWS

    def __post_init__(self) -> None:
        for name in (*self.columns, *self.fills):
            if name not in FIELDS and name not in IDENTITY:
                known = (*FIELDS, *IDENTITY)
                near = nearest(name, known)
                hint = f"Nearest: {near}. " if near else ""
                raise InvalidInput(name, "is not a field of a request", hint=f"{hint}Fields: {', '.join(known)}.")
        for name, choices in (("output_format", tuple(OUTPUT_FORMATS)), ("unknown", UNKNOWN)):
            if getattr(self, name) not in choices:
                raise InvalidInput(name, f"'{getattr(self, name)}' is unknown", hint=f"One of {', '.join(choices)}.")
        for name in ("chunk_rows", "processes"):
            if getattr(self, name) < 1:
                raise InvalidInput(name, f"{getattr(self, name)} is too few", hint="At least 1.")

    def reported(self, what: str, done: float, total: float | None) -> None:
        """Tell how far the run is."""
        if self.progress is not None:
            self.progress(what, done, total)

    def mapped(self, path: Path, names: Sequence[str]) -> dict[str, str]:
        """Column of a file by field: mapped ones, then those named like a field.

        Raises
        ------
        FileProblem
            A mapped column is not there, or a required field has neither column nor fill.
        """
        there = f"It has: {', '.join(names)}."
        for ours, column in self.columns.items():
            if column not in names:
                near = nearest(column, names)
                hint = f"Nearest: {near}. {there}" if near else there
                raise FileProblem(f"{path}: no column '{column}' for {ours}", hint=hint)
        found = {name: self.columns.get(name, name) for name in (*FIELDS, *IDENTITY)}
        found = {ours: column for ours, column in found.items() if column in names}
        for name in REQUIRED:
            if name not in found and name not in self.fills and not self._needless(name, found):
                hint = (
                    f"{there} Map one, as with: --column {name}={_likely(name, names)}\n"
                    "  It was not recognised as a log; if it is one: --input-format NAME, of inferprint catalog formats"
                )
                raise FileProblem(f"{path}: no column for {name}", hint=hint)
        return found

    def _needless(self, name: str, found: Mapping[str, str]) -> bool:
        """Whether rows can do without a required field: a task gives a model, and a picture has no tokens."""
        instead = ("task",) if name == "model_id" else MEDIA_FIELDS
        return any(other in found or other in self.fills for other in instead)


def nearest(name: str, known: Sequence[str]) -> str:
    """Names that resemble one that does not exist, best first, whatever the case of their letters."""
    by_lower = {other.lower(): other for other in known}
    return ", ".join(by_lower[match] for match in difflib.get_close_matches(name.lower(), by_lower, cutoff=0.5))


def _likely(name: str, names: Sequence[str]) -> str:
    """The column that is probably meant, else a placeholder: it only words a hint."""
    return next((c for part in LOOKS_LIKE[name] for c in names if part in c.lower()), "COLUMN")
