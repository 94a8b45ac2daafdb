"""Warm look-ups of sizes from prices: total and active of every priced model without published size, per second.

Compared: `size_from_price` on the packaged catalogue, against the target. Each round asks for all models in turn, after
one round that does not count; the second figure also resolves the model's name.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from inferprint.catalogue import Catalogue, Model, resolve_model
from inferprint.rates.price import size_from_price
from timing import machine

ROUNDS = 15
TARGET = 20_000


def per_second(call: Callable[[Model], object], models: list[Model]) -> float:
    """Median calls per second."""
    rates = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        for model in models:
            call(model)
        rates.append(len(models) / (time.perf_counter() - start))
    return statistics.median(rates[1:])


def main() -> None:
    """Print look-ups per second."""
    catalogue = Catalogue.packaged()
    models = [catalogue.models[key] for key in catalogue.prices if not catalogue.models[key].total_params_b]

    def sizes(model: Model) -> object:
        return [size_from_price(catalogue, model.id, t, "default", model.release_date) for t in ("total", "active")]

    found = per_second(sizes, models)
    named = per_second(lambda model: sizes(resolve_model(catalogue, model.id).model), models)
    print(f"{machine()}; {len(models)} models, {ROUNDS} rounds, medians")
    print(f"sizes of a model       {found:12,.0f} per second")
    print(f"the same, from a name  {named:12,.0f} per second")
    print(f"target at least {TARGET:,}: {'reached' if min(found, named) >= TARGET else 'MISSED'}")


if __name__ == "__main__":
    main()
