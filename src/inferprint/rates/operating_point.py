"""How a replica is run: its devices, and the requests that share its steps."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from inferprint.catalogue import Node
from inferprint.errors import CatalogueError, DoesNotFit, InvalidInput, LimitNotMet
from inferprint.physics import serving as physics
from inferprint.physics.serving import Serving
from inferprint.provenance.trace import How, Trail
from inferprint.quantities import Z95, Range
from inferprint.rates.batch import (
    MAX_BATCH,
    Target,
    limits_of,
    served_spread,
    solved_batch,
    target_of,
    times_over_target,
)
from inferprint.rates.card import MachineDraws
from inferprint.rates.draws import SIZE, Array, bounds, central
from inferprint.rates.engines import ENGINES, Engine, find_engine
from inferprint.rates.hosting import Hosting, does_not_fit
from inferprint.rates.setup import MachineSetup
from inferprint.rates.situation import Case, Situation, central_serving
from inferprint.units import MS_PER_S

NODE_DEVICES = 8.0
"""Devices of a usual node, over which a model is spread for the sake of time where nobody says how many there are."""


def device_time_measured(situation: Situation) -> bool:
    """True where a measured duration is the device time of a known batch: given, or 1 on a desk.

    That of a model that writes no token says nothing of the batch: it is shared by the one that is assumed.
    """
    setup = situation.setup
    known = situation.batch_is_known or not situation.writes_tokens
    return setup.device_time_measured or (setup.measured_seconds is not None and known)


def engine_of(setup: MachineSetup, hosting: Hosting, trail: Trail, *, media: bool = False) -> Engine:
    """The serving software: stated, else one request at a time on a desk, else a current server.

    A denoiser has software of its own.

    Raises
    ------
    InvalidInput
        Software that does not run such a model.
    """
    if media or setup.engine in MEDIA_ENGINES:
        return _media_engine(setup, trail, media=media)
    node = hosting.candidates[0].node if setup.node_id or setup.cloud_instance_id else None
    if node is not None and node.engine is not None:
        return _engine_of_node(setup, node, trail)
    if setup.engine is not None:
        engine = find_engine(setup.engine)
        trail.add("engine", engine.id, "", "given", engine.meaning)
        return engine
    alone = hosting.kind == "desk" and setup.batch_size in (None, 1) and hosting.service is None
    engine = ENGINES["llama.cpp" if alone else "vllm"]
    reason = "one request at a time" if alone else "engine unknown: its age and kind are part of the interval"
    trail.add("engine", engine.id, "", "assumed", f"{reason}: {engine.meaning}")
    return engine


def _engine_of_node(setup: MachineSetup, node: Node, trail: Trail) -> Engine:
    """The software that was measured on a stated node: its coefficients are of no other."""
    known = [name for name in ENGINES if name not in MEDIA_ENGINES]
    if node.engine not in known:
        what = f"node '{node.id}': field 'engine' is '{node.engine}', which is no serving software"
        raise CatalogueError(what, hint=f"One of {', '.join(known)}.")
    engine = ENGINES[node.engine]
    if setup.engine is not None:
        stated = find_engine(setup.engine)
        if stated.id.split("-")[0] != engine.id.split("-")[0]:
            trail.warnings.append(f"engine {stated.id}: {node.id} was measured with {engine.id}, which is used")
    trail.add("engine", engine.id, "", "catalogue", f"measured on {node.id}: {engine.meaning}", node.origin("engine"))
    return engine


MEDIA_ENGINES = ("diffusers",)
"""Software that runs denoisers."""


def _media_engine(setup: MachineSetup, trail: Trail, *, media: bool) -> Engine:
    """The software that runs a denoiser."""
    named = setup.engine
    if not media or (named is not None and named not in MEDIA_ENGINES):
        kind = "denoisers" if media else "models on tokens"
        known = MEDIA_ENGINES if media else tuple(name for name in ENGINES if name not in MEDIA_ENGINES)
        raise InvalidInput("engine", f"{named} does not run {kind}", hint=f"One of {', '.join(known)}.")
    engine = ENGINES[MEDIA_ENGINES[0]]
    how: How = "assumed" if named is None else "given"
    reason = "engine unknown: tuned ones are part of the interval" if named is None else "stated"
    trail.add("engine", engine.id, "", how, f"{reason}: {engine.meaning}")
    return engine


def operating_point(situation: Situation, case: Case, serving: Serving) -> tuple[Any, Any]:
    """Devices of the replica and requests that share its steps."""
    given, batch = situation.setup.batch_size, stated_or_usual_batch(situation)
    context = situation.usual_context
    devices, fits = replica_and_room(situation, case, serving, batch)
    if given is not None:
        if central(fits) < given:
            situation.warn(_too_many(case, serving, given, context, central(devices), central(fits)))
        return devices, batch
    target = target_of(situation, serving)
    if target is None:
        _check_alone(situation, case, serving, devices)
        return devices, np.clip(batch, 1.0, np.maximum(fits, 1.0))
    return _solved(situation, case, serving, devices, target)


def stated_or_usual_batch(situation: Situation) -> Any:
    """What shares a step or a pass: as stated, else draws of the class of the host."""
    given = situation.setup.batch_size
    if given is not None and not 1 <= given <= MAX_BATCH:
        what = "pictures" if situation.makes_media else "requests"
        raise InvalidInput("batch_size", f"{given:g} {what}", hint=f"1 to {MAX_BATCH}.")
    prior = situation.batch_prior
    return given or situation.sampler.spread(f"batch size:{situation.host_name}", prior.value, minimum=1.0)


def replica_and_room(situation: Situation, case: Case, serving: Serving, batch: Any) -> tuple[Any, Any]:
    """Devices of the replica for a batch, and requests that fit on them; an error where not even the weights do."""
    context = situation.usual_context
    devices = _replica_devices(situation, serving, batch, context)
    return devices, _room(situation, case, serving, context, devices)


def _solved(situation: Situation, case: Case, serving: Serving, devices: Any, target: Target) -> tuple[Any, Array]:
    """Devices and batch behind a target.

    Where nobody states the devices of a replica, a limit is served by those that give the most throughput each; the
    usual or measured time of a service by the fewest on which one request reaches it.
    """
    found = _at(situation, case, serving, devices, target)
    known = target.kind == "measured" and situation.hosting.service is None
    if not known and stated_replica(situation, serving) is None:
        for larger in _larger(situation, devices, target):
            other = _at(situation, case, serving, larger, target)
            missed = found.ends[0].max() > 1
            if missed or (target.kind == "limit" and other.per_device > found.per_device * (1 + 1e-9)):
                found = other
    _warn_of_ends(situation, case, central(found.devices), target, found.ends)
    return found.devices, found.batch


class _Point(NamedTuple):
    """A solved operating point; `per_device` is its throughput over its devices, for comparison."""

    devices: Any
    batch: Array
    ends: Array
    per_device: float


def _at(situation: Situation, case: Case, serving: Serving, devices: Any, target: Target) -> _Point:
    """The batch behind a target on some devices."""
    room = np.maximum(_room(situation, case, serving, situation.usual_context, devices), 1.0)
    batch, ends = solved_batch(situation, case, serving, (devices, central(room)), target)
    # A step takes the limit where that binds, and less where the memory does.
    seconds = min(float(ends[1].max()), 1.0)
    return _Point(devices, batch, ends, float(batch[0]) / seconds / central(devices))


def _larger(situation: Situation, devices: Any, target: Target) -> Iterator[Any]:
    """More devices for a replica than the fewest: doubled, up to those that are there, or those of one node."""
    pool = situation.hosting.pool
    there = float(pool or NODE_DEVICES)
    most = there if target.kind == "limit" else min(there, NODE_DEVICES)
    while central(devices) * 2 <= most:
        devices = np.minimum(devices * 2, most)
        yield devices


def _room(situation: Situation, case: Case, serving: Serving, context: float, devices: Any) -> Any:
    """Requests that fit on a replica; an error where its weights do not."""
    fits = physics.batch_that_fits(serving, context, devices)
    if central(fits) <= 0:
        raise no_room(situation, case, serving, central(devices))
    prompts = serving.layout.prompt_devices
    pool = replace(serving, layout=replace(serving.layout, ranks=1.0, pipeline=1.0))
    if prompts and central(physics.batch_that_fits(pool, context, prompts)) < 1:
        raise no_room(situation, case, serving, prompts)
    return fits


def _too_many(case: Case, serving: Serving, given: float, context: float, devices: float, fits: float) -> str:
    """What is wrong with a stated batch that is more than there is room for."""
    if fits >= serving.batching.max_requests:
        return f"{given:g} requests exceed the {fits:g} that the engine takes into a step: the others wait"
    return (
        f"{given:g} requests of {context:g} tokens exceed the memory of {devices:g} x {case.gpu.name}, "
        f"which holds {fits:.0f}: they fit only if they are shorter"
    )


def stated_replica(situation: Situation, serving: Serving) -> int | None:
    """Devices of one replica as stated, by their number or by the layout."""
    stated, layout = situation.setup.replica_gpu_count, int(serving.layout.stated_devices)
    pool = situation.hosting.pool
    if stated is not None and layout and stated != layout:
        message = f"{stated} devices, but the layout of the techniques takes {layout}"
        raise InvalidInput("replica_gpu_count", message, hint="Leave it out, or change the layout.")
    found = stated or layout or None
    if found is not None and (found < 1 or (pool is not None and found > pool)):
        there = f"{pool} devices" if pool is not None else "the devices"
        field = "replica_gpu_count" if stated is not None else "techniques"
        raise InvalidInput(field, f"a replica of {found} of {there}", hint="1 to the number of devices.")
    for unit in (int(serving.layout.unit), int(serving.layout.expert)):
        if found is not None and unit and found % unit:
            message = f"a replica of {found} devices cannot be split into {unit} equal parts"
            raise InvalidInput("techniques", message, hint=f"Give a multiple of {unit}, or change the layout.")
    return found


def _replica_devices(situation: Situation, serving: Serving, batch: Any, context: float) -> Any:
    """Devices of one replica: stated, or the fewest of the pool that hold weights, cache and work space."""
    stated, pool = stated_replica(situation, serving), situation.hosting.pool
    if stated is not None:
        return float(stated)
    most, unit = float(pool or physics.REPLICA_SIZES[-1]), serving.layout.unit
    if unit > most:
        message = f"the layout takes at least {unit:g} devices, of {most:g}"
        raise InvalidInput("techniques", message, hint="Use fewer stages or ranks, or more devices.")
    fewest = physics.smallest_replica(serving, batch, context)
    return np.minimum(np.ceil(fewest / unit) * unit, most // unit * unit)


def no_room(situation: Situation, case: Case, serving: Serving, devices: float, batch: float = 0.0) -> DoesNotFit:
    """The error for weights and `batch` requests beyond the memory of the devices, with the fewest that hold one."""
    memory = serving.memory
    needed = physics.memory_needed(serving, batch, situation.usual_context, devices)
    available = memory.usable * memory.device_bytes * devices
    what = f"{situation.model.id} in {case.precision.id}"
    fewest = central(physics.smallest_replica(serving, 1.0, situation.usual_context))
    return does_not_fit(what, f"{devices:g} x {case.gpu.name}", central(needed), available, fewest)


def _warn_of_ends(situation: Situation, case: Case, devices: float, target: Target, ends: Array) -> None:
    """Say where a time lies outside what one request alone, and the most that fit, would take."""
    where = f"{devices:g} x {case.gpu.name}"
    if target.kind == "limit":
        _refuse_or_warn(situation, target, ends[0], where)
    for alone, most, seconds in zip(*ends, target.seconds, strict=True):
        if target.kind == "measured" and alone > 1:
            situation.warn(
                f"the measured {seconds:.3g} s is less than one request alone takes on {where} "
                f"({alone * seconds:.3g} s): speculative decoding, more devices or fewer bits are likely"
            )
        elif target.kind == "measured" and most < 1:
            situation.warn(
                f"the measured {seconds:.3g} s is more than the largest batch that fits takes on {where} "
                f"({most * seconds:.3g} s): queueing, network or an older engine are likely"
            )


def _check_alone(situation: Situation, case: Case, serving: Serving, devices: Any) -> None:
    """Compare limits with the times of a host that serves one request at a time."""
    limits = limits_of(situation, serving)
    if limits is not None:
        middle, where = central_serving(serving), f"{central(devices):g} x {case.gpu.name}"
        times = times_over_target(situation.central(), case, middle, central(devices), limits, np.ones(SIZE))
        _refuse_or_warn(situation, limits, times[:, 0], where)


def _refuse_or_warn(situation: Situation, target: Target, alone: Array, where: str) -> None:
    """Limits below what one request alone takes: an error where the error of the form cannot explain the tightest.

    `alone` holds the times of one request over the limits.
    """
    missed = [
        (float(over), name, f"{limit * MS_PER_S:.3g} ms is below the {over * limit * MS_PER_S:.3g} ms", over * limit)
        for over, name, limit in zip(alone, target.names, target.seconds, strict=True)
        if over > 1
    ]
    if not missed:
        return
    worst, name, text, nearest = max(missed)
    texts = f"{text} of one request alone on {where}"
    texts += "".join(f"; {other}: {what}" for _, other, what, _ in missed if other != name)
    spread = float(served_spread(situation, np.ones(1)).max())
    if np.log(worst) > Z95 * spread:
        hint = f"Nearest: {nearest * MS_PER_S:.3g} ms. Use more or faster devices, fewer bits, or drafts."
        raise LimitNotMet(name, texts, nearest_ms=float(nearest * MS_PER_S), hint=hint)
    situation.warn(f"{name}: {texts}: it may not be kept")


def batch_is_solved(situation: Situation) -> bool:
    """True where the batch comes from a measured time, or from a limit."""
    setup = situation.setup
    measured = setup.measured_seconds_per_token is not None or setup.measured_work is not None
    return limits_bind(situation) or (measured and situation.writes_tokens and not situation.batch_is_known)


def limits_bind(situation: Situation) -> bool:
    """True where the batch comes from limits."""
    setup = situation.setup
    stated = setup.max_seconds_per_token is not None or setup.max_seconds_to_first_token is not None
    return stated and not situation.batch_is_known


def record_operating_point(situation: Situation, draws: MachineDraws) -> None:
    """Write down the replica and the batch."""
    trail, setup = situation.trail, situation.setup
    devices, batch = Range(*map(float, bounds(draws.devices))), Range(*map(float, bounds(draws.batch)))
    layouts = [technique.name for technique, _ in situation.uses if technique.stage == "layout"]
    if setup.replica_gpu_count is not None:
        trail.add("replica_gpu_count", devices, "devices", "given", "stated by the caller")
    else:
        reason = "fewest devices that hold weights, cache and work space"
        if layouts:
            reason = f"what {', '.join(layouts)} takes, or the fewest of it that hold weights, cache and work space"
        elif limits_bind(situation):
            reason = "devices that hold the model and give the most throughput each within the limits"
        elif situation.hosting.service is not None and not situation.batch_is_known:
            reason += ", and on which one request reaches its usual or measured time where it can"
        how: How = "derived" if situation.hosting.pool is not None else "assumed"
        trail.add("replica_gpu_count", devices, "devices", how, reason)
    _record_layout(situation, layouts, devices.value)
    _warn_of_nodes(situation, devices.value)
    if setup.batch_size is not None:
        trail.add("batch_size", batch, "requests", "given", "stated by the caller")
    elif batch_is_solved(situation):
        bound = limits_bind(situation)
        reason = "the most that keep the stated limits and fit" if bound else "solved from the measured time"
        trail.add("batch_size", batch, "requests", "derived", reason)
    else:
        prior, setup = situation.batch_prior, situation.setup
        aimed = situation.hosting.service is not None and setup.method == "default" and not situation.batch_is_known
        reason = f"{prior.meaning}; by its usual speed" if aimed else prior.meaning
        trail.add("batch_size", batch, "requests", "assumed", reason, prior.origin("value"))


def _record_layout(situation: Situation, layouts: list[str], devices: float) -> None:
    """Write down how several devices share the model."""
    if layouts:
        situation.trail.add("layout", ", ".join(layouts), "", "given", "stated by techniques")
    elif devices > 1 and situation.engine.split == "layers":
        reason = "each layer lies on one device, as this engine has it"
        situation.trail.add("layout", "devices in turn", "", "assumed", reason)
    elif devices > 1:
        reason = "every device works on every layer; techniques state another layout"
        situation.trail.add("layout", "tensor parallel", "", "assumed", reason)


def _warn_of_nodes(situation: Situation, devices: float) -> None:
    """Say where a replica spans nodes: the link between them is not that within one."""
    node = situation.hosting.candidates[0].node
    if node is not None and devices > node.gpu_count > 0 and situation.engine.split == "tensors":
        situation.warn(
            f"a replica of {devices:g} devices spans nodes of {node.gpu_count}: the link between them is taken to be "
            "that within a node, which is faster than most networks; techniques state another layout and its network"
        )
