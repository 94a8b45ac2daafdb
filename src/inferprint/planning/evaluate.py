"""The central numbers of every configuration of a space: one card for each replica, batches and places at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from inferprint.errors import DoesNotFit, InferprintError, InvalidInput
from inferprint.estimate.estimate import machine_setup, place_setup
from inferprint.planning.axes import Place
from inferprint.planning.objectives import LIMITS, OUTPUTS_OF_COLUMNS, Served, columns
from inferprint.planning.space import Replica, Space, nearest_that_fits
from inferprint.rates import OUTPUTS, MachineSetup, PlaceCard
from inferprint.rates.by_batch import ByBatch, rates_by_batch
from inferprint.rates.draws import Array, Indices, central
from inferprint.rates.hosting import on_a_desk
from inferprint.units import BYTES_PER_GB

MACHINE_QUANTITIES_OF_COLUMNS = frozenset(OUTPUTS[name][0] for name in OUTPUTS_OF_COLUMNS)
"""What a machine card has to give for the columns of a plan."""

REFUSED_FIELDS = ("techniques", "replica_gpu_count", "gpu_count", "cloud_region", "country", "grid_zone", "precision")
"""Fields whose refusal concerns one configuration and leaves the others possible."""


@dataclass(frozen=True)
class Evaluated:
    """Every configuration that fits, one row each.

    Attributes
    ----------
    replica, place
        Position in `replicas` and `places`, shape (rows,).
    batch
        Requests per step, shape (rows,).
    values
        Central values by column of `objectives.columns`, and memory_gb and devices: shape (rows,).
    looked_at
        Configurations, those that cannot be included.
    refused
        How many cannot be, by why: "memory", or the field at fault.
    """

    space: Space
    replicas: tuple[Replica, ...]
    places: tuple[Place, ...]
    replica: Indices
    place: Indices
    batch: Array
    values: dict[str, Array]
    steps: tuple[float, ...]
    looked_at: int
    refused: dict[str, int]

    def keeps(self, limit: str) -> Any:
        """Which rows keep a stated limit: shape (rows,)."""
        found = next(known for known in LIMITS if known.field == limit)
        return found.kept(self.values[found.column], self.space.search.limits[limit])

    def name(self, row: int) -> str:
        """A configuration in words."""
        replica, place = self.replicas[self.replica[row]], self.places[self.place[row]]
        parts = (
            f"{replica.gpu_count} x {replica.hardware}",
            replica.precision or "",
            f"batch {self.batch[row]:g}",
            " + ".join(replica.techniques),
            place.name or "",
        )
        return ", ".join(filter(None, parts))


class _Rows:
    """Collects rows, and what cannot be."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.replicas: list[Replica] = []
        self.steps: list[float] = []
        self.parts: list[dict[str, Array]] = []
        self.looked_at = 0
        self.refused: Counter[str] = Counter()
        self.first: InferprintError | None = None
        self.most = (0.0, "")

    def refuse(self, reason: str, count: int, error: InferprintError | None) -> None:
        """Count configurations that cannot be."""
        self.refused[reason] += count
        self.looked_at += count
        if not isinstance(error, DoesNotFit):
            self.first = self.first or error

    def add(self, replica: Replica) -> None:
        """Evaluate one replica at all its batches and places."""
        try:
            for rates, tried in _rates(self.space, replica):
                self._evaluate(replica, rates, tried)
        except InferprintError as error:
            batches = len(self.space.search.batch_sizes) or 1
            self.refuse(_reason(error), batches * len(self.space.search.places), error)

    def _evaluate(self, replica: Replica, rates: ByBatch, tried: Array) -> None:
        places = self.space.search.places
        fitting = int(np.sum(tried <= rates.fits))
        where = f"{replica.gpu_count} x {replica.hardware}" + (f" in {replica.precision}" if replica.precision else "")
        self.most = max(self.most, (rates.fits, where))
        if len(tried) > fitting:
            self.refuse("memory", (len(tried) - fitting) * len(places), None)
        if not fitting:
            return
        at = np.arange(fitting)
        served = Served(
            rates.features(self.space.work),
            self.space.lengths[1],
            rates.first_token_steps,
            self.space.price(replica.gpu_id),
        )
        quantities = {name: rates.per_request(name, served.features) for name in MACHINE_QUANTITIES_OF_COLUMNS}
        for index, place in enumerate(places):
            try:
                card = self.space.estimator.place(place_setup(self.space.request(replica, place, None), rates.card))
            except InferprintError as error:
                self.refuse(_reason(error), fitting, error)
                continue
            values = columns(rates.card, _outputs(quantities, card), served)
            part = {name: value[at] for name, value in values.items()}
            part["memory_gb"] = rates.memory_bytes[at] / BYTES_PER_GB
            part["batch"] = rates.batches[at]
            part["replica"] = np.full(fitting, len(self.replicas))
            part["place"] = np.full(fitting, index)
            self.parts.append(part)
            self.looked_at += fitting
        self.replicas.append(replica)
        self.steps.append(rates.first_token_steps)


def evaluated(space: Space) -> Evaluated:
    """Evaluate a space.

    Raises
    ------
    DoesNotFit
        No replica holds the model with the stated batches.
    InvalidInput, UnknownName
        Nothing of the space can be, for the reason that is named.
    """
    rows = _Rows(space)
    try:
        for replica in space.replicas():
            rows.add(replica)
    except DoesNotFit as error:
        raise nearest_that_fits(space) or error from error
    if not rows.parts:
        if rows.first is not None:
            raise rows.first
        raise nearest_that_fits(space, rows.most) or InvalidInput("model_id", "fits nowhere")
    joined = {name: np.concatenate([part[name] for part in rows.parts]) for name in rows.parts[0]}
    return Evaluated(
        space,
        tuple(rows.replicas),
        space.search.places,
        joined.pop("replica").astype(np.intp),
        joined.pop("place").astype(np.intp),
        joined.pop("batch"),
        joined,
        tuple(rows.steps),
        rows.looked_at,
        dict(rows.refused),
    )


def _reason(error: InferprintError) -> str:
    """Under what a refusal is counted; one that concerns every configuration alike is raised."""
    if isinstance(error, DoesNotFit):
        return "memory"
    if isinstance(error, InvalidInput) and error.field in REFUSED_FIELDS:
        # The layout of a technique takes another number of devices.
        return "techniques" if error.field == "replica_gpu_count" else error.field
    raise error


def _by_batch(space: Space, setup: MachineSetup, batches: tuple[float, ...]) -> ByBatch:
    """Rates of a setup, at the batches of the search where none are given."""
    tried = np.array(batches) if batches else space.batches
    return rates_by_batch(space.catalogue, setup, tried)


def _rates(space: Space, replica: Replica) -> Iterator[tuple[ByBatch, Array]]:
    """Rates of a replica with the batches to try; on a desk one request alone has another engine than several."""
    setup = machine_setup(space.request(replica, Place(), None))

    def at(*batches: float) -> ByBatch:
        return _by_batch(space, setup, batches)

    if space.search.engine is not None or not on_a_desk(space.catalogue.gpus[replica.gpu_id]):
        found = at()
        yield found, space.batches(found.fits)
        return
    tried = space.batches(at(2.0).fits)
    for batches in (tried[tried == 1], tried[tried > 1]):
        if len(batches):
            yield at(*batches.tolist()), batches


def _outputs(quantities: Mapping[str, Array], place: PlaceCard) -> dict[str, Array]:
    """Central outputs by batch: batches stand where a card has draws, so the place gives its central factors."""
    found = {}
    for name in OUTPUTS_OF_COLUMNS:
        quantity, factor, unit = OUTPUTS[name]
        found[name] = quantities[quantity] * (central(place.draws[factor]) if factor else 1.0) * unit
    return found
