"""Models that no catalogue holds, known by what a log says they cost.

The price of their prompts and answers is found by least squares over their records; the size follows from it as that of
any undisclosed model does, by the regression over all hosts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inferprint.batch.relation import Relation
from inferprint.catalogue import Catalogue, Model, Price, resolve_model
from inferprint.errors import CatalogueError, UnknownName
from inferprint.provenance.source import Provenance

CACHED_PRICE_SHARE = 0.1
"""Price of a prompt token that is read from a cache over that of a fresh one, as most hosts ask."""

TOKENS_PER_PRICE = 1e6
MOST_ALIKE = 0.999
"""Cosine of the prompts and the answers above which their prices cannot be told apart."""

HOST = "log"
"""Host of such prices: none that a regression of its own was fitted to."""


@dataclass(frozen=True, slots=True)
class _Bill:
    """What the records of a model add up to: tokens of prompts and answers, cost, and their products."""

    model: str
    records: int
    n_in: float
    n_out: float
    usd: float
    in_in: float
    in_out: float
    out_out: float
    usd_in: float
    usd_out: float


def with_priced(
    catalogue: Catalogue, relations: Sequence[Relation], connection: Any
) -> tuple[Catalogue, dict[str, str]]:
    """The catalogue with the unknown models of logs that state a cost, and how each was priced, by its name."""
    added: dict[str, str] = {}
    for bill in _bills(relations, connection):
        try:
            resolve_model(catalogue, bill.model)
        except UnknownName:
            prices = _prices(bill, catalogue)
        else:
            continue
        if prices is None:
            continue
        input_usd, output_usd, how = prices
        try:
            catalogue = catalogue.with_records(*_records(bill.model, input_usd, output_usd, catalogue))
        except CatalogueError:  # a name that no record can have
            continue
        added[bill.model] = (
            f"a model that costs {input_usd:.3g} / {output_usd:.3g} USD per million tokens of prompts and answers, "
            f"{how} ({bill.records:,} records)"
        )
    return catalogue, added


def _bills(relations: Sequence[Relation], connection: Any) -> list[_Bill]:
    """Bills of all models in logs that state a cost."""
    n_in = f"(coalesce(input_tokens, 0) - {1 - CACHED_PRICE_SHARE!r} * coalesce(cached_input_tokens, 0))"
    n_out, usd = "coalesce(output_tokens, 0)", "cost_usd"
    products = [(n_in, n_in), (n_in, n_out), (n_out, n_out), (usd, n_in), (usd, n_out)]
    sums = ", ".join([*(f"sum({x})" for x in (n_in, n_out, usd)), *(f"sum({x} * {y})" for x, y in products)])
    found = []
    for relation in relations:
        if not relation.states_cost:
            continue
        sources = " UNION ALL BY NAME ".join(f"FROM {piece.source}" for piece in relation.pieces)
        rows = connection.execute(
            f"SELECT model_id, count(*), {sums} FROM ({sources}) WHERE cost_usd > 0 AND model_id IS NOT NULL GROUP BY 1"
        ).fetchall()
        found += [_Bill(*row) for row in rows]
    return found


def _prices(bill: _Bill, catalogue: Catalogue) -> tuple[float, float, str] | None:
    """Prices of prompts and answers [USD per million tokens], and how they were told apart."""
    matrix = np.array([[bill.in_in, bill.in_out], [bill.in_out, bill.out_out]])
    alike = bill.in_out / max(np.sqrt(bill.in_in * bill.out_out), 1e-300)
    if bill.records > 2 and alike < MOST_ALIKE:
        solved = np.linalg.solve(matrix, np.array([bill.usd_in, bill.usd_out])) * TOKENS_PER_PRICE
        if np.all(solved > 0):
            return float(solved[0]), float(solved[1]), "by least squares over its records"
    ratio = _usual_ratio(catalogue)
    weighted = bill.n_in + ratio * bill.n_out
    if weighted <= 0:
        return None
    input_usd = bill.usd / weighted * TOKENS_PER_PRICE
    return input_usd, input_usd * ratio, f"answers taken to cost {ratio:.2g} times as much as prompts"


def _usual_ratio(catalogue: Catalogue) -> float:
    """Median of the price of answers over that of prompts."""
    ratios = [
        usd / price.input_usd_per_mtok[host]
        for price in catalogue.prices.values()
        for host, usd in price.output_usd_per_mtok.items()
        if price.input_usd_per_mtok.get(host)
    ]
    return float(np.median(ratios))


def _records(name: str, input_usd: float, output_usd: float, catalogue: Catalogue) -> tuple[Model, Price]:
    """Records of a model of which only the price is known."""
    identifier = "log-" + re.sub(r"[^a-z0-9.]+", "-", name.lower()).strip("-")
    origin = {"": Provenance(source="inferprint-assumption", date=catalogue.version[:10], quality="low")}
    model = Model(id=identifier, provenance=origin, developer="unknown", names=(name,))
    asked = ({HOST: input_usd}, {HOST: output_usd})
    price = Price(id=identifier, provenance=origin, input_usd_per_mtok=asked[0], output_usd_per_mtok=asked[1])
    return model, price
