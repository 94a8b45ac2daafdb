"""Rows of a chunk as checked numbers: what cannot be is set aside with its field and the reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inferprint.errors import InferprintError, InvalidInput
from inferprint.estimate.media import DEFAULTS as MEDIA_DEFAULTS
from inferprint.estimate.media import MEDIA_FIELDS, holds_media, media_of
from inferprint.estimate.request import (
    FIELDS,
    TIME_FIELDS,
    TOKEN_FIELDS,
    WRITTEN_FIELDS,
    Request,
    suspects,
    validated,
)
from inferprint.modalities.media import NO_MEDIA, MediaWork
from inferprint.rates.draws import Array
from inferprint.usage.tables import NUMERIC_FIELDS, Chunk

UNREADABLE = -1.0
"""Stands for a cell that is no number, until its row is set aside."""

DEFAULTS = {
    name: None if name in TIME_FIELDS or name in WRITTEN_FIELDS else default
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
class Beside:
    """What the rows of a chunk hold beside text: each distinct request once.

    Attributes
    ----------
    requests, works
        The distinct ones, as they are given and as work; what cannot be is no work.
    problems
        Field and reason of those that cannot be, by their position.
    codes
        Position of each row's among them, shape (rows,).
    held
        Rows with pictures, video or sound, whether they can be or not, shape (rows,).
    """

    requests: list[Request]
    works: list[MediaWork]
    problems: dict[int, tuple[str, str]]
    codes: NDArray[np.intp]
    held: NDArray[np.bool_]

    @property
    def outputs(self) -> Array:
        """Pictures to make of each row, shape (rows,)."""
        return np.array([float(len(work.output_images)) for work in self.works])[self.codes]


@dataclass(frozen=True, slots=True)
class Checked:
    """A chunk's numbers.

    Attributes
    ----------
    numbers
        `NUMERIC_FIELDS` of all rows, shape (rows,); NaN where not given.
    beside
        What they hold beside text.
    good, skipped
        Rows to estimate; rows without any work. Shape (rows,).
    rejects
        The other rows.
    """

    numbers: dict[str, Array]
    beside: Beside
    good: NDArray[np.bool_]
    skipped: NDArray[np.bool_]
    rejects: list[Reject]


def check(chunk: Chunk, fills: Mapping[str, Any]) -> Checked:
    """Read the numbers of a chunk and set aside the rows that cannot be."""
    size = len(chunk.rows)
    numbers = {name: _numbers(chunk.columns.get(name), _fill(name, fills), size) for name in NUMERIC_FIELDS}
    beside = beside_text(chunk, fills, [~np.isnan(numbers[name]) for name in WRITTEN_FIELDS])
    idle = np.all([numbers[name] == 0 for name in TOKEN_FIELDS], axis=0) & ~beside.held
    untimed = {name: np.full(size, np.nan) for name in TIME_FIELDS}
    skipped = idle & ~suspects({**numbers, **untimed})
    suspect = suspects(numbers, beside.held) & ~skipped
    rejects = []
    for index in np.flatnonzero(suspect).tolist():
        reject = _judged(index, beside.requests[beside.codes[index]], _given(chunk, fills, index))
        if reject is None:
            suspect[index] = False
        else:
            rejects.append(reject)
    good = ~suspect & ~skipped
    for code, problem in beside.problems.items():
        wrong = good & (beside.codes == code)
        rejects += [Reject(index, *problem) for index in np.flatnonzero(wrong).tolist()]
        good &= ~wrong
    return Checked(numbers, beside, good, skipped, rejects)


def beside_text(chunk: Chunk, fills: Mapping[str, Any], stated: Sequence[NDArray[np.bool_]]) -> Beside:
    """What the rows hold beside text; `stated` tells of each of `WRITTEN_FIELDS` in which rows it is.

    Raises
    ------
    InvalidInput
        What is wrong with a value that was stated for the whole table.
    """
    size = len(chunk.rows)
    names = [name for name in MEDIA_FIELDS if name in chunk.columns or fills.get(name) is not None]
    if not names:
        kinds = [_request(*which) for which in product((False, True), repeat=len(WRITTEN_FIELDS))]
        codes = (2 * stated[0] + stated[1]).astype(np.intp)
        return Beside(kinds, [NO_MEDIA] * len(kinds), {}, codes, np.zeros(size, dtype=bool))
    index: dict[tuple[Any, ...], int] = {}
    columns = [*(_cells(chunk, fills, name) for name in names), *(which.tolist() for which in stated)]
    codes = np.fromiter((index.setdefault(c, len(index)) for c in zip(*columns, strict=True)), np.intp, size)
    found = [_beside(dict(zip(names, cells, strict=False)), *cells[len(names) :]) for cells in index]
    for _, _, error in found:
        if error is not None and error.field not in chunk.columns:
            raise error
    problems = {code: (error.field, explained(error)) for code, (_, _, error) in enumerate(found) if error is not None}
    works = [work for _, work, _ in found]
    held = np.array([code in problems or holds_media(work) for code, work in enumerate(works)], dtype=bool)
    return Beside([request for request, _, _ in found], works, problems, codes, held[codes])


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


def _cells(chunk: Chunk, fills: Mapping[str, Any], name: str) -> list[Any]:
    """Cells of a field, blank ones filled, each as a key."""
    fill = fills.get(name)
    if fill is not None and not isinstance(fill, (str, float, int)):
        fill = tuple(fill)
    return [fill if cell is None else cell for cell in chunk.columns.get(name) or [None] * len(chunk.rows)]


def _request(asked: bool, answered: bool, **beside: Any) -> Request:
    """A request whose numbers of tokens do not matter, only whether they are stated."""
    return Request(input_tokens=0 if asked else None, output_tokens=0 if answered else None, **beside)


def _beside(cells: Mapping[str, Any], *stated: bool) -> tuple[Request, MediaWork, InvalidInput | None]:
    """A distinct request with what it holds beside text, its work, and the error where it cannot be."""
    try:
        given = {name: media_value(name, cell) for name, cell in cells.items() if cell is not None}
        request = _request(*stated, **given)
        return request, media_of(request), None
    except InvalidInput as error:
        return _request(*stated), NO_MEDIA, error


def media_value(name: str, cell: Any) -> Any:
    """A cell as the type of its field, as far as it can be read; the check of the request says what is wrong."""
    if not isinstance(cell, str) or isinstance(MEDIA_DEFAULTS[name], (str, tuple)) or name in WORDS:
        return cell
    if name == "media_tokens_included":
        return flag(name, cell)
    try:
        return number(cell)
    except ValueError:
        return cell


WORDS = ("task", "input_video_resolution", "output_video_resolution")
"""Fields whose text is read by the check of the request."""


def flag(name: str, text: str) -> bool:
    """A cell that says yes or no."""
    word = text.strip().lower()
    if word not in ("true", "1", "yes", "false", "0", "no"):
        raise InvalidInput(name, f"'{text}' is neither true nor false")
    return word in ("true", "1", "yes")


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


def _judged(index: int, beside: Request, given: dict[str, Any]) -> Reject | None:
    """The reason for which a single request with these numbers would be refused, None where it would not."""
    try:
        validated(replace(beside, model_id="-", **given))
    except InvalidInput as error:
        return Reject(index, error.field, explained(error))
    return None


assert set(NUMERIC_FIELDS) <= set(FIELDS)
