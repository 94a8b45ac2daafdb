"""Totals over many rows, with intervals that do not shrink with the number of rows.

Per pair of cards only the sum of each feature is kept; times the draws, it gives the draws of a total, in which rows
share the errors that they share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
from numpy.typing import NDArray

from inferprint.batch.setups import Pair
from inferprint.estimate.result import uncertainty_shares
from inferprint.quantities import RESULTS, Range
from inferprint.rates import OUTPUT_NAMES, OUTPUTS, apply, total_draws
from inferprint.rates.card import MACHINE_QUANTITIES
from inferprint.rates.draws import SIZE, Array, bounds

ALL = "all"
"""The dimension, and its key, of the total over everything."""

NONE, UNREADABLE = "(none)", "(unreadable)"
"""Key of what a row does not say, and day of a record whose utc_datetime is no ISO date."""

DIMENSIONS = {
    "project_id": "project_id",
    "application_id": "application_id",
    "user_id": "user_id",
    "day": "utc_datetime",
}
"""Dimensions that rows decide, and the column that each is read from. The cards decide model, service and place."""

RESULT_NAMES = tuple(quantity.name for quantity in RESULTS)
BLOCK = 256
"""Totals that are worked out together."""


@dataclass(frozen=True, slots=True)
class Total:
    """Sums over the rows of one key of a dimension: each output as a range, None where it is unknown."""

    dimension: str
    key: str
    records: int
    outputs: dict[str, Range | None]


@dataclass(frozen=True)
class Sums:
    """Summed features by key of a dimension and pair of cards.

    Attributes
    ----------
    keys
        Keys of the dimension.
    features
        By pair, the positions of the keys that it has a part in, and their features: shape (features, these keys).
    records
        By pair, the records of these keys: shape (these keys,).
    """

    dimension: str
    keys: list[str]
    features: Mapping[int, tuple[NDArray[np.intp], Array]]
    records: Mapping[int, Array]

    def records_of(self) -> Array:
        """Records of each key, shape (keys,)."""
        found = np.zeros(len(self.keys))
        for pair, (positions, _) in self.features.items():
            found[positions] += self.records[pair]
        return found


def by_pair(dimension: str, everything: Sums, labels: Mapping[int, str]) -> Sums:
    """Sums by what the pair of cards says, such as the model, from those over everything."""
    keys = sorted(set(labels.values()))
    place = {key: np.array([i]) for i, key in enumerate(keys)}
    features = {pair: (place[labels[pair]], summed) for pair, (_, summed) in everything.features.items()}
    return Sums(dimension, keys, features, everything.records)


def totals_of(sums: Sums, pairs: Mapping[int, Pair], names: Sequence[str] = RESULT_NAMES) -> list[Total]:
    """The totals of a dimension by key, each within the sum of its rows' bounds."""
    order = sorted(range(len(sums.keys)), key=lambda i: sums.keys[i])
    found: list[Total] = []
    records = sums.records_of()
    for start in range(0, len(order), BLOCK):
        block = np.array(order[start : start + BLOCK])
        draws, low, high = _summed(sums, block, pairs, names)
        value, drawn_low, drawn_high = bounds(draws)
        low = np.minimum(np.maximum(drawn_low, low), value)
        high = np.maximum(np.minimum(drawn_high, high), value)
        for i, position in enumerate(block.tolist()):
            outputs = {
                name: None if np.isnan(value[i, k]) else Range(float(value[i, k]), float(low[i, k]), float(high[i, k]))
                for k, name in enumerate(names)
            }
            found.append(Total(sums.dimension, sums.keys[position], round(records[position]), outputs))
    return found


def _summed(
    sums: Sums, block: NDArray[np.intp], pairs: Mapping[int, Pair], names: Sequence[str]
) -> tuple[Array, Array, Array]:
    """Draws of totals, shape (SIZE, totals, outputs), and what the sums of their rows' bounds are within."""
    draws = np.zeros((SIZE, block.size, len(names)))
    low, high = np.zeros((block.size, len(names))), np.zeros((block.size, len(names)))
    used = [OUTPUT_NAMES.index(name) for name in names]
    for number, columns, features in _within(sums, block):
        pair = pairs[number]
        for k, made in enumerate(total_draws(pair.machine, pair.place, features, names).values()):
            draws[:, columns, k] += made
        pair_low, pair_high = bounds_of_rows(pair, features)
        low[columns] += pair_low[used].T
        high[columns] += pair_high[used].T
    return draws, low, high


def _within(sums: Sums, block: NDArray[np.intp]) -> Iterator[tuple[int, NDArray[np.intp], Array]]:
    """Each pair with the positions in a block of the totals that it has a part in, and their features."""
    place = np.full(len(sums.keys), -1)
    place[block] = np.arange(block.size)
    for number, (keys, features) in sums.features.items():
        columns = place[keys]
        if np.any(columns >= 0):
            yield number, columns[columns >= 0], features[:, columns >= 0]


def bounds_of_rows(pair: Pair, features: Array) -> tuple[Array, Array]:
    """Bounds that the sums of the bounds of rows do not lie within, from their summed features alone.

    A row's upper bound is value x g(r) with r the upper over the central machine rate, g(r) = exp(sqrt(ln(r)^2 + w^2))
    and w the width of the place. Where g is convex, rows of one sum have the least bounds together if their r are
    alike: then they are those of one request that does all their work. g is convex up to a total width of 2, and
    concave above; there, the least lies on a line from below to the largest r that a feature has. The lower bound is
    concave throughout.

    Returns
    -------
    tuple
        Low and high, shape (outputs, totals): the sum of lows is at most the first, that of highs at least the second.
    """
    _, low, high = apply(pair.machine, pair.place, features)
    if pair.place.factors.high_of_zero is not None:
        return low, high * (1 - SAFETY)
    table = pair.machine.table
    rates = table[:, _QUANTITIES, :] @ features
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(rates[0] > 0, rates[2] / rates[0], 1.0)
        per_feature = np.where(table[0] > 0, table[2] / table[0], 1.0)
    largest = np.nanmax(per_feature, axis=1)[_QUANTITIES][:, None]
    squared = pair.place.factors.widths[1]
    share = _least(np.maximum(ratio, 1.0), largest, squared)
    return low * (1 + SAFETY), np.where(squared > 0, high * share, high) * (1 - SAFETY)


SAFETY = 1e-9
"""Relative slack for rounding, so that a total stays within the sum of its rows' bounds."""

_STEPS = np.linspace(0.0, 1.0, 65)[1:]
_QUANTITIES = np.array([MACHINE_QUANTITIES.index(quantity) for quantity, _, _ in OUTPUTS.values()])


def _least(ratio: Array, largest: Array, squared: Array) -> Array:
    """The least mean of g over rows whose mean ratio is `ratio`, over g of it: shape (outputs, totals)."""

    def g(r: Array) -> Array:
        return np.exp(np.sqrt(np.log(r) ** 2 + squared[..., None]))

    share = np.ones_like(ratio)
    curved = (np.log(largest) ** 2 + squared > 4) & (largest > ratio)
    if not np.any(curved):
        return share
    at, top = ratio[..., None], np.broadcast_to(largest, ratio.shape)[..., None]
    # Points from 1 up to the ratio, from which lines go to the top.
    lower = np.exp(np.log(at) * _STEPS) * (1 - 1e-12)
    lines = g(lower) + (g(top) - g(lower)) * (at - lower) / np.maximum(top - lower, 1e-300)
    least = np.min(lines, axis=-1) / g(at)[..., 0] * (1 - 1e-4)
    return np.where(curved, np.minimum(share, least), share)


def day_of(moment: str | None) -> str:
    """The day of a moment, as far as it can be read."""
    if not moment:
        return NONE
    try:
        return date.fromisoformat(moment[:10]).isoformat()
    except ValueError:
        return UNREADABLE


def shares_of(sums: Sums, pairs: Mapping[int, Pair], output: str) -> dict[str, float]:
    """Share of each uncertain input in the spread of the total over everything, largest first."""
    if not sums.features:
        return {}
    used = [pairs[number] for number in sums.features]
    sources = {
        name: normal for pair in used for name, normal in (*pair.machine.sources.items(), *pair.place.sources.items())
    }
    drawn, _, _ = _summed(sums, np.array([0]), pairs, (output,))
    return uncertainty_shares(drawn[:, 0, 0], sources)


def shares_by(sums: Sums, pairs: Mapping[int, Pair], output: str, label: Mapping[int, str]) -> dict[str, float]:
    """Share of each label in a total over everything, largest first."""
    index = OUTPUT_NAMES.index(output)
    found: dict[str, float] = {}
    for number, (_, features) in sums.features.items():
        value = float(np.nansum(apply(pairs[number].machine, pairs[number].place, features)[0, index]))
        found[label[number]] = found.get(label[number], 0.0) + value
    whole = sum(found.values())
    return {name: value / whole for name, value in sorted(found.items(), key=lambda item: -item[1])} if whole else {}
