"""Which configurations keep the limits, and what can be reached where none does."""

from __future__ import annotations

from typing import Any

import numpy as np

from inferprint.errors import LimitNotMet
from inferprint.planning.evaluate import Evaluated
from inferprint.planning.objectives import LIMITS, Limit
from inferprint.rates.draws import Array


def kept(found: Evaluated) -> tuple[Any, dict[str, int]]:
    """Rows that keep every limit, shape (rows,); and how many each limit alone excludes."""
    by_limit = {name: found.keeps(name) for name in found.space.search.limits}
    excluded = {name: int(np.sum(~keeps)) for name, keeps in by_limit.items()}
    every = np.ones(len(found.batch), dtype=bool)
    for keeps in by_limit.values():
        every &= keeps
    return every, excluded


def refusal(found: Evaluated) -> LimitNotMet:
    """The error where no configuration keeps all limits: the limits that bind, with the nearest to each."""
    limits = found.space.search.limits
    by_limit = {name: found.keeps(name) for name in limits}
    alone = [name for name, keeps in by_limit.items() if not keeps.any()]
    nearest, lines = {}, []
    for limit in (limit for limit in LIMITS if limit.field in limits):
        others = np.ones(len(found.batch), dtype=bool)
        for name, keeps in by_limit.items():
            others &= keeps | (name == limit.field)
        line, value = _nearest(found, limit, others, alone=limit.field in alone)
        lines.append(line)
        nearest[limit.field] = value
    field = alone[0] if alone else _binding(by_limit)
    named = [name for name in limits if name in (alone or limits)]
    asked = (" or " if alone else " and ").join(f"{name}={limits[name]:g}" for name in named)
    why = f"none of {len(found.batch):,} configurations that fit keeps {asked}" + ("" if alone else " together")
    nearest_ms = nearest[field] if field.endswith("_ms") else None
    return LimitNotMet(field, why, nearest_ms=nearest_ms, nearest=nearest, hint="\n  ".join(lines))


def _nearest(found: Evaluated, limit: Limit, others: Any, *, alone: bool) -> tuple[str, float]:
    """A line about one limit: the best of all, and the best of those that keep the other limits."""
    values = found.values[limit.column]
    best = _best(limit, values, np.ones(len(values), dtype=bool))
    text = f"{limit.field}={found.space.search.limits[limit.field]:g}: "
    text += f"best is {_with_unit(values[best], limit)}, by {found.name(best)}" if alone else "kept by "
    if not alone:
        text += f"{int(np.sum(found.keeps(limit.field))):,}"
    if others.any() and not others.all():
        among = _best(limit, values, others)
        if not alone or among != best:
            text += f"; of those that keep the other limits, best is {_with_unit(values[among], limit)}"
            text += f", by {found.name(among)}"
        best = among
    return text, float(values[best])


def _best(limit: Limit, values: Array, among: Any) -> int:
    return int(np.argmin(np.where(among, limit.sign * values, np.inf)))


def _with_unit(value: float, limit: Limit) -> str:
    return f"{value:.4g} {limit.unit}"


def _binding(by_limit: dict[str, Any]) -> str:
    """The limit that excludes most."""
    return min(by_limit, key=lambda name: int(np.sum(by_limit[name])))
