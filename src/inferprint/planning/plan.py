"""The best ways to serve a model: the Pareto front over hardware, format, batch, techniques and place."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from inferprint.errors import InvalidInput
from inferprint.estimate import Estimator, Request, Result
from inferprint.estimate.result import as_dict
from inferprint.planning.axes import Place
from inferprint.planning.evaluate import Evaluated, evaluated
from inferprint.planning.front import pareto_front
from inferprint.planning.limits import kept, refusal
from inferprint.planning.objectives import OBJECTIVES, Objective, Served, columns
from inferprint.planning.space import Replica, Search, Space, space_of
from inferprint.quantities import Range
from inferprint.rates import OUTPUT_NAMES, total_draws
from inferprint.rates.draws import Array, Indices, bounds

RANGES = (
    "usage_energy_wh",
    "usage_emissions_gco2e",
    "embodied_emissions_gco2e",
    "carbon_gco2e",
    "usage_water_ml",
    "embodied_water_ml",
    "water_ml",
    "duration_ms",
    "time_per_output_token_ms",
    "ttft_ms",
    "tokens_per_s",
    "tokens_per_s_per_device",
    "cost_usd",
)
"""Columns of a configuration that have an interval, in the order in which they are printed."""


@dataclass(frozen=True)
class Configuration:
    """One way of serving, with what a request costs there.

    Attributes
    ----------
    request, result
        The ordinary request, and its estimate.
    ranges
        Value, low and high of the columns `RANGES`; None where unknown.
    memory_gb, all_devices
        Memory in use on the replica [1e9 bytes]; its devices with those that compute its prompts, where others do.
    steps
        Decode steps that a first token waits for.
    """

    replica: Replica
    place: Place
    batch_size: float
    precision: str
    request: Request
    result: Result
    ranges: dict[str, Range | None]
    memory_gb: float
    all_devices: float
    steps: float

    @property
    def prompt_devices(self) -> float:
        """Devices that compute prompts for the replica at the pace of its answers; 0 where it does so itself."""
        return self.all_devices - self.devices

    @property
    def devices(self) -> int:
        """Devices of the replica."""
        return int(self.result.machine.draws.devices[0])

    def to_dict(self) -> dict[str, Any]:
        """Plain data, in the shape that `--json` prints."""
        return {
            "gpu_id": self.replica.gpu_id,
            "node_id": self.replica.node_id,
            "gpu_count": self.devices,
            "prompt_gpu_count": self.prompt_devices,
            "precision": self.precision,
            "batch_size": self.batch_size,
            "techniques": list(self.replica.techniques),
            "cloud_region": self.request.cloud_region,
            "country": self.request.country,
            "grid_zone": self.request.grid_zone,
            **{name: as_dict(value) for name, value in self.ranges.items()},
            "memory_gb": self.memory_gb,
        }


@dataclass(frozen=True)
class Plan:
    """What a search found.

    Attributes
    ----------
    front
        Configurations that nothing else beats in every objective, sorted by the first one; at most `search.top`.
    on_front
        How many there are in all.
    feasible_rows, front_rows
        Rows of `found` that keep the limits, and those on the front, best first.
    excluded
        Configurations that each limit excludes, and those that cannot be, by why; one may be excluded by several.
    """

    space: Space
    found: Evaluated
    front: tuple[Configuration, ...]
    on_front: int
    feasible_rows: Indices
    front_rows: Indices
    excluded: dict[str, int]

    @property
    def objectives(self) -> list[Objective]:
        """What was made small or large."""
        return [OBJECTIVES[name] for name in self.space.search.objectives]

    @property
    def configurations(self) -> int:
        """Configurations that were looked at."""
        return self.found.looked_at

    @property
    def fitting(self) -> int:
        """Those of them that fit and can be."""
        return len(self.found.batch)

    @property
    def feasible(self) -> int:
        """Those of them that keep every limit."""
        return len(self.feasible_rows)

    @property
    def work(self) -> dict[str, Any]:
        """The request that was planned for, and whether its lengths are assumed."""
        search, (n_in, n_out) = self.space.search, self.space.lengths
        assumed = {"input_tokens": search.input_tokens, "output_tokens": search.output_tokens}
        return {
            "input_tokens": n_in,
            "output_tokens": n_out,
            "cached_input_tokens": float(search.cached_input_tokens),
            "assumed": [name for name, value in assumed.items() if value is None],
        }

    @property
    def warnings(self) -> list[str]:
        """What the reader should know before using the numbers of the front."""
        return list(dict.fromkeys(text for c in self.front for text in c.result.warnings))

    def to_dict(self) -> dict[str, Any]:
        """Plain data, in the shape that `--json` prints."""
        return {
            "model": self.front[0].result.machine.model,
            "pareto": [configuration.to_dict() for configuration in self.front],
            "on_front": self.on_front,
            "configurations": self.configurations,
            "fitting": self.fitting,
            "feasible": self.feasible,
            "excluded": self.excluded,
            "work": self.work,
            "limits": self.space.search.limits,
            "objectives": list(self.space.search.objectives),
            "warnings": self.warnings,
            "versions": self.front[0].result.versions,
        }


def plan(search: Search, estimator: Estimator | None = None) -> Plan:
    """Find the configurations that nothing else beats.

    Central values are searched; those on the front are then estimated as any request is, with intervals. A limit holds
    for the central value.

    Raises
    ------
    LimitNotMet
        No configuration keeps the limits; the error says what can be reached.
    DoesNotFit
        No configuration holds the model; the error says what would.
    UnknownName, InvalidInput, Undisclosed
        A name or a number of the search that cannot be.
    """
    space = space_of(search, estimator or Estimator())
    found = evaluated(space)
    keeps, by_limit = kept(found)
    if not keeps.any():
        raise refusal(found)
    excluded = Counter(found.refused) + Counter(by_limit)
    values = np.stack([OBJECTIVES[name].sign * found.values[OBJECTIVES[name].column] for name in search.objectives], 1)
    known = ~np.isnan(values).any(axis=1)
    if not (keeps & known).any():
        raise InvalidInput("usd_per_gpu_hour", "no device of the search has a price", hint="Give GPU=USD, or one USD.")
    if n := int(np.sum(keeps & ~known)):
        excluded["usd_per_gpu_hour"] = n
    feasible = np.flatnonzero(keeps & known)
    front = feasible[pareto_front(values[feasible])]
    front = front[np.lexsort(values[front].T[::-1])]
    chosen = tuple(configuration_at(found, int(row)) for row in front[: search.top])
    counts = {name: count for name, count in excluded.items() if count}
    return Plan(space, found, chosen, len(front), feasible, front, counts)


def configuration_at(found: Evaluated, row: int) -> Configuration:
    """A row as a configuration, estimated with intervals."""
    replica, place = found.replicas[found.replica[row]], found.places[found.place[row]]
    steps, memory = found.steps[found.replica[row]], float(found.values["memory_gb"][row])
    return configured(found.space, replica, place, float(found.batch[row]), steps, memory)


def configured(
    space: Space, replica: Replica, place: Place, batch: float, steps: float, memory_gb: float
) -> Configuration:
    """One configuration, estimated with intervals."""
    request = space.request(replica, place, batch)
    result = space.estimator.estimate(request)
    drawn = drawn_columns(space, result, replica, steps)
    ranges = {name: result.range(name) if name in OUTPUT_NAMES else _range(drawn[name]) for name in RANGES}
    stated = next((str(e.value) for e in result.machine.trail.entries if e.field == "precision"), "")
    everything = float(drawn["devices"][0])
    return Configuration(replica, place, batch, stated, request, result, ranges, memory_gb, everything, steps)


def drawn_columns(space: Space, result: Result, replica: Replica, steps: float) -> dict[str, Array]:
    """Draws of every column of a result, shape (SIZE,); errors that two results share have the same draws."""
    served = Served(result.features, space.lengths[1], steps, space.price(replica.gpu_id))
    return columns(result.machine, total_draws(result.machine, result.place, result.features), served)


def _range(draws: Array) -> Range | None:
    """Value and 95 % bounds of draws; None where they are unknown."""
    return None if np.isnan(draws[0]) else Range(*(float(bound) for bound in bounds(draws)))
