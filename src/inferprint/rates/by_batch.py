"""One way of serving a model at many batch sizes at once: the central case, with batches in the place of draws."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from inferprint.catalogue import Catalogue, ModelMatch
from inferprint.errors import InvalidInput
from inferprint.physics.serving import (
    MAX_DEVICES,
    Serving,
    batch_that_fits,
    first_token_seconds,
    memory_needed,
    smallest_replica,
)
from inferprint.rates.batch import first_token_steps
from inferprint.rates.card import MachineCard
from inferprint.rates.draws import SIZE, Array, Sampler, central
from inferprint.rates.machine import card_of, rates_at, shape_of, situation_of
from inferprint.rates.operating_point import no_room, replica_and_room, stated_replica
from inferprint.rates.per_second import idle_watts
from inferprint.rates.serving import serving_of
from inferprint.rates.setup import MachineSetup
from inferprint.rates.situation import Case, Situation, counted

__all__ = [
    "MAX_DEVICES",
    "ByBatch",
    "Fewest",
    "Lengths",
    "fewest_devices",
    "rates_by_batch",
    "time_per_output_token",
    "time_to_first_token",
]

Lengths = tuple[float, float]
"""Prompt and answer of a request [tokens]."""


@dataclass(frozen=True, slots=True)
class ByBatch:
    """A card whose first axis stands for batch sizes, and what only the operating point knows.

    Attributes
    ----------
    card
        Rates, shape (SIZE, ...); they carry no draws, so `card.table` and intervals mean nothing here.
    batches, fits
        Requests per step, shape (SIZE,); those that fit, 0 where not even one does. Batches above what fits repeat the
        largest that does.
    devices, node_devices
        Devices of the replica, and of the node that it is in.
    idle_w
        Power of the replica while it waits, with its share of the host [W].
    memory_bytes
        Memory in use on the whole replica [bytes], shape (SIZE,), and what the engine may use of it.
    usable_bytes
        See `memory_bytes`.
    first_token_steps
        Decode steps that a first token waits for beside its own prompt.
    time_per_output_token_s, time_to_first_token_s
        Of a request of the usual lengths [s], shape (SIZE,).
    """

    card: MachineCard
    batches: Array
    fits: float
    devices: float
    node_devices: int
    idle_w: float
    memory_bytes: Array
    usable_bytes: float
    first_token_steps: float
    time_per_output_token_s: Array
    time_to_first_token_s: Array

    def per_request(self, quantity: str, features: Array) -> Array:
        """A machine quantity (see `card.MACHINE_QUANTITIES`) of requests with `features`, by batch: shape (SIZE,)."""
        found: Array = self.card.quantity(quantity) @ features
        return found

    def features(self, work: dict[str, float]) -> Array:
        """Features of a request, techniques included."""
        return np.array(self.card.modality.count(work, self.card.window, min), dtype=float)


@dataclass(frozen=True, slots=True)
class _Point:
    """A stated accelerator with a model on it, before the batch is known."""

    situation: Situation
    match: ModelMatch
    case: Case
    serving: Serving


def rates_by_batch(
    catalogue: Catalogue,
    setup: MachineSetup,
    batches: Array | Callable[[float], Array] | None = None,
) -> ByBatch:
    """Rates of a stated accelerator at many batch sizes.

    Parameters
    ----------
    setup
        Names an accelerator, or a node; no batch, no measured time and no limit.
    batches
        Requests per step in rising order, at most SIZE of them, or what gives them for the number that fits; from 1 to
        what fits by default.

    Raises
    ------
    InferprintError
        As `resolve_machine`.
    """
    if isinstance(batches, np.ndarray) and len(batches) and batches[0] > 1:
        # Who serves several requests at a time has a server's engine, on a desk too.
        setup = replace(setup, batch_size=float(batches[0]))
    point = _point(catalogue, setup)
    situation, serving, memory = point.situation, point.serving, point.serving.memory
    devices, _ = replica_and_room(situation, point.case, serving, 1.0)
    context, lengths = situation.usual_context, situation.usual_lengths
    fits = float(np.floor(central(batch_that_fits(serving, context, devices))))
    tried = (batches or _spaced)(fits) if not isinstance(batches, np.ndarray) else batches
    sizes = np.minimum(_filled(tried), max(fits, 1.0))
    draws = rates_at(situation, point.case, serving, (devices, sizes))
    window = float(serving.shape.window_tokens)
    card = card_of(situation, point.match, draws, window)
    steps = first_token_steps(situation, serving)
    features = counted(situation.modality, lengths, window)
    return ByBatch(
        card=card,
        batches=sizes,
        fits=fits,
        devices=central(devices),
        node_devices=_node_devices(point, devices),
        idle_w=idle_watts(situation, point.case, devices),
        memory_bytes=_spread(memory_needed(serving, sizes, context, devices)),
        usable_bytes=float(memory.usable * memory.device_bytes * central(devices)),
        first_token_steps=steps,
        time_per_output_token_s=time_per_output_token(card, features, lengths[1]),
        time_to_first_token_s=time_to_first_token(card, features, lengths[1], steps),
    )


class Fewest(NamedTuple):
    """The fewest devices of a replica, and whether the techniques allow no other number."""

    devices: int
    fixed: bool


def fewest_devices(catalogue: Catalogue, setup: MachineSetup) -> Fewest:
    """Fewest devices of a stated accelerator, as the techniques lay them out, that hold the model and one request.

    Raises
    ------
    DoesNotFit
        No replica holds it.
    """
    point = _point(catalogue, setup)
    situation, serving = point.situation, point.serving
    devices = central(replica_and_room(situation, point.case, serving, 1.0)[0])
    if stated_replica(situation, serving) is not None:
        return Fewest(int(devices), True)
    fewest = central(smallest_replica(serving, 1.0, situation.usual_context))
    if fewest > float(situation.hosting.pool or np.finfo(float).max):
        raise no_room(situation, point.case, serving, devices, batch=1.0)
    return Fewest(int(max(devices, fewest)), False)


def time_per_output_token(card: MachineCard, features: Array, output_tokens: float) -> Array:
    """Mean time per output token of a request [s], shape (SIZE,); NaN where it writes none."""
    decode = np.array([feature.part == "decode" for feature in card.modality.features])
    found: Array = card.quantity("duration") @ (features * decode) / (output_tokens or np.nan)
    return found


def time_to_first_token(card: MachineCard, features: Array, output_tokens: float, steps: float) -> Array:
    """Time to the first token of a request [s], shape (SIZE,): its own prompt, and `steps` decode steps of others."""
    prompt = np.array([feature.part == "prefill" for feature in card.modality.features])
    own = card.quantity("duration") @ (features * prompt)
    # A request without an answer has no time per token, and waits for none where no step is waited for.
    step = time_per_output_token(card, features, output_tokens) if steps else 0.0
    found: Array = first_token_seconds(own, steps, step)
    return found


def _point(catalogue: Catalogue, setup: MachineSetup) -> _Point:
    """Model and accelerator of a setup, without spread."""
    if setup.gpu_id is None and setup.node_id is None and setup.cloud_instance_id is None:
        raise InvalidInput("gpu_id", "batches are compared on a stated accelerator", hint="Add --gpu or --node.")
    situation, match = situation_of(catalogue, setup, sampler=Sampler(central_only=True))
    if not situation.writes_tokens:
        what = f"{situation.model.id} is a model for {situation.model.modality}: it writes no text"
        hint = "Operating points are searched for models that write text. Others: inferprint estimate, or sweep."
        raise InvalidInput("model_id", what, hint=hint)
    shape = shape_of(situation)
    case = Case(situation.hosting.candidates[0], situation.precision)
    return _Point(situation, match, case, serving_of(situation, shape, case.gpu))


def _node_devices(point: _Point, devices: Any) -> int:
    """Devices of the node: of the catalogue's, of the stated pool, or those of the replica alone."""
    if point.case.node is not None:
        return point.case.node.gpu_count
    return point.situation.hosting.pool or int(central(devices))


def _spaced(fits: float) -> Array:
    return np.geomspace(1.0, max(fits, 1.0), SIZE)


def _filled(batches: Array) -> Array:
    """Batches with the last one repeated up to SIZE."""
    if not 1 <= len(batches) <= SIZE or np.any(batches < 1) or np.any(np.diff(batches) < 0):
        raise InvalidInput("batch_size", "batches are not in rising order from 1", hint=f"1 to {SIZE} of them.")
    return np.concatenate([batches, np.full(SIZE - len(batches), batches[-1])])


def _spread(value: Any) -> Array:
    return np.broadcast_to(np.asarray(value, dtype=float), (SIZE,))
