"""Rates of a model that works by a denoiser: pictures, clips, sound."""

from __future__ import annotations

from typing import Any

import numpy as np

from inferprint.modalities.base import Ideal
from inferprint.modalities.media import MediaWork
from inferprint.physics.denoising import Denoiser
from inferprint.physics.power import device_energy, device_seconds
from inferprint.physics.serving import REPLICA_SIZES
from inferprint.physics.terms import Replica, Traffic, two_term_media_seconds
from inferprint.provenance.trace import How
from inferprint.quantities import Range
from inferprint.rates.card import MachineDraws, TermDetail
from inferprint.rates.draws import SIZE, Array, bounds, central, full
from inferprint.rates.forms import applied_form, joules_by, measured_rates, media_residual, seconds_by
from inferprint.rates.hosting import does_not_fit
from inferprint.rates.media import MediaReader
from inferprint.rates.operating_point import device_time_measured, stated_or_usual_batch
from inferprint.rates.per_second import per_second
from inferprint.rates.serving import plain_replica
from inferprint.rates.situation import Case, Situation
from inferprint.units import BYTES_PER_GB

MEASURED = ("a100_40gb_sxm", "h100_80gb_sxm", "b200_180gb_sxm")
"""Accelerators on which pictures and clips were measured."""

ENERGY, DURATION = "energy.media", "duration.media"
"""The learned forms of what a denoiser makes."""


def diffusion_rates(situation: Situation, case: Case, denoiser: Denoiser) -> MachineDraws:
    """Rates of one case, with draws."""
    devices, batch = _point(situation, case, denoiser)
    replica, traffic = plain_replica(situation, case, devices), Traffic(batch, 0.0, 0.0)
    share = situation.base.share(denoiser, replica, traffic)
    power = case.gpu.max_power_w or 0.0
    two_seconds = _two_term(situation, denoiser, replica)
    two_energy = device_energy(two_seconds, full(devices)[:, None], power, 1.0)
    energy, seconds = two_energy, two_seconds
    details: tuple[TermDetail, ...] = ()
    # A request waits for the passes that make its pictures.
    waited = full(batch / np.minimum(np.maximum(situation.setup.outputs, 1.0), batch))
    duration = two_seconds * waited[:, None]
    if situation.setup.method == "default":
        engine = _unknown(situation, case)
        by_energy = applied_form(situation, case, situation.catalogue.forms[ENERGY], engine)
        by_time = applied_form(situation, case, situation.catalogue.forms[DURATION], engine)
        of = devices, power, media_residual(situation, by_energy.form)
        energy, of_energy = joules_by(situation, by_energy, share, of)
        residual = full(media_residual(situation, by_time.form))[:, None]
        seconds, of_time = seconds_by(situation, by_time, share, residual)
        # A board draws at most its limit: what takes this energy takes at least this long.
        seconds = np.maximum(seconds, device_seconds(energy, full(devices)[:, None], power))
        duration, details = seconds * waited[:, None], (*of_energy, *of_time)
    if device_time_measured(situation):
        level = _saturated(situation) if situation.setup.method == "default" else 1.0
        energy, seconds, duration = measured_rates(situation, devices * power, level, waited)
        details = ()
    return MachineDraws(
        energy=energy,
        seconds=seconds,
        duration=duration,
        two_term_energy=two_energy,
        two_term_seconds=two_seconds,
        two_term_duration=two_seconds * waited[:, None],
        **per_second(situation, case, devices),
        devices=full(devices),
        timed_devices=full(devices),
        prompt_devices=full(0.0),
        batch=full(batch),
        details=details,
    )


def usual_features(situation: Situation) -> Array:
    """Features of a request for one usual picture, clip or piece."""
    reader = MediaReader(situation.catalogue, situation.model, situation.base)
    seconds = situation.prior("media.output_audio_seconds").value.value if situation.base.name == "sound" else None
    columns = reader.columns(MediaWork(output_audio_seconds=seconds))
    return np.array(situation.base.count({**columns, "n_requests": 1.0, "measured_seconds": 0.0}, 0.0, min))


def record_media_point(situation: Situation, draws: MachineDraws) -> None:
    """Write down the replica and the batch."""
    trail, setup = situation.trail, situation.setup
    devices, batch = (Range(*map(float, bounds(values))) for values in (draws.devices, draws.batch))
    how: How = "given" if setup.replica_gpu_count is not None else "assumed"
    reason = "stated by the caller" if how == "given" else "fewest devices that hold the weights"
    trail.add("replica_gpu_count", devices, "devices", how, reason)
    if setup.batch_size is not None:
        trail.add("batch_size", batch, "pictures", "given", "stated by the caller")
    else:
        prior = situation.batch_prior
        trail.add("batch_size", batch, "pictures", "assumed", prior.meaning, prior.origin("value"))


def ideal_media(situation: Situation, case: Case, denoiser: Denoiser) -> tuple[Ideal, Ideal, Ideal, float, float]:
    """Ideal cost of a request's share, of its pass and by the two-term form, by feature and term; devices and batch."""
    devices, batch = _point(situation, case, denoiser)
    replica, traffic = plain_replica(situation, case, devices), Traffic(batch, 0.0, 0.0)
    base = situation.base
    share, seen = base.share(denoiser, replica, traffic), base.seen(denoiser, replica, traffic)
    two_seconds = two_term_media_seconds(denoiser.params, denoiser.tokens_per_volume, replica)
    two_term: Ideal = {"evaluation_volume": {"prefill": two_seconds}}
    return share, seen, two_term, central(devices), central(batch)


def _point(situation: Situation, case: Case, denoiser: Denoiser) -> tuple[Any, Any]:
    """Devices that share a picture, and pictures of a pass."""
    return _devices(situation, case, denoiser), stated_or_usual_batch(situation)


def _devices(situation: Situation, case: Case, denoiser: Denoiser) -> Any:
    """Devices of a replica: stated, or the fewest of those that are there that hold the weights.

    Devices that share a picture share the weights too, which is the least that they must hold.
    """
    stated = situation.setup.replica_gpu_count
    room = (case.gpu.memory_gb or 0.0) * BYTES_PER_GB * situation.prior("memory.usable-share").value.value
    most = float(stated or situation.hosting.pool or REPLICA_SIZES[-1])
    needed = denoiser.held_bytes
    if central(needed) > most * room:
        what = f"{situation.model.id} in {situation.precision.id}"
        fewest = float(np.ceil(central(needed) / room))
        raise does_not_fit(what, f"{most:g} x {case.gpu.name}", central(needed), most * room, fewest)
    if stated is not None:
        return float(stated)
    sizes = np.array(REPLICA_SIZES, dtype=float)
    index = np.searchsorted(sizes * room, needed)
    return np.minimum(sizes[np.minimum(index, len(sizes) - 1)], most)


def _unknown(situation: Situation, case: Case) -> Any:
    """Factor on energy and time for what is not known of the engine, the accelerator and the kind of output."""
    factor: Any = 1.0
    if situation.setup.engine is None:
        factor = situation.drawn("engine of media", "media.engine")
    if case.gpu.id not in MEASURED:
        generations = {situation.catalogue.gpus[name].generation for name in MEASURED}
        alike = case.gpu.memory_kind == "hbm" and case.gpu.generation in generations
        name = "media.other-accelerator" if alike else "media.unmeasured-accelerator"
        factor = factor * situation.drawn("unmeasured accelerator", name)
    if situation.base.name == "sound":
        factor = factor * situation.drawn("physics only", "physics-only")
    if case.precision.arithmetic in ("fp8", "int8", "fp4"):
        factor = factor * situation.drawn("low precision of media", "media.low-precision")
    return factor


def _saturated(situation: Situation) -> Any:
    """Mean power of a device that makes pictures over its board power limit."""
    return situation.drawn("power of a busy device", "power-share.media", maximum=1.0)


def _two_term(situation: Situation, denoiser: Denoiser, replica: Replica) -> Array:
    """Device time by the two-term form: every parameter works on every token [s]."""
    rates = np.zeros((SIZE, len(situation.feature_names)))
    form = situation.catalogue.forms["two-term"]
    residual = full(situation.form_error(form, situation.base.name))
    column = situation.feature_names.index("evaluation_volume")
    rates[:, column] = full(two_term_media_seconds(denoiser.params, denoiser.tokens_per_volume, replica)) * residual
    return rates
