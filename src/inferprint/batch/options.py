"""What a run is told: which column is which field, what fills the rest, and how to write the outcome."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from inferprint.errors import FileProblem, InvalidInput
from inferprint.estimate import Estimator
from inferprint.estimate.media import MEDIA_FIELDS
from inferprint.estimate.request import FIELDS, WRITTEN_FIELDS

IDENTITY = (
    "request_id",
    "application_id",
    "project_id",
    "client_id",
    "session_id",
    "trace_id",
    "environment",
    "utc_datetime",
)
"""Columns that say whose request it was; carried to the output."""

REQUIRED = ("model_id", *WRITTEN_FIELDS)
"""Fields that every row of a table of text needs, from a column or filled."""

LOOKS_LIKE = {
    "model_id": ("model",),
    "input_tokens": ("input", "prompt", "context"),
    "output_tokens": ("output", "completion", "generated"),
}
"""Parts of the names under which logs keep a required field; only used to word a hint."""

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a run reads and writes.

    Attributes
    ----------
    columns
        Column of the file by our field, for columns that are not named like the field.
    fills
        Value by field, for fields that the table lacks and for blank cells.
    output_format
        Format of the impacts.
    overwrite
        Replace the output of an earlier run.
    estimator
        Estimates with this catalogue; the default one otherwise.
    progress
        Called with the rows done and all rows (None where the files do not say).
    chunk_rows
        Rows that are held in memory at a time.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    fills: Mapping[str, Any] = field(default_factory=dict)
    output_format: Literal["parquet", "csv"] = "parquet"
    overwrite: bool = False
    estimator: Estimator | None = None
    progress: Progress | None = None
    chunk_rows: int = 100_000

    def __post_init__(self) -> None:
        for name in (*self.columns, *self.fills):
            if name not in FIELDS and name not in IDENTITY:
                known = (*FIELDS, *IDENTITY)
                near = nearest(name, known)
                hint = f"Nearest: {near}. " if near else ""
                raise InvalidInput(name, "is not a field of a request", hint=f"{hint}Fields: {', '.join(known)}.")
        if self.output_format not in ("parquet", "csv"):
            raise InvalidInput("output_format", f"'{self.output_format}' is unknown", hint="One of parquet, csv.")
        if self.chunk_rows < 1:
            raise InvalidInput("chunk_rows", f"{self.chunk_rows} rows", hint="At least 1.")

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
                hint = f"{there} Map one, as with: --column {name}={_likely(name, names)}"
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
