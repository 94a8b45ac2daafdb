"""Totals over many rows, with intervals that do not shrink with the number of rows.

Per pair of cards only the sum of each feature is kept; times the draws, it gives the draws of a total, in which rows
share the errors that they share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inferprint.batch.setups import Pair
from inferprint.estimate.result import uncertainty_shares
from inferprint.quantities import Range
from inferprint.rates import OUTPUT_NAMES, total_draws
from inferprint.rates.draws import SIZE, Array, bounds

ALL = "all"
"""The dimension, and its key, of the total over everything."""


@dataclass(frozen=True, slots=True)
class Total:
    """Sums over the rows of one key of a dimension: each output as a range, None where it is unknown."""

    dimension: str
    key: str
    records: int
    outputs: dict[str, Range | None]


class Dimension:
    """Sums by the keys of one dimension."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.keys: dict[str, int] = {}
        self.records: list[int] = []
        self.rows: list[Array] = []
        self.features: list[dict[int, Array]] = []

    def codes(self, labels: Sequence[str]) -> NDArray[np.intp]:
        """Code of each label; new ones are taken up."""
        keys = self.keys
        codes = np.fromiter((keys.setdefault(label, len(keys)) for label in labels), np.intp, len(labels))
        while len(self.records) < len(keys):
            self.records.append(0)
            self.rows.append(np.zeros((3, len(OUTPUT_NAMES))))
            self.features.append({})
        return codes

    def add_rows(self, codes: NDArray[np.intp], outputs: Array) -> None:
        """Add rows' outputs: value, low and high, shape (3, outputs, rows)."""
        for code, which in split_by(codes):
            self.records[code] += which.size
            self.rows[code] += outputs[:, :, which].sum(axis=2)

    def add_features(self, codes: NDArray[np.intp], pair: int, features: Array) -> None:
        """Add the features of rows that share a pair of cards: shape (features, rows)."""
        for code, which in split_by(codes):
            summed = features[:, which].sum(axis=1)
            sums = self.features[code]
            sums[pair] = sums[pair] + summed if pair in sums else summed


def split_by(codes: NDArray[np.intp]) -> list[tuple[int, NDArray[np.intp]]]:
    """Each code with its positions, in their order."""
    if not codes.size:
        return []
    if codes.min() == codes.max():
        return [(int(codes[0]), np.arange(codes.size))]
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    return [(int(codes[part[0]]), part) for part in np.split(order, starts[1:])]


def drawn(features: Mapping[int, Array], pairs: Sequence[Pair]) -> dict[str, Array]:
    """Draws of every output for summed features by pair: shape (SIZE,)."""
    sums = {name: np.zeros(SIZE) for name in OUTPUT_NAMES}
    for number, summed in features.items():
        for name, draws in total_draws(pairs[number].machine, pairs[number].place, summed).items():
            sums[name] += draws
    return sums


def totals_of(dimension: Dimension, pairs: Sequence[Pair]) -> list[Total]:
    """The totals of a dimension, by key, each within the sum of its rows' bounds."""
    return [
        Total(
            dimension.name,
            key,
            dimension.records[code],
            _ranges(drawn(dimension.features[code], pairs), dimension.rows[code]),
        )
        for key, code in sorted(dimension.keys.items())
    ]


def _ranges(draws: Mapping[str, Array], rows: Array) -> dict[str, Range | None]:
    """Ranges of outputs from their draws, never wider than the sums of the rows, shape (3, outputs)."""
    value, low, high = bounds(np.stack([draws[name] for name in OUTPUT_NAMES], axis=1))
    low = np.minimum(np.maximum(low, rows[1]), value)
    high = np.maximum(np.minimum(high, rows[2]), value)
    return {
        name: None if np.isnan(value[i]) else Range(float(value[i]), float(low[i]), float(high[i]))
        for i, name in enumerate(OUTPUT_NAMES)
    }


def shares_of(dimension: Dimension, pairs: Sequence[Pair], output: str) -> dict[str, float]:
    """Share of each uncertain input in the spread of a dimension's first total, largest first."""
    if not dimension.features:
        return {}
    features = dimension.features[0]
    used = [pairs[number] for number in features]
    sources = {
        name: normal for pair in used for name, normal in (*pair.machine.sources.items(), *pair.place.sources.items())
    }
    return uncertainty_shares(drawn(features, pairs)[output], sources)
