"""One way of serving a model at many batch sizes at once: the central case, with batches in the place of draws."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from inferprint.catalogue import Catalogue
from inferprint.errors import InvalidInput
from inferprint.modalities.text import TEXT
from inferprint.physics.serving import memory_needed
from inferprint.rates.batch import first_token_steps
from inferprint.rates.card import MachineCard
from inferprint.rates.draws import SIZE, Array, Sampler, central
from inferprint.rates.machine import card_of, rates_at, shape_of, situation_of
from inferprint.rates.operating_point import replica_and_room
from inferprint.rates.serving import serving_of
from inferprint.rates.setup import MachineSetup
from inferprint.rates.situation import Case, counted, decode_per_token


@dataclass(frozen=True, slots=True)
class ByBatch:
    """A card whose first axis stands for batch sizes, and what only the operating point knows.

    Attributes
    ----------
    card
        Rates, shape (SIZE, ...); they carry no draws, so `card.table` and intervals mean nothing here.
    batches, fits
        Requests per step, shape (SIZE,); those that fit. Batches above what fits repeat the largest that does.
    devices
        Devices of the replica.
    memory_bytes
        Memory in use on the whole replica [bytes], shape (SIZE,), and what the engine may use of it.
    usable_bytes
        See `memory_bytes`.
    time_per_output_token_s, time_to_first_token_s
        Of a request of the usual lengths [s], shape (SIZE,).
    """

    card: MachineCard
    batches: Array
    fits: float
    devices: float
    memory_bytes: Array
    usable_bytes: float
    time_per_output_token_s: Array
    time_to_first_token_s: Array

    def per_request(self, quantity: str, features: Array) -> Array:
        """A machine quantity (see `card.MACHINE_QUANTITIES`) of requests with `features`, by batch: shape (SIZE,)."""
        found: Array = self.card.quantity(quantity) @ features
        return found

    def features(self, work: dict[str, float]) -> Array:
        """Features of a request, techniques included."""
        return np.array(self.card.modality.count(work, self.card.window, min), dtype=float)


def rates_by_batch(catalogue: Catalogue, setup: MachineSetup, batches: Array | None = None) -> ByBatch:
    """Rates of a stated accelerator at many batch sizes.

    Parameters
    ----------
    setup
        Names an accelerator, or a node; no batch, no measured time and no limit.
    batches
        Requests per step in rising order, at most SIZE of them; from 1 to what fits by default.

    Raises
    ------
    InferprintError
        As `resolve_machine`.
    """
    if setup.gpu_id is None and setup.node_id is None and setup.cloud_instance_id is None:
        raise InvalidInput("gpu_id", "batches are compared on a stated accelerator", hint="Add --gpu or --node.")
    situation, match = situation_of(catalogue, setup, sampler=Sampler(central_only=True))
    shape = shape_of(situation)
    case = Case(situation.hosting.candidates[0], situation.precision)
    serving = serving_of(situation, shape, case.gpu)
    devices, room = replica_and_room(situation, case, serving, 1.0)
    fits = max(float(np.floor(central(room))), 1.0)
    sizes = np.minimum(_filled(batches if batches is not None else np.geomspace(1.0, fits, SIZE)), fits)
    draws = rates_at(situation, case, serving, (devices, sizes))
    lengths, window = situation.usual_lengths, float(shape.window_tokens)
    per_token = draws.duration @ decode_per_token(TEXT, lengths, window)
    first = draws.duration @ counted(TEXT, (lengths[0], 0.0), window)
    memory = serving.memory
    return ByBatch(
        card=card_of(situation, match, draws, window),
        batches=sizes,
        fits=fits,
        devices=central(devices),
        memory_bytes=_spread(memory_needed(serving, sizes, sum(lengths), devices)),
        usable_bytes=float(memory.usable * memory.device_bytes * central(devices)),
        time_per_output_token_s=per_token,
        time_to_first_token_s=first + first_token_steps(situation, serving) * per_token,
    )


def _filled(batches: Array) -> Array:
    """Batches with the last one repeated up to SIZE."""
    if not 1 <= len(batches) <= SIZE or np.any(batches < 1) or np.any(np.diff(batches) < 0):
        raise InvalidInput("batch_size", "batches are not in rising order from 1", hint=f"1 to {SIZE} of them.")
    return np.concatenate([batches, np.full(SIZE - len(batches), batches[-1])])


def _spread(value: Any) -> Array:
    return np.broadcast_to(np.asarray(value, dtype=float), (SIZE,))
