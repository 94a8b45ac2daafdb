"""Rows that need a look each: measured times, pictures and sound, doubtful numbers, entangled request ids.

They are few, or their cards differ from row to row; NumPy applies the same cards to them, a chunk at a time.
"""

from __future__ import annotations

import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inferprint.batch.expression import output_columns
from inferprint.batch.rows import Checked, Reject, check, explained
from inferprint.batch.setups import Part, Setups
from inferprint.batch.times import work_columns
from inferprint.batch.totals import DIMENSIONS, NONE, ROWS, day_of
from inferprint.errors import InvalidInput
from inferprint.estimate import Request
from inferprint.estimate.estimate import check_fit, work_beside_text
from inferprint.estimate.media import MEDIA_FIELDS
from inferprint.estimate.request import TOKEN_FIELDS, WRITTEN_FIELDS
from inferprint.estimate.result import work_trail
from inferprint.modalities.media import MediaWork
from inferprint.provenance.trace import Entry
from inferprint.rates import OUTPUT_NAMES, apply
from inferprint.rates.draws import Array
from inferprint.rates.media import MediaReader
from inferprint.usage.tables import NUMERIC_FIELDS, Chunk

COMPARED = ("model_id", *TOKEN_FIELDS, *MEDIA_FIELDS)
"""What two records of one request_id should agree in."""

MOST_NOTED = 100
"""Distinct requests of a model whose own assumptions are looked at for the summary."""

ByRequest = Mapping[tuple[int, int], Mapping[str, float]]
"""Work columns beside those of text, by setup and by distinct request of a chunk."""

Rejection = tuple[str, int, str, str, str]
"""File, row, field, reason and text of a rejected row."""


@dataclass(slots=True)
class Made:
    """What became of a chunk of rows.

    Attributes
    ----------
    kept
        Positions in the chunk of the rows that were estimated.
    columns
        Columns of the impacts, in their order; None where no row was estimated.
    sums
        Per dimension, key and pair: records, requests, rows for several requests, rows beyond the context length, and
        the features by name.
    """

    rejected: list[Rejection] = field(default_factory=list)
    skipped: int = 0
    merged: int = 0
    conflicts: int = 0
    kept: list[int] = field(default_factory=list)
    columns: dict[str, Any] | None = None
    sums: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class _Kept:
    """Rows to estimate: positions in the chunk, setups, and work columns beside those of text."""

    rows: NDArray[np.intp]
    setups: NDArray[np.intp]
    columns: ByRequest


class OddRows:
    """Estimates chunks of such rows.

    Parameters
    ----------
    setups
        Resolves what they run on.
    fills
        Value by field, for fields that the table lacks and for blank cells.
    entangled
        Request ids that several rows have, of which one at least needs a look.
    intervals
        Whether the impacts have bounds.

    Attributes
    ----------
    claimed
        Content of the first good row of each entangled request id.
    noted
        Assumptions about the pictures and sound of distinct requests, by model.
    """

    def __init__(self, setups: Setups, fills: Mapping[str, Any], entangled: set[str], *, intervals: bool) -> None:
        self._setups, self._fills, self._entangled, self._intervals = setups, fills, entangled, intervals
        self.claimed: dict[str, int] = {}
        self.noted: defaultdict[str, dict[Request, list[Entry]]] = defaultdict(dict)

    def chunk(self, chunk: Chunk, files: Sequence[str], identity: Mapping[str, Sequence[Any]]) -> Made:
        """Estimate one chunk; `files` and `identity` are those of its rows."""
        made = Made()
        checked = check(chunk, self._fills)
        made.skipped = int(checked.skipped.sum())
        rows = np.flatnonzero(checked.good)
        outputs = checked.beside.outputs
        several = outputs if outputs.max(initial=0.0) > 1 else None
        setups = self._setups.of(chunk, checked.numbers, rows, several)
        errors = [setup.error for setup in self._setups.setups]
        fits = np.array([error is None for error in errors], dtype=bool)[setups]
        refused = zip(rows[~fits].tolist(), setups[~fits].tolist(), strict=True)
        found = [Reject(row, *(errors[setup] or ("", ""))) for row, setup in refused] + checked.rejects
        rows, setups = rows[fits], setups[fits]
        columns, unmakeable = self._beside_text(checked, rows, setups)
        found += unmakeable
        fits = ~np.isin(rows, [reject.index for reject in unmakeable])
        made.rejected = [(files[r.index], chunk.rows[r.index], r.field, r.reason, chunk.texts[r.index]) for r in found]
        first = self._first_of_each(chunk, rows[fits], made)
        if first.any():
            kept = _Kept(rows[fits][first], setups[fits][first], columns)
            self._estimate(chunk, checked, kept, (files, identity), made)
        return made

    def _beside_text(
        self, checked: Checked, rows: NDArray[np.intp], setups: NDArray[np.intp]
    ) -> tuple[ByRequest, list[Reject]]:
        """Work columns of what each of the rows holds beside text, and the rows whose models do not read or make it."""
        columns: dict[tuple[int, int], Mapping[str, float]] = {}
        refused: list[Reject] = []
        beside = checked.beside
        for key, which in split_by(setups * len(beside.works) + beside.codes[rows]):
            number, code = divmod(key, len(beside.works))
            setup, request = self._setups.setups[number], beside.requests[code]
            assert setup.pair is not None
            try:
                columns[number, code] = work_beside_text(request, setup.pair.machine, beside.works[code])
            except InvalidInput as error:
                refused += [Reject(row, error.field, explained(error)) for row in rows[which].tolist()]
                continue
            refused += _unfit(setup.pair.machine.media, beside.works[code], checked.numbers, rows[which])
            noted = self.noted[setup.pair.machine.model]
            if len(noted) < MOST_NOTED and request not in noted:
                named = replace(request, model_id=setup.request.model_id, task=setup.request.task)
                noted[request] = work_trail(named, setup.pair.machine).assumptions
        return columns, refused

    def _first_of_each(self, chunk: Chunk, rows: NDArray[np.intp], made: Made) -> NDArray[np.bool_]:
        """Which of the rows are the first with their request_id; unique ones always are."""
        first = np.ones(rows.size, dtype=bool)
        ids = chunk.columns.get("request_id")
        for i, row in enumerate(rows.tolist() if ids is not None and self._entangled else []):
            request_id = ids[row] if ids is not None else None
            if request_id not in self._entangled:
                continue
            content = content_of(chunk, row)
            first[i] = request_id not in self.claimed
            made.conflicts += self.claimed.setdefault(request_id, content) != content
        made.merged = int((~first).sum())
        return first

    def _estimate(
        self,
        chunk: Chunk,
        checked: Checked,
        kept: _Kept,
        labels: tuple[Sequence[str], Mapping[str, Sequence[Any]]],
        made: Made,
    ) -> None:
        """Estimate the rows that are left, and add them up."""
        files, identity = labels
        rows = kept.rows.tolist()
        numbers = {name: checked.numbers[name][kept.rows] for name in NUMERIC_FIELDS}
        # Where tokens are missing still, none are needed.
        numbers |= {name: np.nan_to_num(numbers[name]) for name in WRITTEN_FIELDS}
        text: dict[str, list[Any]] = {"file": [files[row] for row in rows]}
        text |= {name: [cells[row] for row in rows] for name, cells in identity.items()}
        models = [setup.pair.machine.model if setup.pair else "" for setup in self._setups.setups]
        text["model"] = [models[setup] for setup in kept.setups.tolist()]
        made.kept = rows
        outputs = self._outputs(numbers, kept, checked.beside.codes[kept.rows], (text, made))
        made.columns = {
            "row": np.array([chunk.rows[row] for row in rows], dtype=np.int64),
            **{name: np.array(cells, dtype=object) for name, cells in text.items()},
            **{
                column: outputs[side, OUTPUT_NAMES.index(name)]
                for column, name, side in output_columns(intervals=self._intervals)
            },
        }

    def _outputs(
        self,
        numbers: dict[str, Array],
        kept: _Kept,
        requests: NDArray[np.intp],
        into: tuple[Mapping[str, list[Any]], Made],
    ) -> Array:
        """All outputs of the rows, shape (3, outputs, rows); `requests` are the distinct requests of the rows."""
        text, made = into
        outputs = np.zeros((3, len(OUTPUT_NAMES), kept.setups.size))
        work = work_columns(numbers)
        labels = _labels(text)
        for setup, rows in split_by(kept.setups):
            distinct, which = np.unique(requests[rows], return_inverse=True)
            each = [kept.columns[setup, code] for code in distinct.tolist()]
            extra = self._by_row(setup, each, which)
            for part in self._setups.parts(setup, numbers, rows, extra):
                machine, place = part.pair.machine, part.pair.place
                columns = {name: column[part.rows] for name, column in work.items()}
                columns |= {name: column[np.searchsorted(rows, part.rows)] for name, column in extra.items()}
                features = np.array(machine.modality.count(columns, machine.window, np.minimum), dtype=float)
                if part.weights is not None:
                    features *= part.weights
                outputs[:, :, part.rows] += apply(machine, place, features)
                tokens = columns["input_tokens"] + columns["output_tokens"]
                made.sums += _sums(part, features, (numbers["n_requests"][part.rows], tokens), labels)
        return outputs

    def _by_row(self, setup: int, each: Sequence[Mapping[str, float]], rows: NDArray[np.intp]) -> dict[str, Array]:
        """Work columns of distinct requests as columns over the rows, which are positions among them.

        A request of text has none: where another one of its model has some, it gets the neutral ones.
        """
        pair = self._setups.setups[setup].pair
        assert pair is not None
        neutral = pair.machine.media.neutral
        names = dict.fromkeys(name for one in each for name in one)
        return {name: np.array([one[name] if name in one else neutral[name] for one in each])[rows] for name in names}


def content_of(chunk: Chunk, row: int) -> int:
    """What two records of one request id should agree in, as a number."""
    content = [cells[row] for name, cells in chunk.columns.items() if name in COMPARED]
    return zlib.crc32(repr(content).encode("utf-8", errors="replace"))


def _sums(part: Part, features: Array, numbers: tuple[Array, Array], labels: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Features and counts of rows that share a pair of cards, by dimension and key."""
    n_requests, tokens = numbers
    machine = part.pair.machine
    weights = np.ones(part.rows.size) if part.weights is None else part.weights
    limit = machine.context_length if machine.context_length is not None else np.inf
    counts = np.stack([weights, weights * n_requests, weights * (n_requests > 1), weights * (tokens > limit)])
    found = []
    for dimension, keys in labels.items():
        chosen = [keys[row] for row in part.rows.tolist()]
        index: dict[str, int] = {}
        codes = np.fromiter((index.setdefault(key, len(index)) for key in chosen), np.intp, len(chosen))
        names = list(index)
        for code, which in split_by(codes):
            row = {"dimension": dimension, "key": names[code], "pair": part.pair.number}
            row |= dict(zip(COUNTED, counts[:, which].sum(axis=1).tolist(), strict=True))
            row |= dict(zip(machine.modality.names, features[:, which].sum(axis=1).tolist(), strict=True))
            found.append(row)
    return found


COUNTED = ("records", "requests", "several", "beyond")
"""Counts of the sums: records, requests, records for several requests, records beyond the context length."""


def _labels(text: Mapping[str, list[Any]]) -> dict[str, list[str]]:
    """Key of each row by dimension, for those that rows decide."""
    labels: dict[str, list[str]] = {}
    for dimension, column in DIMENSIONS.items():
        if column in text:
            labels[dimension] = [
                day_of(cell) if dimension == "day" else (str(cell) if cell else NONE) for cell in text[column]
            ]
    return labels or {ROWS: [NONE] * len(text["file"])}


def split_by(codes: NDArray[np.intp]) -> list[tuple[int, NDArray[np.intp]]]:
    """Each code with its positions, in their order."""
    if not codes.size:
        return []
    if codes.min() == codes.max():
        return [(int(codes[0]), np.arange(codes.size))]
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    return [(int(codes[part[0]]), part) for part in np.split(order, starts[1:])]


def _unfit(reader: MediaReader, work: MediaWork, numbers: Mapping[str, Array], rows: NDArray[np.intp]) -> list[Reject]:
    """The rows whose tokens their model does not write, or that cannot hold those of what is given."""
    written = numbers["output_tokens"][rows] > 0
    suspects = rows if work.tokens_included else rows[written] if not reader.writes_text else rows[:0]
    found = []
    for row in suspects.tolist():
        n = numbers["n_requests"][row]
        try:
            check_fit(reader, work, numbers["input_tokens"][row] / n, numbers["output_tokens"][row] / n)
        except InvalidInput as error:
            found.append(Reject(row, error.field, explained(error)))
    return found
