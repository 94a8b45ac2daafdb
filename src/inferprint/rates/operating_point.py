"""How a replica is run: its devices, and the requests that share its steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from inferprint.catalogue import Form, Gpu, Prior
from inferprint.errors import DoesNotFit, InvalidInput
from inferprint.modalities.text import TEXT
from inferprint.physics import serving
from inferprint.physics.terms import ModelShape
from inferprint.provenance.trace import How, Trail
from inferprint.quantities import Z95, Range
from inferprint.rates.card import MachineDraws
from inferprint.rates.draws import SIZE, Array, bounds, central
from inferprint.rates.engines import ENGINES, Engine, find_engine
from inferprint.rates.forms import duration_rates, replica_of
from inferprint.rates.hosting import Hosting, does_not_fit
from inferprint.rates.setup import MachineSetup
from inferprint.rates.situation import Case, Situation, central_shape, counted, decode_per_token
from inferprint.units import BYTES_PER_GB

PRIOR_WIDENING = 2.0
MAX_BATCH = 65536
"""Requests per step above this are taken for a mistake."""


@dataclass(frozen=True, slots=True)
class Memory:
    """How an engine uses a device's memory."""

    device_bytes: float
    usable: float
    overhead: float
    work_bytes: float

    @property
    def arguments(self) -> tuple[float, float, float, float]:
        """The values in the order in which physics takes them."""
        return self.device_bytes, self.usable, self.overhead, self.work_bytes


def memory_of(situation: Situation, gpu: Gpu) -> Memory:
    """How an engine uses the memory of `gpu`."""
    local = "-local" if situation.engine.kind == "local" else ""
    return Memory(
        (gpu.memory_gb or 0.0) * BYTES_PER_GB,
        situation.prior(f"memory.usable-share{local}").value.value,
        situation.prior(f"memory.weight-overhead{local}").value.value,
        situation.prior(f"memory.work-bytes{local}").value.value,
    )


def batch_prior(situation: Situation) -> Prior:
    """The batch to assume, by the class of the host."""
    hosting = situation.hosting
    if hosting.service is not None:
        kind: str = hosting.service.serving_class
        if kind.startswith("open") and situation.model.total_params_b is None:
            kind = "closed"
        if kind == "closed":
            small = situation.sizes.total < situation.prior("small-model-params").value.value
            kind = "closed-small" if small else "closed-large"
    else:
        kind = {"service": "unknown", "cloud": "self-hosted", "own": "self-hosted", "desk": "local"}[hosting.kind]
    return situation.prior(f"batch.{kind}")


def device_time_measured(situation: Situation) -> bool:
    """True where a measured duration is the device time of a known batch: given, or 1 on a desk."""
    setup = situation.setup
    return setup.device_time_measured or (setup.measured_seconds is not None and batch_is_known(situation))


def engine_of(setup: MachineSetup, hosting: Hosting, trail: Trail) -> Engine:
    """The serving software: stated, else one request at a time on a desk, else a current server."""
    if setup.engine is not None:
        engine = find_engine(setup.engine)
        trail.add("engine", engine.id, "", "given", engine.meaning)
        return engine
    alone = hosting.kind == "desk" and setup.batch_size in (None, 1) and hosting.service is None
    engine = ENGINES["llama.cpp" if alone else "vllm"]
    reason = "one request at a time" if alone else "engine unknown: its age and kind are part of the interval"
    trail.add("engine", engine.id, "", "assumed", f"{reason}: {engine.meaning}")
    return engine


def batch_is_known(situation: Situation) -> bool:
    """True where the batch is given, or the host serves one request at a time."""
    prior = batch_prior(situation).value
    return situation.setup.batch_size is not None or prior.low == prior.high


def operating_point(situation: Situation, case: Case, shape: ModelShape) -> tuple[Any, Any]:
    """Devices of the replica and requests that share its steps."""
    setup, memory = situation.setup, memory_of(situation, case.gpu)
    given = setup.batch_size
    if given is not None and not 1 <= given <= MAX_BATCH:
        raise InvalidInput("batch_size", f"{given:g} requests", hint=f"1 to {MAX_BATCH}.")
    prior = batch_prior(situation)
    batch = given or situation.sampler.spread(f"batch size:{situation.host_name}", prior.value, minimum=1.0)
    context = sum(situation.usual_lengths)
    devices = _replica_devices(situation, shape, batch, context, memory)
    fits = serving.batch_that_fits(shape, context, devices, *memory.arguments)
    if central(fits) <= 0:
        raise _no_room(situation, case, shape, central(devices), memory)
    if given is not None and central(fits) < given:
        situation.warn(
            f"{given:g} requests of {context:g} tokens exceed the memory of {central(devices):g} x {case.gpu.name}, "
            f"which holds {central(fits):.0f}: they fit only if they are shorter"
        )
    if given is None:
        batch = np.clip(batch, 1.0, np.maximum(fits, 1.0))
    target = _measured_target(situation, shape)
    if target is not None and not batch_is_known(situation):
        batch = _solved_batch(situation, case, shape, (devices, np.maximum(fits, 1.0)), target)
    return devices, batch


def _replica_devices(situation: Situation, shape: ModelShape, batch: Any, context: float, memory: Memory) -> Any:
    """Devices of one replica: stated, or the fewest of the pool that hold weights, cache and work space."""
    stated, pool = situation.setup.replica_gpu_count, situation.hosting.pool
    if stated is not None:
        if stated < 1 or (pool is not None and stated > pool):
            there = f"{pool} devices" if pool is not None else "the devices"
            raise InvalidInput("replica_gpu_count", f"{stated} of {there}", hint="1 to the number of devices.")
        return float(stated)
    most = float(pool or serving.REPLICA_SIZES[-1])
    return np.minimum(serving.smallest_replica(shape, batch, context, *memory.arguments), most)


def _measured_target(situation: Situation, shape: ModelShape) -> tuple[Array, float] | None:
    """Features and seconds of a measurement from which the batch can be solved."""
    setup = situation.setup
    if setup.measured_seconds_per_token is not None:
        per_token = decode_per_token(TEXT, situation.usual_lengths, float(shape.window_tokens))
        return per_token, setup.measured_seconds_per_token
    if setup.measured_seconds is not None and setup.measured_work is not None:
        n_in, cached, n_out = setup.measured_work
        return counted(TEXT, (n_in, n_out), float(shape.window_tokens), cached=cached), setup.measured_seconds
    return None


def _no_room(situation: Situation, case: Case, shape: ModelShape, devices: float, memory: Memory) -> DoesNotFit:
    """The error for weights that exceed the memory of the devices."""
    needed = serving.memory_needed(shape, 0.0, 0.0, devices, memory.overhead, memory.work_bytes)
    available = memory.usable * memory.device_bytes * devices
    what = f"{situation.model.id} in {case.precision.id}"
    return does_not_fit(what, f"{devices:g} x {case.gpu.name}", central(needed), available)


def _solved_batch(
    situation: Situation, case: Case, shape: ModelShape, room: tuple[Any, Any], target: tuple[Array, float]
) -> Array:
    """The batch behind a measured time: central by the form itself, drawn from all that explain the time.

    Latency is nearly flat at small batches, so a time says little there: the draws weigh every batch from 1 to what
    fits by how well the form with its residual gives the time, and, weakly, by the host's prior. Where no batch gives
    the time, the central one is their median.

    Parameters
    ----------
    room
        Devices of the replica; requests that fit.
    target
        Features of the measured work, and the measured time [s].
    """
    devices, most = room
    features, seconds = target
    batches = np.exp(np.linspace(0.0, np.log(np.maximum(central(most), 1.0 + 1e-9)), SIZE))

    def times(situation: Situation, shape: ModelShape, devices: Any) -> Array:
        replica = replica_of(situation, case, devices)
        seen: Array = duration_rates(situation, case, shape, replica, situation.traffic(batches))[0] @ features
        return seen

    expected = times(situation.central(), central_shape(shape), central(devices))
    form = situation.catalogue.forms["duration.served"]
    misfit = np.log(seconds / expected) / spread_of(form)
    weights = np.exp(-((misfit**2 + _prior_distance(situation, batches) ** 2) / 2))
    drawn = situation.sampler.weighted(f"batch size:{situation.host_name}", batches, weights)
    solvable = expected[0] <= seconds <= expected[-1]
    drawn[0] = np.interp(seconds, expected, batches) if solvable else np.median(drawn[1:])
    _warn_of_limits(situation, case, seconds, expected)
    return drawn


def spread_of(form: Form) -> float:
    """Log standard deviation of a form's error on models that it has not seen."""
    bounds = form.residual["all"]
    return (bounds.high - bounds.low) / (2 * Z95)


def _prior_distance(situation: Situation, batches: Array) -> Array:
    """How far batches lie from the host's prior, taken twice as wide as it is: a measurement knows better."""
    value, low, high = batch_prior(situation).value
    logs = np.log(batches / value)
    widths: Array = np.where(logs < 0, float(np.log(value / low)), float(np.log(high / value)))
    return logs * Z95 / (PRIOR_WIDENING * widths)


def _warn_of_limits(situation: Situation, case: Case, seconds: float, expected: Array) -> None:
    """Say where a measured time lies outside what one request alone, and the most that fit, would take."""
    if seconds < expected[0]:
        situation.warn(
            f"the measured {seconds:.3g} s is less than one request alone takes on {case.gpu.name} "
            f"({expected[0]:.3g} s): speculative decoding, more devices or fewer bits are likely"
        )
    if seconds > expected[-1]:
        situation.warn(
            f"the measured {seconds:.3g} s is more than the largest batch that fits takes on {case.gpu.name} "
            f"({expected[-1]:.3g} s): queueing, network or an older engine are likely"
        )


def batch_is_solved(situation: Situation) -> bool:
    """True where the batch comes from a measured time."""
    setup = situation.setup
    measured = setup.measured_seconds_per_token is not None or setup.measured_work is not None
    return measured and not batch_is_known(situation)


def record_operating_point(situation: Situation, draws: MachineDraws) -> None:
    """Write down the replica and the batch."""
    trail, setup = situation.trail, situation.setup
    devices, batch = Range(*map(float, bounds(draws.devices))), Range(*map(float, bounds(draws.batch)))
    if setup.replica_gpu_count is not None:
        trail.add("replica_gpu_count", devices, "devices", "given", "stated by the caller")
    else:
        reason = "fewest devices that hold weights, cache and work space"
        how: How = "derived" if situation.hosting.pool is not None else "assumed"
        trail.add("replica_gpu_count", devices, "devices", how, reason)
    if setup.batch_size is not None:
        trail.add("batch_size", batch, "requests", "given", "stated by the caller")
    elif batch_is_solved(situation):
        trail.add("batch_size", batch, "requests", "derived", "solved from the measured time")
    else:
        prior = batch_prior(situation)
        trail.add("batch_size", batch, "requests", "assumed", prior.meaning, prior.origin("value"))
