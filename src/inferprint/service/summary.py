"""Usage summed up: values as they were acknowledged, intervals from the cards that the rows share.

The value of a sum is that of the stored values, so that it never changes. Its interval is that of a run over the same
rows (`inferprint.batch.totals`): features are summed per setup, and multiplied by the draws of the setup's cards.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from sqlalchemy import Connection, Row, and_, collate, func, or_, select
from sqlalchemy.sql.elements import ColumnElement

from inferprint.errors import InferprintError
from inferprint.estimate import Estimator, Request
from inferprint.estimate.estimate import machine_setup, place_setup
from inferprint.estimate.request import FIELDS
from inferprint.quantities import RESULTS, Range
from inferprint.service.caller import Caller
from inferprint.service.problems import BadRequest
from inferprint.service.tables import FEATURES, QUANTITY_COLUMNS, SETUPS, USAGE
from inferprint.service.usage_queries import filtered, named, owner_of

if TYPE_CHECKING:
    from inferprint.batch.setups import Pair
    from inferprint.batch.totals import Total
    from inferprint.service.ledger import Ledger

DIMENSIONS = (
    "project_id",
    "application_id",
    "client_id",
    "user_id",
    "session_id",
    "model",
    "service",
    "place",
    "day",
    "month",
)
"""What usage is summed up by."""

MAX_GROUPS = 50_000
"""Combinations of a key and a setup that one answer is made of: each takes a few hundred bytes."""

MAX_SETUPS = 1_000
"""Setups whose cards are resolved for one answer; a new one costs some hundredths of a second."""

SAME = 1e-9
"""Relative difference below which a value is that of today's cards."""

_NAMES = tuple(quantity.name for quantity in RESULTS)


def summed(
    ledger: Ledger,
    caller: Caller,
    by: Sequence[str],
    question: Mapping[str, str],
    *,
    limit: int = 100,
    offset: int = 0,
) -> dict[str, Any]:
    """Sums of usage by key, in the order of the keys.

    Parameters
    ----------
    by
        None, one or two of `DIMENSIONS`.
    question
        Which rows; see `inferprint.service.usage_queries.filters`.
    limit, offset
        Keys to tell, and to leave out before them.

    Returns
    -------
    dict
        In the shape of `inferprint.service.usage_schemas.UsageSummary`.

    Raises
    ------
    BadRequest
        More combinations than one answer is made of.
    """
    with ledger.database.begin(write=False) as connection:
        owner_id = owner_of(connection, caller, question.get("owner"))
        reader = _Reader(connection, ledger.database.dialect, filtered(owner_id, question), by)
        keys = reader.keys(limit + 1, offset)
        groups = reader.groups(keys[:limit])
        setups = reader.setups({group.setup_id for group in groups if group.setup_id is not None})
    used = _most(groups, setups)
    cards = _Cards(ledger.catalogues.apart(owner_id) if used else None, used)
    sums = _gathered(keys[:limit], groups, cards)
    totals = cards.totals(len(sums))
    return {
        "by": list(by),
        "from": question.get("from"),
        "to": question.get("to"),
        "rows": [_told(by, one, total) for one, total in zip(sums, totals, strict=True)],
        "next_offset": offset + limit if len(keys) > limit else None,
    }


# --- what is read -----------------------------------------------------------------------------------------------------


class _Reader:
    """Reads keys, groups and setups, all of one moment."""

    def __init__(
        self, connection: Connection, dialect: str, conditions: list[ColumnElement[bool]], by: Sequence[str]
    ) -> None:
        self._connection, self._conditions = connection, conditions
        # The order of keys is that of their bytes in UTF-8, whatever the database is set to.
        order = (lambda column: collate(column, "C")) if dialect == "postgresql" else (lambda column: column)
        self._by = [order(named(name)).label(f"key_{i}") for i, name in enumerate(by)]

    def keys(self, limit: int, offset: int) -> list[tuple[str, ...]]:
        """Keys in their order."""
        if not self._by:
            return [()] if offset == 0 else []
        statement = select(*self._by).distinct().where(*self._conditions).order_by(*self._by)
        return [tuple(row) for row in self._connection.execute(statement.limit(limit).offset(offset))]

    def groups(self, keys: Sequence[tuple[str, ...]]) -> list[_Group]:
        """Sums of the rows of these keys, per key, setup and what else rows share."""
        if not keys:
            return []
        shared = (*self._by, USAGE.c.setup_id, USAGE.c.outcome, USAGE.c.quality, USAGE.c.versions)
        sums = (
            func.count().label("n"),
            func.sum(USAGE.c.n_requests).label("n_requests"),
            *(func.count(USAGE.c[name]).label(f"{name}_known") for name in _NAMES),
            *(func.sum(USAGE.c[name]).label(name) for name in (*QUANTITY_COLUMNS, *FEATURES)),
        )
        statement = select(*shared, *sums).where(*self._conditions, *self._between(keys[0], keys[-1]))
        found = self._connection.execute(statement.group_by(*shared).limit(MAX_GROUPS + 1)).all()
        if len(found) > MAX_GROUPS:
            raise BadRequest(
                f"more than {MAX_GROUPS:,} combinations of key and setup",
                field="limit",
                reason="Narrow it by from and to or another parameter, or ask for fewer keys at a time with limit.",
            )
        return [_Group.of(row, len(self._by)) for row in found]

    def _between(self, first: tuple[str, ...], last: tuple[str, ...]) -> list[ColumnElement[bool]]:
        """Conditions for the keys from the first to the last."""
        if not first:
            return []
        columns = [label.element for label in self._by]
        if len(columns) == 1:
            return [columns[0].between(first[0], last[0])]
        head, tail = columns
        return [
            or_(head > first[0], and_(head == first[0], tail >= first[1])),
            or_(head < last[0], and_(head == last[0], tail <= last[1])),
        ]

    def setups(self, numbers: set[int]) -> dict[int, tuple[str, str]]:
        """Stated fields and names of features by the number of the setup."""
        found = {}
        wanted = sorted(numbers)
        for start in range(0, len(wanted), 500):
            statement = select(SETUPS).where(SETUPS.c.id.in_(wanted[start : start + 500]))
            found.update({row.id: (row.body, row.features) for row in self._connection.execute(statement)})
        return found


@dataclass(frozen=True, slots=True)
class _Group:
    """Sums of rows that share a key, a setup, an outcome, a quality and versions.

    Attributes
    ----------
    known
        Rows for which each quantity is known, shape (quantities,).
    sums
        Values, lows and highs of each quantity, shape (quantities, 3).
    features
        Shape (16,).
    """

    key: tuple[str, ...]
    setup_id: int | None
    outcome: str
    quality: str | None
    versions: str | None
    n: int
    n_requests: float
    known: Any
    sums: Any
    features: Any

    @classmethod
    def of(cls, row: Row[Any], width: int) -> _Group:
        """A group from a row of the answer, whose first columns are the key."""
        numbers = [float(value or 0.0) for value in row[width + 6 :]]
        ends = (len(_NAMES), len(_NAMES) + len(QUANTITY_COLUMNS))
        return cls(
            key=tuple(row[:width]),
            setup_id=row[width],
            outcome=row[width + 1],
            quality=row[width + 2],
            versions=row[width + 3],
            n=int(row[width + 4]),
            n_requests=float(row[width + 5] or 0.0),
            known=np.array(numbers[: ends[0]]),
            sums=np.array(numbers[ends[0] : ends[1]]).reshape(-1, 3),
            features=np.array(numbers[ends[1] :]),
        )


def _most(groups: Sequence[_Group], setups: Mapping[int, tuple[str, str]]) -> dict[int, tuple[str, str]]:
    """The setups with the most energy, no more than are resolved for one answer."""
    energy: defaultdict[int, float] = defaultdict(float)
    for group in groups:
        if group.setup_id is not None:
            energy[group.setup_id] += float(group.sums[_NAMES.index("usage_energy_wh"), 0])
    ranked = sorted(energy, key=lambda number: (-energy[number], number))
    return {number: setups[number] for number in ranked[:MAX_SETUPS]}


# --- cards ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Found:
    """Cards of a setup, and where each feature of its rows stands in them."""

    number: int
    places: list[int]


class _Cards:
    """The cards of setups as they are today, and the sums that they are applied to."""

    def __init__(self, estimator: Estimator | None, setups: Mapping[int, tuple[str, str]]) -> None:
        self._pairs: dict[int, Pair] = {}
        self._numbers: dict[Any, int] = {}
        self._features: defaultdict[int, dict[int, Any]] = defaultdict(dict)
        self._records: defaultdict[int, Counter[int]] = defaultdict(Counter)
        self.found: dict[int, _Found] = {}
        for number, (body, names) in setups.items():
            assert estimator is not None
            found = self._resolved(estimator, msgspec.json.decode(body), msgspec.json.decode(names))
            if found is not None:
                self.found[number] = found

    def _resolved(self, estimator: Estimator, stated: dict[str, Any], names: list[str]) -> _Found | None:
        """The cards of a setup; None where there are none any more."""
        from inferprint.batch.setups import Pair

        if not stated.keys() <= set(FIELDS):
            return None
        request = Request(input_tokens=1, output_tokens=1, **stated)
        try:
            machine, place = estimator.cards(request)
        except InferprintError:
            return None
        features = machine.modality.names
        if not set(names) <= set(features):
            return None
        where = place_setup(request, machine)
        number = self._numbers.setdefault((machine_setup(request), where), len(self._numbers))
        self._pairs.setdefault(number, Pair(number, number, number, machine, place, where))
        return _Found(number, [features.index(name) for name in names])

    def add(self, position: int, group: _Group) -> None:
        """Count a group, whose setup was found, for a key."""
        assert group.setup_id is not None
        found = self.found[group.setup_id]
        width = len(self._pairs[found.number].machine.modality.names)
        features = self._features[found.number].setdefault(position, np.zeros(width))
        features[found.places] += group.features[: len(found.places)]
        self._records[found.number][position] += group.n

    def totals(self, keys: int) -> list[Total | None]:
        """Totals of what was counted, by key; None where nothing is of any card."""
        from inferprint.batch.totals import Sums, totals_of

        if not self._features:
            return [None] * keys
        features, records = {}, {}
        for number, by_key in self._features.items():
            positions = sorted(by_key)
            features[number] = (np.array(positions, np.intp), np.stack([by_key[i] for i in positions], axis=1))
            records[number] = np.array([self._records[number][i] for i in positions], float)
        sums = Sums("usage", [str(i) for i in range(keys)], features, records)
        used = {number: self._pairs[number] for number in features}
        return list(totals_of([sums], used)[0])


# --- sums -------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Sum:
    """What the rows of one key add up to.

    Attributes
    ----------
    known
        Rows for which each quantity is known.
    by_card, by_row
        Stored values, lows and highs of the rows with cards, and of those without, shape (quantities, 3).
    n_by_row
        Rows without cards.
    """

    key: tuple[str, ...]
    n: Counter[str] = field(default_factory=Counter)
    n_requests: float = 0.0
    known: Any = field(default_factory=lambda: np.zeros(len(_NAMES)))
    by_card: Any = field(default_factory=lambda: np.zeros((len(_NAMES), 3)))
    by_row: Any = field(default_factory=lambda: np.zeros((len(_NAMES), 3)))
    n_by_row: int = 0
    quality: Counter[str] = field(default_factory=Counter)
    versions: Counter[str] = field(default_factory=Counter)


def _gathered(keys: Sequence[tuple[str, ...]], groups: Sequence[_Group], cards: _Cards) -> list[_Sum]:
    """Groups by key; those with cards are counted there."""
    sums = [_Sum(key) for key in keys]
    position = {key: i for i, key in enumerate(keys)}
    for group in groups:
        i = position[group.key]
        one = sums[i]
        one.n[group.outcome] += group.n
        if group.outcome != "estimated":
            continue
        one.n_requests += group.n_requests
        one.known += group.known
        one.quality[group.quality or ""] += group.n
        one.versions[group.versions or "{}"] += group.n
        if group.setup_id in cards.found:
            one.by_card += group.sums
            cards.add(i, group)
        else:
            one.by_row += group.sums
            one.n_by_row += group.n
    return sums


def _told(by: Sequence[str], one: _Sum, total: Total | None) -> dict[str, Any]:
    """A sum as plain data."""
    quantities: dict[str, Any] = {}
    rescaled, added = [], []
    for i, name in enumerate(_NAMES):
        if one.known[i] < one.n["estimated"]:
            quantities[name] = None
            continue
        joint, how = _joint(one.by_card[i], total.outputs[name] if total is not None else None)
        value, low, high = (float(part) for part in np.add(joint, one.by_row[i]))
        quantities[name] = {"value": value, "low": min(low, value), "high": max(high, value)}
        if how == "rescaled":
            rescaled.append(name)
        elif how == "added":
            added.append(name)
    n = one.n["estimated"]
    return {
        "key": dict(zip(by, one.key, strict=True)),
        "n_rows": n,
        "n_requests": one.n_requests,
        "n_unestimated": one.n["unestimated"],
        "n_merged": one.n["merged"],
        "quantities": quantities,
        "interval": {
            "rows_by_cards": n - one.n_by_row,
            "rows_by_sums": one.n_by_row,
            "rescaled": rescaled,
            "added": added,
        },
        "quality": dict(_most_first(one.quality)),
        "versions": [{**msgspec.json.decode(text), "rows": count} for text, count in _most_first(one.versions)],
    }


def _most_first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _joint(stored: Any, today: Range | None) -> tuple[Any, str]:
    """Value and bounds of the rows with cards, and how they were made.

    Where today's cards give another value than the one that was stored, their interval is scaled by the ratio
    ("rescaled"); where there is no ratio, the bounds of the rows are added up ("added"), which is never narrower.
    """
    if today is None or (today.value == 0 and stored[0] != 0):
        return stored, "added" if stored.any() else ""
    if today.value == 0:
        return (0.0, today.low, today.high), ""
    ratio = float(stored[0]) / today.value
    how = "rescaled" if abs(ratio - 1) > SAME else ""
    return (float(stored[0]), today.low * ratio, today.high * ratio), how
