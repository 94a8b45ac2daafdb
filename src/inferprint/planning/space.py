"""What a search looks at: the work, and every replica that could serve it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from inferprint.catalogue import (
    Catalogue,
    Gpu,
    resolve_gpu,
    resolve_model,
    resolve_node,
    resolve_precision,
)
from inferprint.errors import DoesNotFit, InferprintError, InvalidInput, Undisclosed
from inferprint.estimate import Estimator, Request
from inferprint.estimate.estimate import machine_setup, work_of
from inferprint.estimate.request import number, validated
from inferprint.planning.axes import EVERY_GPU, Place, known_name
from inferprint.planning.objectives import DEFAULT_OBJECTIVES, LIMITS, OBJECTIVES
from inferprint.rates.batch import MAX_BATCH
from inferprint.rates.by_batch import MAX_DEVICES, Fewest, Lengths, fewest_devices
from inferprint.rates.draws import SIZE, Array
from inferprint.rates.hosting import why_not
from inferprint.rates.situation import usual_lengths
from inferprint.techniques.apply import parse, stated_precision

USUAL_MOST = 8
"""Devices of a replica up to which counts are tried where nobody states them."""

CURRENT_YEARS = 3
"""A generation is current where one of its accelerators came out within so many years of the newest."""

OTHER_PRECISIONS = ("fp8", "int4")
"""Formats that are tried beside a published one of 16 bits."""

DEFAULT_BATCHES = 16
"""Batches that are tried where nobody states them, evenly spaced in logs from 1 to what fits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What to look for: a model, the work, the alternatives of each axis, the limits, and what to make small.

    An empty axis means its default. Values are central ones; lengths and prices hold for every request.

    Attributes
    ----------
    gpu_ids, node_ids
        Hardware, one axis: current data-centre accelerators that hold the model by default.
    gpu_counts
        Devices of a replica: powers of two by default, from the fewest that hold the model to 8.
    precisions
        Formats of the weights: the published one by default, and fp8 and int4 beside one of 16 bits.
    batch_sizes
        Requests per step: 16 by default, from 1 to what fits.
    techniques
        Sets of techniques, an empty one for none; the default.
    places
        Alternatives for where the replica stands; unstated by default.
    input_tokens, output_tokens, cached_input_tokens
        Of a request [tokens]; the catalogue's usual lengths by default.
    max_time_per_output_token_ms, max_ttft_ms
        Limits [ms] on the times of that request.
    max_memory_gb, max_devices
        Limits on a replica: memory in use [1e9 bytes], devices.
    min_tokens_per_s
        Output tokens per second of a replica, at least.
    usd_per_gpu_hour
        Price of a device by GPU [USD/h]; the key "" holds for every one.
    active_share, pue, grid_gco2e_per_kwh, engine, total_params_b, active_params_b
        As in `Request`.
    objectives
        Names of `OBJECTIVES`; configurations are sorted by the first.
    top
        Configurations of the front that are estimated with intervals and returned.
    """

    model_id: str
    gpu_ids: tuple[str, ...] = ()
    node_ids: tuple[str, ...] = ()
    gpu_counts: tuple[int, ...] = ()
    precisions: tuple[str, ...] = ()
    batch_sizes: tuple[float, ...] = ()
    techniques: tuple[tuple[str, ...], ...] = ((),)
    places: tuple[Place, ...] = (Place(),)
    input_tokens: float | None = None
    output_tokens: float | None = None
    cached_input_tokens: float = 0
    max_time_per_output_token_ms: float | None = None
    max_ttft_ms: float | None = None
    max_memory_gb: float | None = None
    max_devices: float | None = None
    min_tokens_per_s: float | None = None
    usd_per_gpu_hour: Mapping[str, float] = field(default_factory=dict)
    active_share: float | None = None
    pue: float | None = None
    grid_gco2e_per_kwh: float | None = None
    engine: str | None = None
    total_params_b: float | None = None
    active_params_b: float | None = None
    objectives: tuple[str, ...] = DEFAULT_OBJECTIVES
    top: int = 20

    @property
    def limits(self) -> dict[str, float]:
        """The limits that are stated, by field."""
        stated = {limit.field: getattr(self, limit.field) for limit in LIMITS}
        return {name: float(value) for name, value in stated.items() if value is not None}


STATED_FIELDS = ("active_share", "pue", "grid_gco2e_per_kwh", "engine", "total_params_b", "active_params_b")
"""Fields of a search that every request of it has."""


@dataclass(frozen=True, slots=True)
class Replica:
    """One way of serving, before the batch and the place: devices of an accelerator or node, format, techniques."""

    gpu_id: str
    node_id: str | None
    gpu_count: int | None
    precision: str | None
    techniques: tuple[str, ...]

    @property
    def hardware(self) -> str:
        """The node where one was stated, else the accelerator."""
        return self.node_id or self.gpu_id

    @property
    def fields(self) -> dict[str, Any]:
        """What it fills of a request."""
        known = {"node_id": self.node_id} if self.node_id else {"gpu_id": self.gpu_id}
        return known | {
            "gpu_count": self.gpu_count,
            "replica_gpu_count": self.gpu_count,
            "precision": self.precision,
            "techniques": self.techniques,
        }


@dataclass(frozen=True)
class Space:
    """A search whose names and numbers are checked, against one catalogue."""

    search: Search
    estimator: Estimator
    hardware: tuple[tuple[str, str | None], ...]
    precisions: tuple[str | None, ...]

    @property
    def catalogue(self) -> Catalogue:
        """The records in use."""
        return self.estimator.catalogue

    @cached_property
    def lengths(self) -> Lengths:
        """Prompt and answer of a request [tokens], as stated or usual."""
        usual = usual_lengths(self.catalogue)
        given = (self.search.input_tokens, self.search.output_tokens)
        n_in, n_out = (stated if stated is not None else known for stated, known in zip(given, usual, strict=True))
        return float(n_in), float(n_out)

    @cached_property
    def work(self) -> dict[str, float]:
        """The work of one request, as a modality counts it."""
        n_in, n_out = self.lengths
        cached = float(self.search.cached_input_tokens)
        return work_of({
            "input_tokens": n_in,
            "cached_input_tokens": cached,
            "output_tokens": n_out,
            "n_requests": 1.0,
            "request_duration_ms": 0.0,
        })  # fmt: skip

    def request(self, replica: Replica, place: Place, batch: float | None) -> Request:
        """The ordinary request that stands for a configuration."""
        stated = {name: getattr(self.search, name) for name in STATED_FIELDS}
        return Request(
            model_id=self.search.model_id,
            input_tokens=self.lengths[0],
            output_tokens=self.lengths[1],
            cached_input_tokens=self.search.cached_input_tokens,
            usual_input_tokens=self.search.input_tokens,
            usual_output_tokens=self.search.output_tokens,
            batch_size=batch,
            **stated,
            **replica.fields,
            **place.fields,
        )

    def price(self, gpu_id: str) -> float:
        """USD per hour of a device, NaN where unknown."""
        prices = self.search.usd_per_gpu_hour
        return prices.get(gpu_id, prices.get(EVERY_GPU, float("nan")))

    def replicas(self) -> Iterator[Replica]:
        """Every replica; with counts that nobody states, only those that hold the model.

        Raises
        ------
        DoesNotFit
            Stated hardware holds the model at no count, and no other hardware is left.
        """
        refused: DoesNotFit | None = None
        found = False
        for (gpu_id, node_id), techniques in product(self.hardware, self.search.techniques):
            by_technique = stated_precision(parse(techniques)) is not None and not self.search.precisions
            for precision in (None,) if by_technique else self.precisions:
                bare = Replica(gpu_id, node_id, None, precision, techniques)
                try:
                    counts = self.search.gpu_counts or self._default_counts(bare)
                except DoesNotFit as error:
                    refused = error
                    continue
                for count in counts:
                    found = True
                    yield replace(bare, gpu_count=count)
        if refused is not None and not found:
            raise refused

    def _default_counts(self, bare: Replica) -> tuple[int, ...]:
        """Powers of two from the fewest devices that hold the model to 8 (or all of a node); at least the fewest."""
        try:
            fewest, fixed = self.fewest(bare)
        except InvalidInput:
            # Techniques that cannot be with this model are refused, and counted, when it is evaluated.
            return (1,)
        most = self.catalogue.nodes[bare.node_id].gpu_count if bare.node_id else USUAL_MOST
        doubled = [fewest << i for i in range(most.bit_length()) if fewest << i <= most]
        return (fewest,) if fixed or not doubled else tuple(doubled)

    def fewest(self, bare: Replica) -> Fewest:
        """Fewest devices that hold the model and one request, and whether the techniques allow no other number."""
        setup = machine_setup(self.request(replace(bare, gpu_count=None), Place(), None))
        return fewest_devices(self.catalogue, setup)

    def batches(self, fits: float) -> Array:
        """Batches to try on a replica that holds `fits` requests: as stated, else spaced in logs; rising."""
        if self.search.batch_sizes:
            return np.array(sorted(self.search.batch_sizes), dtype=float)
        most = min(max(fits, 1.0), MAX_BATCH)
        return np.unique(np.round(np.geomspace(1.0, most, DEFAULT_BATCHES)))


def space_of(search: Search, estimator: Estimator) -> Space:
    """A search with its names resolved and its numbers checked.

    Raises
    ------
    UnknownName
        A model, accelerator, node, format or objective that does not exist.
    InvalidInput
        A number that cannot be.
    Undisclosed
        An accelerator that the forms cannot describe.
    """
    _check(search)
    catalogue = estimator.catalogue
    for name in search.objectives:
        known_name("objective", name, list(OBJECTIVES), "inferprint plan --help")
    if "cost" in search.objectives and not search.usd_per_gpu_hour:
        raise InvalidInput("usd_per_gpu_hour", "is missing for the objective 'cost'", hint="Give what a device costs.")
    space = Space(search, estimator, _hardware(catalogue, search), _precisions(catalogue, search))
    # Everything else that a request may say is checked as that of a request.
    if space.lengths[1] < 1:
        raise InvalidInput("output_tokens", "a plan needs an answer", hint="Give 1 or more.")
    validated(space.request(Replica(space.hardware[0][0], None, 1, None, ()), Place(), 1.0))
    return space


def _check(search: Search) -> None:
    """Numbers of a search that no request has; lists that cannot be."""
    for name, value in search.limits.items():
        if number(name, value) <= 0:
            raise InvalidInput(name, f"{value:g} is not above 0")
    for name, most in (("gpu_counts", MAX_DEVICES), ("batch_sizes", MAX_BATCH)):
        _check_list(name.removesuffix("s"), getattr(search, name), most)
    if search.top < 1:
        raise InvalidInput("top", f"{search.top} configurations", hint="Give 1 or more.")
    for name in ("objectives", "techniques", "places"):
        if not getattr(search, name):
            raise InvalidInput(name, "is empty", hint="Leave it out for its default.")


def _check_list(name: str, values: Sequence[float], most: float) -> None:
    """Numbers from 1 to `most`, and no more of them than a card takes."""
    for value in values:
        if not 1 <= number(name, value) <= most:
            raise InvalidInput(name, f"{value:g} is out of range", hint=f"1 to {most:g}.")
    if len(values) > SIZE:
        raise InvalidInput(name, f"{len(values)} values", hint=f"At most {SIZE}.")


def _hardware(catalogue: Catalogue, search: Search) -> tuple[tuple[str, str | None], ...]:
    """Accelerators and nodes to look at: (GPU, node or None)."""
    found: dict[tuple[str, str | None], None] = {}
    for name in search.gpu_ids:
        gpu = resolve_gpu(catalogue, name)
        _describable(gpu)
        found[(gpu.id, None)] = None
    for name in search.node_ids:
        node = resolve_node(catalogue, name)
        if node.gpu is None or node.gpu_count < 1:
            raise InvalidInput("node_id", f"{node.id} has no accelerator", hint="Name one that has, or use --gpu.")
        _describable(catalogue.gpus[node.gpu])
        found[(node.gpu, node.id)] = None
    return tuple(found) or tuple((gpu_id, None) for gpu_id in current_gpus(catalogue))


def _describable(gpu: Gpu) -> None:
    """Refuse an accelerator that the forms cannot describe."""
    if reason := why_not(gpu):
        raise Undisclosed(reason, hint="Name other hardware, or add values with --catalog DIR.", field="gpu_id")


def current_gpus(catalogue: Catalogue) -> tuple[str, ...]:
    """Data-centre accelerators of generations that are on sale, as far as the forms can describe them."""
    gpus = [gpu for gpu in catalogue.gpus.values() if gpu.device_class == "datacenter" and why_not(gpu) is None]
    newest = max(gpu.release_year or 0 for gpu in gpus)
    current = {gpu.generation for gpu in gpus if (gpu.release_year or 0) >= newest - CURRENT_YEARS}
    return tuple(gpu.id for gpu in gpus if gpu.generation in current)


def _precisions(catalogue: Catalogue, search: Search) -> tuple[str | None, ...]:
    """Formats to look at; None leaves it to the model's name, or to what is assumed of an undisclosed format."""
    if search.precisions:
        return tuple(dict.fromkeys(resolve_precision(catalogue, name).id for name in search.precisions))
    return formats_of(catalogue, search.model_id)


def formats_of(catalogue: Catalogue, model_id: str) -> tuple[str | None, ...]:
    """Formats to look at for a model: what its name says, else the published one, with fp8 and int4 beside 16 bits."""
    match = resolve_model(catalogue, model_id)
    native = match.model.native_precision
    if match.precision_hint or native is None:
        return (None,)
    of_16_bits = catalogue.precisions[native].bytes_per_param >= 2
    others = [name for name in OTHER_PRECISIONS if name in catalogue.precisions] if of_16_bits else []
    return (native, *others)


def nearest_that_fits(space: Space, most: tuple[float, str] = (0.0, "")) -> DoesNotFit | None:
    """The error for a model that no stated replica holds: the fewest devices of stated hardware that hold it.

    Where the stated hardware never does, that of the catalogue with the fewest devices. None where nothing does.

    Parameters
    ----------
    most
        Where it is the stated batch alone that does not fit: the largest that does, and on what.
    """
    if most[0] >= 1:
        return _too_large(space, f"At most {most[0]:,g} requests fit, on {most[1]}.")
    stated = [gpu_id for gpu_id, _ in space.hardware]
    for gpu_ids in (stated, current_gpus(space.catalogue)):
        found: list[tuple[int, float, str, str]] = []
        for gpu_id, precision in product(gpu_ids, space.precisions):
            for techniques in space.search.techniques:
                bare = Replica(gpu_id, None, None, precision, techniques)
                try:
                    count = space.fewest(bare).devices
                except InferprintError:
                    continue
                found.append((count, space.catalogue.gpus[gpu_id].memory_gb or 0.0, gpu_id, precision or ""))
        if found:
            count, _, gpu_id, precision_id = min(found)
            nearest = f"{count} x {gpu_id}" + (f" in {precision_id}" if precision_id else "")
            return _too_large(space, f"Fewest devices that hold it, at a batch of 1: {nearest}.")
    return None


def _too_large(space: Space, hint: str) -> DoesNotFit:
    search = space.search
    counts = ", ".join(str(count) for count in search.gpu_counts)
    stated = [node_id or gpu_id for gpu_id, node_id in space.hardware]
    names = ", ".join(stated[:4]) + (f" and {len(stated) - 4} more" if len(stated) > 4 else "")
    where = f"{counts} x {names}" if counts else names
    batch = f" at a batch of {min(search.batch_sizes):g}" if search.batch_sizes else ""
    n_in, n_out = space.lengths
    return DoesNotFit(
        f"{search.model_id} does not fit on {where}{batch}, with requests of {n_in:g} + {n_out:g} tokens",
        needed_bytes=float("nan"),
        available_bytes=float("nan"),
        hint=hint,
    )
