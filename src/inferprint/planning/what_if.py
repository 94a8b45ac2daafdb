"""One change at a time from a base: how energy, carbon, water, time and throughput move, with shared errors."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from inferprint.errors import DoesNotFit, InferprintError
from inferprint.estimate.result import as_dict
from inferprint.planning.axes import Place
from inferprint.planning.evaluate import evaluated
from inferprint.planning.plan import Configuration, Plan, configuration_at, drawn_columns
from inferprint.planning.space import Search, Space, current_gpus, formats_of, space_of
from inferprint.quantities import Range
from inferprint.rates.batch import MAX_BATCH
from inferprint.rates.draws import bounds
from inferprint.techniques.apply import available

COMPARED = {
    "energy": "usage_energy_wh",
    "carbon": "carbon_gco2e",
    "water": "water_ml",
    "time_per_output_token": "time_per_output_token_ms",
    "throughput": "tokens_per_s",
}
"""What is compared, and its column."""

TYPICAL_TECHNIQUES = (
    "prefix-caching:hit_rate=0.5",
    "kv-quantisation:bits=8",
    "speculative-decoding:draft_tokens=3",
    "chunked-prefill:chunk_tokens=2048",
)
"""Techniques that are tried, at values that servers use; those that are not installed are left out."""

SOME_COUNTRIES = ("SE", "FR", "US", "DE", "CN", "IN")
"""Places that are tried where nobody names some: from little to much carbon per kWh."""


@dataclass(frozen=True)
class Change:
    """One change, and what it makes of the base.

    Attributes
    ----------
    axis, to
        What is changed, and to what.
    ratios
        Changed over base, by `COMPARED`; None where the change cannot be.
    reason
        Why it cannot be.
    """

    axis: str
    to: str
    ratios: dict[str, Range] | None
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain data, in the shape that `--json` prints."""
        ratios = {name: as_dict(self.ratios[name]) if self.ratios else None for name in COMPARED}
        return {"axis": self.axis, "to": self.to, **ratios, "error": self.reason or None}


@dataclass(frozen=True)
class WhatIf:
    """A base and its changes, least carbon first; those that cannot be come last."""

    base: Configuration
    changes: tuple[Change, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain data, in the shape that `--json` prints."""
        return {"base": self.base.to_dict(), "changes": [change.to_dict() for change in self.changes]}


def what_if(found: Plan) -> WhatIf:
    """Change the best configuration of a plan, by its first objective, in one respect at a time."""
    base = found.front[0]
    changes = [_changed(found.space, base, axis, to, search) for axis, to, search in _alternatives(found.space, base)]

    def order(change: Change) -> tuple[bool, float]:
        return change.ratios is None, change.ratios["carbon"].value if change.ratios else 0.0

    return WhatIf(base, tuple(sorted(changes, key=order)))


def fixed(space: Space, base: Configuration) -> Search:
    """A search that holds the base alone, without limits."""
    replica = base.replica
    unlimited: dict[str, Any] = dict.fromkeys(space.search.limits)
    return replace(
        space.search,
        gpu_ids=() if replica.node_id else (replica.gpu_id,),
        node_ids=(replica.node_id,) if replica.node_id else (),
        gpu_counts=(base.devices,),
        precisions=(replica.precision,) if replica.precision else (),
        batch_sizes=(base.batch_size,),
        techniques=(replica.techniques,),
        places=(base.place,),
        **unlimited,
    )


def _alternatives(space: Space, base: Configuration) -> Iterator[tuple[str, str, Search]]:
    """Axis, what it is changed to, and the search that holds the base with that change."""
    own = fixed(space, base)
    yield from _hardware(space, own, base)
    for precision in _precisions(space, base):
        yield "precision", precision, replace(own, precisions=(precision,))
    for count in {base.devices // 2, base.devices * 2} - {0}:
        yield "gpu-count", str(count), replace(own, gpu_counts=(count,))
    for batch in {float(-(-base.batch_size // 2)), base.batch_size * 2} - {base.batch_size}:
        if batch <= MAX_BATCH:
            yield "batch-size", f"{batch:g}", replace(own, batch_sizes=(batch,))
    yield from _techniques(own, base)
    places = space.search.places
    for place in places if len(places) > 1 else tuple(Place("country", name) for name in SOME_COUNTRIES):
        if place != base.place:
            yield "place", place.name or "unstated", replace(own, places=(place,))


def _hardware(space: Space, own: Search, base: Configuration) -> Iterator[tuple[str, str, Search]]:
    """The other hardware of the search; where it has one accelerator, the other current ones."""
    here = (base.replica.gpu_id, base.replica.node_id)
    known = space.hardware
    if len(known) == 1 and base.replica.node_id is None:
        known = tuple((gpu_id, None) for gpu_id in current_gpus(space.catalogue))
    for gpu_id, node_id in known:
        if (gpu_id, node_id) == here:
            continue
        if node_id is not None:
            yield "node", node_id, replace(own, gpu_ids=(), node_ids=(node_id,))
        else:
            yield "gpu", gpu_id, replace(own, gpu_ids=(gpu_id,), node_ids=())


def _precisions(space: Space, base: Configuration) -> list[str]:
    """The other formats of the search; where it has one, the default ones."""
    if base.replica.precision is None:
        return []
    known = space.precisions if len(space.precisions) > 1 else formats_of(space.catalogue, space.search.model_id)
    return [name for name in known if name is not None and name != base.precision]


def _techniques(own: Search, base: Configuration) -> Iterator[tuple[str, str, Search]]:
    """Each technique of the base left out, and each usual one that it lacks added."""
    used = base.replica.techniques
    names = {text.partition(":")[0] for text in used}
    for text in used:
        yield "technique", f"without {text}", replace(own, techniques=(tuple(t for t in used if t != text),))
    for text in TYPICAL_TECHNIQUES:
        name = text.partition(":")[0]
        if name in available() and name not in names:
            yield "technique", text, replace(own, techniques=((*used, text),))


def _changed(space: Space, base: Configuration, axis: str, to: str, search: Search) -> Change:
    """What a change makes of the base, or why it cannot be."""
    try:
        found = evaluated(space_of(search, space.estimator))
        changed = configuration_at(found, 0)
    except InferprintError as error:
        return Change(axis, to, None, "does not fit" if isinstance(error, DoesNotFit) else error.message)
    return Change(axis, to, ratios(space, base, changed))


def ratios(space: Space, base: Configuration, changed: Configuration) -> dict[str, Range]:
    """Changed over base with 95 % bounds; errors that both share cancel."""
    before = drawn_columns(space, base.result, base.replica, base.steps)
    after = drawn_columns(space, changed.result, changed.replica, changed.steps)
    found = {}
    for name, column in COMPARED.items():
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(after[column] == before[column], 1.0, after[column] / before[column])
        found[name] = Range(*(float(bound) for bound in bounds(ratio)))
    return found
