"""The design of a fit: ideal cost by term and the effects that may hold, for every measured value."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from inferprint.calibration.observations import MEDIA, Observation, Observations, Quantity, Refusal
from inferprint.catalogue import Catalogue
from inferprint.errors import InferprintError
from inferprint.rates.engines import ENGINES
from inferprint.rates.ideal import IdealRequest, ideal_request

Array = NDArray[np.float64]
View = Literal["share", "seen", "two_term"]


@dataclass(frozen=True, slots=True)
class Point:
    """A measured value with what it ideally costs.

    `target` is the measured value in the unit that the terms add up to: seconds of the request, or its GPU energy over
    the power limit of the replica's devices [s].
    """

    observation: Observation
    ideal: IdealRequest
    target: float

    @property
    def scale(self) -> float:
        """The measured value over `target`."""
        return self.observation.measured / self.target


@dataclass(slots=True)
class Design:
    """Points of one or more quantities, as arrays over rows."""

    points: list[Point]
    refused: list[Refusal] = field(default_factory=list)

    def terms(self, names: Sequence[str], view: View) -> Array:
        """Ideal cost by term: shape (rows, terms)."""
        return np.array([[getattr(p.ideal, view).get(name, 0.0) for name in names] for p in self.points])

    def tagged(self, names: Iterable[str]) -> Array:
        """How much of an effect holds: 1, or what it is proportional to; else 0. Shape (rows, effects)."""
        wanted = list(names)
        found = np.array([[p.ideal.tags.get(name, 0.0) for name in wanted] for p in self.points])
        return found.reshape(len(self.points), len(wanted))

    @property
    def target(self) -> Array:
        """What the terms should add up to [s], by row."""
        return np.array([p.target for p in self.points])

    @property
    def weight(self) -> Array:
        """Weight in a fit, by row."""
        return np.array([p.observation.weight for p in self.points])

    def labels(self, by: str) -> NDArray[np.str_]:
        """A label of every row: see `LABELS`."""
        return np.array([LABELS[by](p) for p in self.points])

    def where(self, mask: Iterable[bool]) -> Design:
        """The rows where `mask` holds."""
        return Design([p for p, keep in zip(self.points, mask, strict=True) if keep], self.refused)


BATCH_EDGES = (1, 4, 16, 64, 256)
SIZE_EDGES = (10, 40, 200)


def _band(value: float, edges: Sequence[float]) -> str:
    """The band of a value: "<= 4", "5-16" ... in ascending alphabetical order."""
    index = sum(value > edge for edge in edges)
    if index == 0:
        return f"{index}: <= {edges[0]}"
    return f"{index}: > {edges[-1]}" if index == len(edges) else f"{index}: {edges[index - 1]} - {edges[index]}"


LABELS: Mapping[str, Callable[[Point], str]] = {
    "model": lambda p: p.ideal.model,
    "family": lambda p: p.ideal.family,
    "gpu": lambda p: p.observation.setup.gpu_id or "",
    "source": lambda p: p.observation.source,
    "precision": lambda p: p.observation.setup.precision or "published",
    "engine": lambda p: p.observation.setup.engine or "",
    "batch": lambda p: _band(p.ideal.batch, BATCH_EDGES),
    "size": lambda p: _band(p.ideal.total_params_b, SIZE_EDGES),
    "architecture": lambda p: p.ideal.architecture,
    "devices": lambda p: f"{p.observation.setup.replica_gpu_count:>3}",
    "kind": lambda p: p.ideal.kind,
}
"""What rows can be grouped by."""


def design_of(observations: Observations, quantities: Iterable[Quantity], catalogue: Catalogue) -> Design:
    """The design of the values of some quantities; what the cards refuse is refused."""
    found = Design([])
    for quantity in quantities:
        for item in observations.of(quantity):
            try:
                ideal = ideal_request(catalogue, item.setup, item.work, cached=item.cached)
            except InferprintError as error:
                found.refused.append(Refusal(item.row_id, item.source, quantity, error.message))
            else:
                if quantity in ENERGIES and not ideal.max_power_w:
                    reason = f"no power limit is published for {item.setup.gpu_id}"
                    found.refused.append(Refusal(item.row_id, item.source, quantity, reason))
                else:
                    found.points.append(Point(item, ideal, _target(item, ideal)))
    return found


ENERGIES: tuple[Quantity, ...] = ("energy_per_output_token", "prompt_energy", "image_energy", "video_energy")


def _target(item: Observation, ideal: IdealRequest) -> float:
    """The measured value as seconds of one request, energy over the power limit of the devices."""
    if item.quantity in ("single_request_duration", "image_time", "video_time"):
        return item.measured
    if item.quantity in MEDIA:
        return item.measured / (ideal.max_power_w * ideal.devices)
    n_out = item.tokens[1]
    if item.quantity == "served_time_per_token":
        return item.measured * n_out
    joules = item.measured * (n_out if item.quantity == "energy_per_output_token" else 1.0)
    return joules / (ideal.max_power_w * _working(ideal, item))


def _working(ideal: IdealRequest, item: Observation) -> float:
    """Devices that work at a time: one where layers lie one after the other."""
    engine = item.setup.engine
    return 1.0 if engine is not None and ENGINES[engine].split == "layers" else ideal.devices
