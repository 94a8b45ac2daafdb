"""Rows of a chunk as checked numbers: what cannot be is set aside with its field and the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inferprint.batch.tables import NUMERIC_FIELDS, Chunk
from inferprint.errors import InferprintError, InvalidInput
from inferprint.estimate.request import FIELDS, TIME_FIELDS, TOKEN_FIELDS, Request, suspects, validated
from inferprint.rates.draws import Array

UNREADABLE = -1.0
"""Stands for a cell that is no number, until its row is set aside."""

DEFAULTS = {
    name: None if name in TIME_FIELDS or name in ("input_tokens", "output_tokens") else default
    for name in NUMERIC_FIELDS
    for default in [getattr(Request(model_id="", input_tokens=0, output_tokens=0), name)]
}
"""What a blank cell means: the request's default; None where it means nothing."""


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that was not estimated. `index` is its position in the chunk."""

    index: int
    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class Checked:
    """A chunk's numbers.

    Attributes
    ----------
    numbers
        `NUMERIC_FIELDS` of all rows, shape (rows,); NaN where not given.
    good, skipped
        Rows to estimate; rows without any tokens. Shape (rows,).
    rejects
        The other rows.
    """

    numbers: dict[str, Array]
    good: NDArray[np.bool_]
    skipped: NDArray[np.bool_]
    rejects: list[Reject]


def check(chunk: Chunk, fills: Mapping[str, Any]) -> Checked:
    """Read the numbers of a chunk and set aside the rows that cannot be."""
    size = len(chunk.rows)
    numbers = {name: _numbers(chunk.columns.get(name), _fill(name, fills), size) for name in NUMERIC_FIELDS}
    idle = np.all([numbers[name] == 0 for name in TOKEN_FIELDS], axis=0)
    untimed = {name: np.full(size, np.nan) for name in TIME_FIELDS}
    skipped = idle & ~suspects({**numbers, **untimed})
    suspect = suspects(numbers) & ~skipped
    rejects = []
    for index in np.flatnonzero(suspect).tolist():
        reject = _judged(index, _given(chunk, fills, index))
        if reject is None:
            suspect[index] = False
        else:
            rejects.append(reject)
    return Checked(numbers, ~suspect & ~skipped, skipped, rejects)


def number(text: Any) -> float:
    """A cell as a number, else ValueError. Python's own `1_000` is none."""
    if isinstance(text, str) and "_" in text:
        raise ValueError(text)
    return float(text)


def explained(error: InferprintError) -> str:
    """An error on one line."""
    return f"{error.message}. {error.hint}" if error.hint else error.message


def _fill(name: str, fills: Mapping[str, Any]) -> Any:
    """What a blank cell stands for."""
    return fills.get(name, DEFAULTS[name])


def _numbers(cells: Sequence[Any] | None, fill: Any, size: int) -> Array:
    """Cells as numbers: blank ones filled, else NaN; unreadable ones `UNREADABLE`."""
    blank = _number_or(fill, UNREADABLE)
    if cells is None:
        return np.full(size, blank)
    try:
        values = np.fromiter(map(float, cells), float, size)
        if not np.isnan(values).any() and not any("_" in cell for cell in cells if isinstance(cell, str)):
            return values
    except (TypeError, ValueError):
        pass  # a blank or unreadable cell: one by one
    return np.fromiter((blank if cell is None else _number_or(cell, UNREADABLE) for cell in cells), float, size)


def _number_or(cell: Any, otherwise: float) -> float:
    """A cell as a number, NaN where there is none. A stated NaN is no number."""
    if cell is None:
        return float("nan")
    try:
        value = number(cell)
    except ValueError:
        return otherwise
    return otherwise if np.isnan(value) else value


def _given(chunk: Chunk, fills: Mapping[str, Any], index: int) -> dict[str, Any]:
    """The numbers of one row as they were given: text where it is unreadable, None where there is none."""
    given: dict[str, Any] = {}
    for name in NUMERIC_FIELDS:
        cell = chunk.columns[name][index] if name in chunk.columns else None
        stated = _fill(name, fills) if cell is None else cell
        try:
            given[name] = number(stated)
        except (TypeError, ValueError):
            given[name] = stated
    return given


def _judged(index: int, given: dict[str, Any]) -> Reject | None:
    """The reason for which a single request with these numbers would be refused, None where it would not."""
    try:
        validated(Request(model_id="-", **given))
    except InvalidInput as error:
        return Reject(index, error.field, explained(error))
    return None


assert set(NUMERIC_FIELDS) <= set(FIELDS)
