"""Rate cards as tables, and the outputs of a usage table as an Ibis expression over them.

    usage       numbers of each row, and which machine and place card it takes
    counted     its features, beside the rates of its cards
    rated       features x rates: one sum of products for each machine quantity and bound
    widened     the same, and the widths that several bounds share
    (result)    outputs and their bounds

The features come from the modality and the bounds from `rates.card.bound`: the expressions that a single estimate
evaluates. DuckDB, Spark and a warehouse run the SQL that Ibis makes of it, each in its own dialect.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ibis
import numpy as np

from inferprint.estimate.estimate import work_of
from inferprint.estimate.request import TOKEN_FIELDS
from inferprint.modalities.base import Modality
from inferprint.quantities import BREAKDOWN, RESULTS
from inferprint.rates import OUTPUTS, MachineCard, PlaceCard
from inferprint.rates.card import MACHINE_QUANTITIES, Mathematics, bound, squared_width

NUMBERS = (*TOKEN_FIELDS, "n_requests")
"""Numbers that a usage table holds of each row."""

SIDES = ("", "_low", "_high")
MACHINES, PLACES = "inferprint_machines", "inferprint_places"
"""Names of the tables of cards."""

VALUES = tuple(q.name for q in (*RESULTS, *BREAKDOWN))
BOUNDED = tuple(q.name for q in RESULTS)
"""Outputs that each row has, and those that have bounds."""

Columns = dict[str, Any]


def output_columns(*, intervals: bool) -> list[tuple[str, str, int]]:
    """Name, output and side of each column of the impacts, in their order."""
    sides = SIDES if intervals else SIDES[:1]
    bounded = [(name + suffix, name, side) for name in BOUNDED for side, suffix in enumerate(sides)]
    return [*bounded, *((q.name, q.name, 0) for q in BREAKDOWN)]


@ibis.udf.scalar.builtin(name="ln")  # type: ignore[untyped-decorator]
def _ln(x: float) -> float:  # type: ignore[empty-body]
    """The natural logarithm: each dialect has it by this name, while Ibis writes some as `LOG` with a base."""


@ibis.udf.scalar.builtin(name="floor")  # type: ignore[untyped-decorator]
def floor(x: float) -> float:  # type: ignore[empty-body]
    """Rounded down, and still a float: Ibis makes an integer of it, which NaN and infinity cannot be."""


IBIS = Mathematics(_ln, lambda x: x.exp(), lambda x: x.sqrt(), ibis.greatest)


@dataclass(frozen=True)
class CardTables:
    """Cards of one modality as tables, and which of their columns count.

    Attributes
    ----------
    machines, places
        Columns by name: shape (cards,). Their first ones, `machine` and `place`, number the cards.
    features
        Features that a row without pictures, video, sound and measured times can have.
    rates
        Features by machine quantity and side whose rates are not zero on all cards.
    intervals
        Whether the bounds are there.
    """

    modality: Modality
    machines: Mapping[str, Any]
    places: Mapping[str, Any]
    features: tuple[str, ...]
    rates: Mapping[tuple[str, int], tuple[str, ...]]
    intervals: bool

    def rate_kinds(self) -> dict[str, str]:
        """Ibis type of each rate and factor."""
        names = [name for table in (self.machines, self.places) for name in table if name not in _KEYS]
        return dict.fromkeys(names, "float64")

    def unbound(self, usage: Mapping[str, str]) -> tuple[Any, Any, Any]:
        """Usage, machines and places as Ibis tables that stand for tables of these names."""
        kinds = [{name: _kind(column) for name, column in table.items()} for table in (self.machines, self.places)]
        return (
            ibis.table(dict(usage), name="usage"),
            ibis.table(kinds[0], name=MACHINES),
            ibis.table(kinds[1], name=PLACES),
        )


def _kind(column: Any) -> str:
    return "int64" if np.asarray(column).dtype.kind == "i" else "float64"


def plain_features(modality: Modality) -> tuple[str, ...]:
    """Features that rows without pictures, video, sound and measured times can have: the others are 0 on samples."""
    samples = np.array([[900.0, 200.0, 300.0, 1.0], [9e5, 7e5, 4e3, 3.0], [5.0, 0.0, 2.0, 1.0]])
    names = ("input_tokens", "cached_input_tokens", "output_tokens", "n_requests")
    numbers = {name: samples[:, i] for i, name in enumerate(names)} | {"request_duration_ms": np.zeros(3)}
    counted = modality.count(work_of(numbers), np.array([128.0, 4096.0, 4096.0]), np.minimum)
    return tuple(name for name, column in zip(modality.names, counted, strict=True) if np.any(np.asarray(column) > 0))


def card_tables(
    modality: Modality,
    machines: Mapping[int, MachineCard],
    places: Mapping[int, PlaceCard],
    *,
    intervals: bool = True,
) -> CardTables:
    """Cards by number as tables.

    Parameters
    ----------
    machines
        Cards of this modality.
    intervals
        Whether bounds will be asked for.
    """
    features = plain_features(modality)
    used = [modality.names.index(name) for name in features]
    rates: dict[tuple[str, int], tuple[str, ...]] = {}
    columns: Columns = {
        "machine": np.array(list(machines), dtype=np.int64),
        "window_tokens": np.array([card.window for card in machines.values()], dtype=float),
    }
    stacked = np.stack([card.table[:, :, used] for card in machines.values()])
    for quantity, side in _needed(intervals):
        found = stacked[:, side, MACHINE_QUANTITIES.index(quantity), :]
        present = tuple(name for i, name in enumerate(features) if np.any(found[:, i] != 0))
        # A sum of nothing has no column; one that is zero everywhere keeps its first.
        rates[quantity, side] = present or features[:1]
        for name in rates[quantity, side]:
            columns[_rate(quantity, side, name)] = found[:, features.index(name)]
    return CardTables(modality, columns, _place_columns(places, intervals), features, rates, intervals)


def _needed(intervals: bool) -> list[tuple[str, int]]:
    """Machine quantities that the outputs rest on, and their sides."""
    values = dict.fromkeys((OUTPUTS[name][0], 0) for name in VALUES)
    bounds = dict.fromkeys((OUTPUTS[name][0], side) for name in BOUNDED for side in (1, 2))
    return [*values, *(bounds if intervals else ())]


def _rate(quantity: str, side: int, feature: str) -> str:
    return f"{quantity}{SIDES[side]}_per_{feature}"


def _place_columns(places: Mapping[int, PlaceCard], intervals: bool) -> Columns:
    """Factor, and squared log widths, of each output that a place has a part in."""
    columns: Columns = {"place": np.array(list(places), dtype=np.int64)}
    all_factors = [place.factors for place in places.values()]
    for i, (name, (_, factor, _)) in enumerate(OUTPUTS.items()):
        if factor is None or name not in VALUES:
            continue
        columns[f"{name}_factor"] = np.array([factors.value[i, 0] for factors in all_factors])
        if not intervals or name not in BOUNDED:
            continue
        for side in (1, 2):
            column = np.array([factors.widths[side - 1, i, 0] for factors in all_factors])
            columns[f"{name}{SIDES[side]}_width"] = column
        of_zero = np.array([0.0 if f.high_of_zero is None else f.high_of_zero[i, 0] for f in all_factors])
        if np.any(of_zero):
            columns[f"{name}_high_of_zero"] = of_zero
    return columns


def numbers_of(usage: Any) -> Columns:
    """The numbers of a usage table, with those that it has not as what they are worth where nobody states them."""
    missing = dict.fromkeys(NUMBERS, 0.0) | {"n_requests": 1.0}
    return {name: usage[name] if name in usage.columns else ibis.literal(default) for name, default in missing.items()}


def features_of(modality: Modality, numbers: Mapping[str, Any], window: Any) -> Columns:
    """Features of rows without pictures, video, sound and measured times, as columns."""
    work = work_of({**numbers, "request_duration_ms": ibis.literal(0.0)})
    counted = dict(zip(modality.names, modality.count(work, window, ibis.least), strict=True))
    return {name: counted[name] for name in plain_features(modality)}


def counted(cards: CardTables, joined: Any, keep: Iterable[str]) -> Any:
    """Each row's features beside the rates of its cards; `keep` names columns to carry along."""
    features = features_of(cards.modality, numbers_of(joined), joined["window_tokens"])
    return joined.select(
        *(joined[name] for name in keep),
        **{f"n_{name}": column.cast("float64") for name, column in features.items()},
        **{name: joined[name] for name in cards.rate_kinds()},
    )


def with_cards(usage: Any, machines: Any, places: Any) -> Any:
    """A usage table with its cards: every row has them; a left join keeps the order of the rows."""
    return usage.left_join(machines, "machine").left_join(places, "place")


_KEYS = ("machine", "window_tokens", "place")


def rated(cards: CardTables, table: Any, keep: Iterable[str]) -> Any:
    """Each row's machine quantities, beside the factors of its place."""
    factors = [name for name in cards.places if name not in _KEYS]
    sums = {
        quantity + SIDES[side]: _sum_of_products(table, quantity, side, names)
        for (quantity, side), names in cards.rates.items()
    }
    return table.select(*(table[name] for name in (*keep, *factors)), **{f"of_{n}": e for n, e in sums.items()})


def widened(cards: CardTables, table: Any) -> Any:
    """The same with the widths of the machine quantities that bounds of several outputs share."""
    placed = dict.fromkeys(OUTPUTS[name][0] for name in BOUNDED if OUTPUTS[name][1] is not None)
    sides = (1, 2) if cards.intervals else ()
    widths = {
        f"width_of_{quantity}{SIDES[side]}": squared_width(
            table[f"of_{quantity}"], table[f"of_{quantity}{SIDES[side]}"], IBIS
        )
        for quantity in placed
        for side in sides
    }
    return table.select(*table.columns, **widths)


def _sum_of_products(table: Any, quantity: str, side: int, features: Sequence[str]) -> Any:
    first, *others = (table[f"n_{name}"] * table[_rate(quantity, side, name)] for name in features)
    for product in others:
        first += product
    return first


def outputs_of(cards: CardTables, table: Any, keep: Iterable[str]) -> Any:
    """Outputs of each row, and their bounds."""
    made = {
        column: _output(cards, table, name, side) for column, name, side in output_columns(intervals=cards.intervals)
    }
    return table.select(*(table[name] for name in keep), **made)


def _output(cards: CardTables, table: Any, name: str, side: int) -> Any:
    """One output or bound. Where no place has a part in it, its bounds are those of the machine."""
    quantity, factor, unit = OUTPUTS[name]
    if factor is None:
        return table[f"of_{quantity}{SIDES[side]}"] * unit
    rate, place_factor = table[f"of_{quantity}"], table[f"{name}_factor"]
    value = rate * place_factor
    if side == 0:
        return value
    widths = table[f"width_of_{quantity}{SIDES[side]}"], table[f"{name}{SIDES[side]}_width"]
    made = bound(value, *widths, (-1.0, 1.0)[side - 1], IBIS)
    of_zero = f"{name}_high_of_zero"
    rate_bound = table[f"of_{quantity}{SIDES[side]}"]
    return made + rate_bound * table[of_zero] if side == 2 and of_zero in cards.places else made


def sql_of(
    cards: CardTables, usage: str, kinds: Mapping[str, str], keep: Sequence[str], dialect: str, *, joined: bool = False
) -> str:
    """The outputs of a usage table as one SELECT.

    Parameters
    ----------
    usage
        SELECT of the usage, in the dialect.
    kinds
        Ibis type of each of its columns: `keep`, machine, place and `NUMBERS` as far as they are there.
    keep
        Columns to carry along.
    dialect
        As `ibis.to_sql` names it.
    joined
        Whether the usage has the columns of its cards already, in place of their numbers.
    """
    table = _with_cards_of(cards, kinds, joined=joined)
    with_rates = counted(cards, table, keep)
    with_sums = rated(cards, _named(with_rates, "counted"), keep)
    with_widths = widened(cards, _named(with_sums, "rated"))
    made = outputs_of(cards, _named(with_widths, "widened"), keep)
    stages = {
        "usage": usage,
        "counted": as_sql(with_rates, dialect),
        "rated": as_sql(with_sums, dialect),
        "widened": as_sql(with_widths, dialect),
    }
    listed = ",\n".join(f"{name} AS (\n{text}\n)" for name, text in stages.items())
    return f"WITH {listed}\n{as_sql(made, dialect)}"


def _with_cards_of(cards: CardTables, kinds: Mapping[str, str], *, joined: bool) -> Any:
    """The usage with the columns of its cards, which it has or which are joined to it."""
    if joined:
        return ibis.table({**kinds, "window_tokens": "float64", **cards.rate_kinds()}, name="usage")
    return with_cards(*cards.unbound(kinds))


def feature_sums(
    cards: CardTables, kinds: Mapping[str, str], keys: Sequence[str], dialect: str, *, joined: bool = False
) -> tuple[str, str]:
    """Two stages: features of the usage beside `keys`, and what adds them up, a text to follow SELECT.

    Features that cost nothing on any of the cards are left out.
    """
    if joined:
        table = ibis.table({**kinds, "window_tokens": "float64"}, name="usage")
    else:
        usage, machines, _ = cards.unbound(kinds)
        table = usage.left_join(machines.select("machine", "window_tokens"), "machine")
    features = features_of(cards.modality, numbers_of(table), table["window_tokens"])
    costly = {name for names in cards.rates.values() for name in names}
    chosen = {f"n_{name}": column.cast("float64") for name, column in features.items() if name in costly}
    stage = table.select(*(table[key] for key in keys), n_requests=numbers_of(table)["n_requests"], **chosen)
    sums = ", ".join(f"sum({name}) AS {name.removeprefix('n_')}" for name in chosen)
    return as_sql(stage, dialect), f"count(*) AS records, sum(n_requests) AS requests, {sums}"


def _named(expression: Any, name: str) -> Any:
    """A table of this name with the columns of an expression."""
    return ibis.table(expression.schema(), name=name)


def as_sql(expression: Any, dialect: str) -> str:
    """The SQL of an expression."""
    return str(ibis.to_sql(expression, dialect=dialect))
