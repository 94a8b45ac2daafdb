"""Totals over many rows, with intervals that do not shrink with the number of rows.

Per pair of cards only the sum of each feature is kept; times the draws, it gives the draws of a total, in which rows
share the errors that they share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

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

ROWS = "rows"
"""The dimension of rows that say nothing of themselves."""

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
BLOCK = 1_024
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
        By pair, the positions of the keys that it has a part in, rising, and their features: shape (features, these
        keys).
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


def by_week(days: Sums) -> Sums:
    """Sums by ISO week, "2026-W47", from those by day."""
    weeks = [week_of(day) for day in days.keys]
    keys = sorted(set(weeks))
    place = np.array([keys.index(week) for week in weeks], dtype=np.intp)
    features, records = {}, {}
    for pair, (positions, summed) in days.features.items():
        found, inverse = np.unique(place[positions], return_inverse=True)
        gathered = np.zeros((summed.shape[0], found.size))
        np.add.at(gathered.T, inverse, summed.T)
        features[pair] = (found, gathered)
        records[pair] = np.bincount(inverse, weights=days.records[pair], minlength=found.size).astype(float)
    return Sums("week", keys, features, records)


def week_of(day: str) -> str:
    """The ISO week of a day; what is no day stays as it is."""
    try:
        year, week, _ = date.fromisoformat(day).isocalendar()
    except ValueError:
        return day
    return f"{year}-W{week:02d}"


@dataclass(slots=True)
class _Block:
    """Totals that are worked out together: consecutive keys of one dimension.

    Attributes
    ----------
    draws
        Draws of their outputs, shape (outputs, SIZE, totals).
    low, high
        What the sums of the bounds of their rows are within, shape (totals, outputs).
    """

    sums: Sums
    start: int
    names: Sequence[str]
    draws: Array
    low: Array
    high: Array

    @classmethod
    def of(cls, sums: Sums, start: int, size: int, names: Sequence[str]) -> _Block:
        """Zeros for `size` totals from `start` on."""
        shape = (size, len(names))
        return cls(sums, start, names, np.zeros((len(names), SIZE, size)), np.zeros(shape), np.zeros(shape))

    def part_of(self, number: int) -> tuple[NDArray[np.intp], Array] | None:
        """Positions in the block that a pair has a part in, and their features: shape (features, positions)."""
        if number not in self.sums.features:
            return None
        positions, features = self.sums.features[number]
        within = (positions >= self.start) & (positions < self.start + self.low.shape[0])
        return (positions[within] - self.start, features[:, within]) if within.any() else None

    def totals(self) -> Iterator[Total]:
        """The totals, each within the sum of its rows' bounds."""
        value, low, high = bounds(np.moveaxis(self.draws, 0, 2))
        low = np.minimum(np.maximum(low, self.low), value)
        high = np.maximum(np.minimum(high, self.high), value)
        records = self.sums.records_of()
        for i in range(self.low.shape[0]):
            outputs = {
                name: None if np.isnan(value[i, k]) else Range(float(value[i, k]), float(low[i, k]), float(high[i, k]))
                for k, name in enumerate(self.names)
            }
            key = self.start + i
            yield Total(self.sums.dimension, self.sums.keys[key], round(records[key]), outputs)


def totals_of(all_sums: Sequence[Sums], pairs: Mapping[int, Pair]) -> tuple[list[Total], dict[str, float]]:
    """The totals of all dimensions, by key, and what the spread of the first one's greenhouse gas comes from.

    The first is the total over everything, with every output; the others have the results alone. The draws of a card
    are read once for as many totals as memory allows.
    """
    found: list[Total] = []
    shares: dict[str, float] = {}
    for number, blocks in enumerate(_rounds(all_sums)):
        sources: dict[str, Any] = {}
        for pair_number, pair in pairs.items():
            parts = [(block, *part) for block in blocks if (part := block.part_of(pair_number)) is not None]
            if parts:
                _add(pair, parts)
            if number == 0:
                sources.update({**pair.machine.sources, **pair.place.sources})
        if number == 0 and pairs:
            emissions = list(blocks[0].names).index("usage_emissions_gco2e")
            shares = uncertainty_shares(blocks[0].draws[emissions, :, 0], sources)
        found += [total for block in blocks for total in block.totals()]
    return found, shares


def _add(pair: Pair, parts: Sequence[tuple[_Block, NDArray[np.intp], Array]]) -> None:
    """Add what one pair of cards has a part in: the results of all blocks at once, further outputs of some."""
    every = np.concatenate([features for _, _, features in parts], axis=1)
    ends = np.cumsum([features.shape[1] for _, _, features in parts])
    results = list(total_draws(pair.machine, pair.place, every, RESULT_NAMES).values())
    low, high = bounds_of_rows(pair, every)
    for (block, positions, features), end in zip(parts, ends.tolist(), strict=True):
        here = slice(end - features.shape[1], end)
        further = [name for name in block.names if name not in RESULT_NAMES]
        others = total_draws(pair.machine, pair.place, features, further) if further else {}
        for k, name in enumerate(block.names):
            made = others[name] if name in others else results[RESULT_NAMES.index(name)][:, here]
            if positions.size == block.draws.shape[2]:  # all of them, in their order
                block.draws[k] += made
            else:
                block.draws[k][:, positions] += made
        used = [OUTPUT_NAMES.index(name) for name in block.names]
        block.low[positions] += low[used, here].T
        block.high[positions] += high[used, here].T


def _rounds(all_sums: Sequence[Sums]) -> Iterator[list[_Block]]:
    """All totals in rounds of about `BLOCK`."""
    blocks: list[_Block] = []
    for sums in all_sums:
        names = OUTPUT_NAMES if sums.dimension == ALL else RESULT_NAMES
        for start in range(0, len(sums.keys), BLOCK):
            size = min(BLOCK, len(sums.keys) - start)
            if blocks and sum(block.low.shape[0] for block in blocks) + size > BLOCK:
                yield blocks
                blocks = []
            blocks.append(_Block.of(sums, start, size, names))
    if blocks:
        yield blocks


def bounds_of_rows(pair: Pair, features: Array) -> tuple[Array, Array]:
    """Bounds that the sums of the bounds of rows do not lie within, from their summed features alone.

    A row's upper bound is value x g(r) with r the upper over the central machine rate, g(r) = exp(sqrt(ln(r)^2 + w^2))
    and w the width of the place. Where g is convex, rows of one sum have the least bounds together if their r are
    alike: then they are those of one request that does all their work. g is convex up to a total width of 2, and
    concave above; there, the least lies on a line from below to the largest r that a feature has. The lower bound is
    concave throughout.

    Parameters
    ----------
    features
        Shape (features, totals).

    Returns
    -------
    tuple
        Low and high, shape (outputs, totals): the sum of lows is at most the first, that of highs at least the second.
    """
    _, low, high = apply(pair.machine, pair.place, features)
    low, high = low * (1 + SAFETY), high * (1 - SAFETY)
    squared = pair.place.factors.widths[1][:, 0]
    table = pair.machine.table
    with np.errstate(divide="ignore", invalid="ignore"):
        largest = np.nanmax(np.where(table[0] > 0, table[2] / table[0], 1.0), axis=1)[_QUANTITIES]
        for i in np.flatnonzero((squared > 0) & (np.log(largest) ** 2 + squared > 4)).tolist():
            value, side = (table[k, _QUANTITIES[i]] @ features for k in (0, 2))
            ratio = np.where(value > 0, side / value, 1.0)
            high[i] *= _least(np.clip(ratio, 1.0, largest[i]), largest[i], squared[i])
    return low, high


SAFETY = 1e-9
"""Relative slack for rounding, so that a total stays within the sum of its rows' bounds."""

_STEPS = np.linspace(0.0, 1.0, 33)
_GRID_SLACK = 1e-4
"""How much the least on a line may lie below the least on the lines that are tried."""

_QUANTITIES = np.array([MACHINE_QUANTITIES.index(quantity) for quantity, _, _ in OUTPUTS.values()])


def _least(ratio: Array, largest: float, squared: float) -> Array:
    """The least mean of g over rows whose mean ratio is `ratio` and whose largest is `largest`, over g of the mean."""

    def g(r: Array) -> Array:
        return np.exp(np.sqrt(np.log(r) ** 2 + squared))

    at = ratio[:, None]
    lower = np.exp(np.log(at) * _STEPS)
    top = g(np.array(largest))
    lines = g(lower) + (top - g(lower)) * (at - lower) / np.maximum(largest - lower, 1e-300)
    least: Array = np.minimum(1.0, np.min(lines, axis=1) / g(ratio) * (1 - _GRID_SLACK))
    return least


def day_of(moment: str | None) -> str:
    """The day of a moment, as far as it can be read."""
    if not moment:
        return NONE
    try:
        return date.fromisoformat(moment[:10]).isoformat()
    except ValueError:
        return UNREADABLE


def shares_by(sums: Sums, pairs: Mapping[int, Pair], output: str, label: Mapping[int, str]) -> dict[str, float]:
    """Share of each label in a total over everything, largest first."""
    index = OUTPUT_NAMES.index(output)
    found: dict[str, float] = {}
    for number, (_, features) in sums.features.items():
        value = float(np.nansum(apply(pairs[number].machine, pairs[number].place, features)[0, index]))
        found[label[number]] = found.get(label[number], 0.0) + value
    whole = sum(found.values())
    return {name: value / whole for name, value in sorted(found.items(), key=lambda item: -item[1])} if whole else {}
