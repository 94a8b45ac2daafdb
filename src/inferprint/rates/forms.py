"""The learned forms: unit rates of energy and duration with draws."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from inferprint.catalogue import Form
from inferprint.catalogue.own import is_own
from inferprint.modalities.base import Ideal, Modality
from inferprint.modalities.text import TEXT
from inferprint.physics.power import device_energy
from inferprint.physics.terms import (
    UNLEARNED,
    ModelShape,
    Replica,
    Traffic,
    two_term_decode_seconds,
    two_term_prefill_seconds,
    weighted,
)
from inferprint.quantities import Range
from inferprint.rates.card import Level, TermDetail
from inferprint.rates.draws import SIZE, Array, bounds, central, full
from inferprint.rates.per_second import idle_power
from inferprint.rates.setup import MachineSetup
from inferprint.rates.situation import Case, Situation, decode_per_token
from inferprint.units import TERA

MANY = 256
"""Requests per step from which a stated concurrency partly waits in a queue: the forms know less there."""

Rates = tuple["Array", tuple[TermDetail, ...]]
"""Unit rates by draw and feature, and the central case term by term."""

GROUPS: Mapping[str, frozenset[str]] = {
    "arithmetic": frozenset({"dense_arithmetic", "expert_arithmetic", "prompt_linear"}),
    "fixed": frozenset(
        {"layers", "expert_layers", "quantised_expert_layers", "state_space_layers", "sequences", "media_prompts"}
    ),
    "prompt": frozenset({"prompt_linear", "prompt_pipelined", "prompt_attention"}),
    "reads": frozenset({"dense_weights", "expert_weights", "kv_reads"}),
    "layers": frozenset({"layers"}),
    "work": frozenset({"denoiser", "decoder"}),
}
"""Terms that an effect of a group multiplies; effects of the group "all" multiply every term."""


REFERENCE_FLOPS = 989e12
"""Dense 16-bit FLOP/s of an H100, at which the effect of the peak is none."""

MEASURED_FLOPS = (312e12, 2250e12)
"""Least and highest peak of the accelerators that its effect was learned on, A100 and B200: beyond them it stays."""

Tags = Mapping[str, float]
"""Names of the effects that may hold, and how much of each: 1, or what the effect is proportional to."""


def tags_of(situation: Situation, case: Case) -> Tags:
    """What effects may hold for a case: engine, formats, generation, memory, kind of device; and its peak in logs."""
    gpu, precision = case.gpu, case.precision
    executed = {"fp8": gpu.fp8_dense_tflops, "fp4": gpu.fp4_dense_tflops, "int8": gpu.int8_dense_tops}
    arithmetic = precision.arithmetic if executed.get(precision.arithmetic) else "fp16"
    named = {situation.engine.id, precision.effect, f"{arithmetic}-arithmetic"}
    named |= {name for name in (gpu.generation, gpu.memory_kind, gpu.device_class) if name}
    peak = float(np.clip((gpu.fp16_dense_tflops or 0.0) * TERA, *MEASURED_FLOPS))
    return {**dict.fromkeys(sorted(named), 1.0), "peak": math.log(peak / REFERENCE_FLOPS)}


def level_of(form: Form, tags: Tags) -> tuple[str, ...]:
    """Effects of a form that multiply every term of a case."""
    return tuple(name for name in form.effects if name.startswith("all:") and name[4:] in tags)


def coefficients_of(situation: Situation, form: Form, tags: Tags) -> dict[str, Any]:
    """Draws of a form's coefficients for a case, without the effects on all terms."""
    logs = situation.parameters(form)
    found: dict[str, Any] = dict(UNLEARNED)
    for term in form.terms:
        total = logs[term]
        for effect in form.effects:
            group, _, name = effect.partition(":")
            if name in tags and term in GROUPS.get(group, ()):
                total = total + logs[effect] * tags[name]
        found[term] = np.exp(total)
    return found


def _matrix(situation: Situation, ideal: Ideal, coefficients: dict[str, Any], level: Any) -> Array:
    """Weighted terms by feature, times a level of each feature: shape (SIZE, features)."""
    columns = [full(weighted(ideal.get(name, {}), coefficients)) for name in situation.feature_names]
    weighted_terms: Array = np.stack(columns, axis=1) * level
    return weighted_terms


def _details(
    situation: Situation, form: Form, ideal: Ideal, coefficients: dict[str, Any], level: Level
) -> tuple[TermDetail, ...]:
    """The central case of a form, term by term; nothing where no trail is kept."""
    if situation.sampler.central_only:
        return ()
    return tuple(
        TermDetail(form.id, feature, term, central(value), central(coefficients[term]), level)
        for feature, terms in ideal.items()
        for term, value in terms.items()
        if term in coefficients
    )


def _unknown_engine(situation: Situation, case: Case, shape: ModelShape, form: Form) -> Any:
    """Factor on energy and time for what is not known of the engine: its age, and a service's layout of experts.

    A form of the node's own knows all of that; only a kind of model of which nothing was measured stays uncertain.
    Where times alone are a node's own, energy is a power over them, in which the engine's age is already.
    """
    if is_own(form.id) or situation.only_times_are_own:
        unlike = situation.physics_only and not situation.measured_by(form)
        return situation.drawn("physics only", "physics-only") if unlike else 1.0
    age: Any = 1.0
    if situation.setup.engine is None and situation.engine.kind == "server":
        age = situation.drawn("engine age", "engine-age")
    if situation.physics_only:
        age = age * situation.drawn("physics only", "physics-only")
    age = age * _unknown_precision(situation, case, shape)
    sparse = situation.sizes.active < situation.sizes.total
    wide = sparse and situation.sizes.total >= situation.prior("layout.wide-experts-from").value.value
    if situation.hosting.kind != "service" or not wide:
        return age
    return age * situation.drawn("parallel layout", "layout.wide-experts")


def _unknown_precision(situation: Situation, case: Case, shape: ModelShape) -> Any:
    """Factor on energy and time for a service that may serve another number format than the published one."""
    of_16_bits = situation.model.native_precision in ("bf16", "fp16", "fp32", None)
    other = bool(np.any(np.not_equal(shape.bytes_per_param, case.precision.bytes_per_param)))
    known = situation.precision_stated or situation.format_undisclosed or other
    if situation.hosting.kind != "service" or known or not of_16_bits:
        return 1.0
    return situation.drawn("precision", "precision-at-service")


def residual_kinds(sparse: bool, batch: Any) -> dict[str, Any]:
    """Kinds of case that differ in how well the served forms do: name to whether a case is of it."""
    many = np.greater(batch, MANY)
    few = ~many
    return {
        "sparse, many requests": many & sparse,
        "sparse": few & sparse,
        "dense, many requests": many & ~np.asarray(sparse),
        "dense": few & ~np.asarray(sparse),
    }


def served_residual(situation: Situation, form: Form, batch: Any) -> Any:
    """Residual of a served form for a case, by its size of batch and whether it is a mixture of experts."""
    sparse = situation.sizes.active < situation.sizes.total
    kinds = residual_kinds(sparse, full(batch))
    factor: Any = 1.0
    for kind, holds in kinds.items():
        if np.any(holds):
            factor = np.where(holds, full(situation.form_error(form, kind)), factor)
    return factor


def media_residual(situation: Situation, form: Form) -> Any:
    """Residual of a form for what a denoiser makes: that of pictures where nothing of its kind was measured."""
    return situation.form_error(form, "video" if situation.base.name == "video" else "image")


@dataclass(frozen=True, repr=False, eq=False)
class Applied:
    """A form for a case: its coefficients, its level without the residual, and what that is made of."""

    form: Form
    coefficients: dict[str, Any]
    level: Any
    effects: tuple[float, ...]
    engine: Any


def applied_form(situation: Situation, case: Case, form: Form, engine: Any) -> Applied:
    """A form for a case; `engine` is the factor for what is not known of the engine."""
    tags, logs = tags_of(situation, case), situation.parameters(form)
    names = level_of(form, tags)
    amounts = {effect: tags[effect.removeprefix("all:")] for effect in names}
    level = np.exp(sum((logs[effect] * amounts[effect] for effect in names), start=0.0)) * engine
    effects = tuple(form.effects[effect] * amounts[effect] for effect in names)
    return Applied(form, coefficients_of(situation, form, tags), level, effects, engine)


def seconds_by(situation: Situation, applied: Applied, ideal: Ideal, residual: Any) -> Rates:
    """Rates of a form that gives seconds, and its central case in detail."""
    parts = Level(central(applied.level), applied.effects, 1.0, 0.0, central(applied.engine))
    matrix = _matrix(situation, ideal, applied.coefficients, full(applied.level)[:, None] * residual)
    return matrix, _details(situation, applied.form, ideal, applied.coefficients, parts)


def joules_by(situation: Situation, applied: Applied, ideal: Ideal, of: tuple[Any, float, Any]) -> Rates:
    """Rates of a form that gives energy over the power limit of the devices, and its central case in detail.

    `of` holds the devices, their power limit [W] and the residual.
    """
    devices, power, residual = of
    joules = device_energy(1.0, devices, power, applied.level * residual)
    parts = Level(central(joules), applied.effects, central(devices), power, central(applied.engine))
    matrix = _matrix(situation, ideal, applied.coefficients, full(joules)[:, None])
    return matrix, _details(situation, applied.form, ideal, applied.coefficients, parts)


def _of_text(situation: Situation, case: Case, shape: ModelShape, name: str) -> Applied:
    """The form called `name` for a case of a model on tokens, the stated node's own where it has one."""
    form = situation.form(name)
    return applied_form(situation, case, form, _unknown_engine(situation, case, shape, form))


def served_rates(
    situation: Situation, case: Case, shape: ModelShape, replica: Replica, traffic: Traffic
) -> tuple[Rates, Array, Rates]:
    """Rates of a server by the default forms, per unit of each feature.

    Returns
    -------
    energy
        Accelerator energy of a request's share [J], shape (SIZE, features); and its central case in detail.
    seconds
        Device time of the share [s]: the duration form on the share's work.
    duration
        Time that the request sees [s]; and its central case in detail.
    """
    share = situation.base.share(shape, replica, traffic)
    by_time = _of_text(situation, case, shape, "duration.served")
    by_energy = _of_text(situation, case, shape, "energy.served")
    residual = full(served_residual(situation, by_time.form, traffic.batch))[:, None]
    of = replica.devices, case.gpu.max_power_w or 0.0, served_residual(situation, by_energy.form, traffic.batch)
    duration = seconds_by(situation, by_time, situation.base.seen(shape, replica, traffic), residual)
    seconds, _ = seconds_by(situation, by_time, share, residual)
    return joules_by(situation, by_energy, share, of), seconds, duration


def duration_rates(situation: Situation, case: Case, shape: ModelShape, replica: Replica, traffic: Traffic) -> Rates:
    """Time that the request sees per unit of each feature [s], by the default form; and its central case in detail."""
    if situation.engine.kind == "local":
        applied = _of_text(situation, case, shape, "duration.single")
        residual = _part_residual(situation, applied.form)
        return seconds_by(situation, applied, situation.base.alone(shape, replica, traffic), residual)
    applied = _of_text(situation, case, shape, "duration.served")
    residual = full(served_residual(situation, applied.form, traffic.batch))[:, None]
    return seconds_by(situation, applied, situation.base.seen(shape, replica, traffic), residual)


def _part_residual(situation: Situation, form: Form) -> Array:
    """Residual of the single-request form by feature: prompts are harder to predict than answers."""
    errors = {part: full(situation.form_error(form, part)) for part in ("prefill", "decode")}
    return np.stack([errors.get(feature.part, errors["decode"]) for feature in situation.base.features], axis=1)


def own_energy_rates(situation: Situation, case: Case, shape: ModelShape, replica: Replica, traffic: Traffic) -> Rates:
    """Accelerator energy per unit of each feature [J] of one request alone, by the form of the node's own."""
    applied = _of_text(situation, case, shape, "energy.served")
    of = replica.devices, case.gpu.max_power_w or 0.0, served_residual(situation, applied.form, traffic.batch)
    return joules_by(situation, applied, situation.base.alone(shape, replica, traffic), of)


def over_own_time(
    situation: Situation, case: Case, shape: ModelShape, replica: Replica, traffic: Traffic, energy: Any, seconds: Array
) -> Array:
    """Accelerator energy per unit of each feature [J] on a node whose times alone were measured.

    The power that the general forms expect for a feature, their energy over their time, during the node's own time;
    never below the power of waiting, nor above the limit of the boards. Over the benchmarks with both values this is
    as good as the general energy, and it stays possible where a node is much slower or faster than the others.

    Parameters
    ----------
    energy
        Of the general form [J], shape (SIZE, features), with its spread.
    seconds
        Device time of the share by the node's own form [s], shape (SIZE, features).
    """
    usual, form = situation.central(), situation.catalogue.forms["duration.served"]
    applied = applied_form(usual, case, form, 1.0)
    expected, _ = seconds_by(usual, applied, situation.base.share(shape, replica, traffic), 1.0)
    least = full(replica.devices * idle_power(situation, case.gpu))[:, None]
    most = full(replica.devices * (case.gpu.max_power_w or 0.0))[:, None]
    power = np.divide(energy, expected, out=np.zeros_like(energy), where=expected > 0)
    power = np.clip(power, np.minimum(least, most), most)
    for place in np.flatnonzero(seconds[0] > 0):
        name, watts = situation.feature_names[place], Range(*map(float, bounds(power[:, place])))
        reason = "energy over time by the general forms, from idle power to the limit of the boards"
        situation.note(f"power over the node's own time, {name}", watts, "W", "derived", reason)
    drawn: Array = seconds * power
    return drawn


def local_energy_rates(situation: Situation, case: Case, seconds: Array, devices: Any) -> Array:
    """Accelerator energy per unit of each feature [J] where one request runs alone: power times time.

    One device works while the others, if any, hold their layers and wait, unless all work on every layer.
    """
    limit = case.gpu.max_power_w or 0.0
    together = situation.engine.split == "tensors"
    limit = limit * (devices if together else 1.0)
    waiting = 0.0 if together else waiting_power(situation, case, devices)
    shared = case.gpu.memory_kind == "unified"
    names = dict.fromkeys(("prefill", "decode"), "unified") if shared else {"prefill": "prompt", "decode": "answer"}
    parts = {
        part: situation.drawn(f"power of a busy device:{name}", f"power-share.{name}", maximum=1.0) * limit
        for part, name in names.items()
    }
    watts = np.stack([full(parts.get(feature.part, parts["decode"])) for feature in situation.base.features], axis=1)
    return seconds * (watts + full(waiting)[:, None])


def waiting_power(situation: Situation, case: Case, devices: Any) -> Any:
    """Power of the devices that hold layers and wait while another one works [W]."""
    if not np.any(np.greater(devices, 1)):
        return 0.0
    return (full(devices) - 1.0) * full(idle_power(situation, case.gpu))


def two_term_rates(situation: Situation, shape: ModelShape, replica: Replica) -> tuple[Array, tuple[TermDetail, ...]]:
    """Duration per unit of each feature [s], by the two-term form; and its central case in detail."""
    form = situation.catalogue.forms["two-term"]
    ideal: Ideal = {
        "fresh_input_tokens": {"prefill": two_term_prefill_seconds(shape, replica)},
        "output_tokens": {"decode": two_term_decode_seconds(shape, replica)},
    }
    logs = situation.parameters(form)
    coefficients = {term: np.exp(logs[term]) for term in form.terms}
    residual = full(situation.form_error(form, situation.engine.kind))
    parts = Level(1.0, (), 1.0, 0.0, 1.0)
    return _matrix(situation, ideal, coefficients, residual[:, None]), _details(
        situation, form, ideal, coefficients, parts
    )


def measured_rates(situation: Situation, power: Any, share: Any, batch: Any) -> tuple[Array, Array, Array]:
    """Rates where device time was measured: everything hangs on the measured seconds."""
    duration = measured_duration(situation.base)
    seconds = duration / full(batch)[:, None]
    energy = device_energy(seconds, 1.0, full(power)[:, None], full(share)[:, None])
    return energy, seconds, duration


def measured_duration(modality: Modality) -> Array:
    """Duration rates where the time was measured: it is what it is."""
    found = np.zeros((SIZE, len(modality.features)))
    found[:, modality.names.index("measured_seconds")] = 1.0
    return found


def with_measured_time(modality: Modality, duration: Array, setup: MachineSetup) -> Array:
    """Duration rates in which a measured time stands where the form predicted it."""
    if setup.measured_seconds is not None:
        return measured_duration(modality)
    if setup.measured_seconds_per_token is not None:
        return with_decode_rate(duration, setup.measured_seconds_per_token)
    return duration


def within_limit(situation: Situation, duration: Array, window: float, batch: Any) -> Array:
    """Duration rates in which a token of the answer takes at most the stated limit, unless one request misses it."""
    limit = situation.setup.max_seconds_per_token
    if limit is None or situation.batch_is_known:
        return duration
    per_token = duration @ decode_per_token(situation.modality, situation.usual_lengths, window)
    return with_decode_rate(duration, np.where(full(batch) > 1, np.minimum(per_token, limit), per_token))


def with_decode_rate(rates: Array, per_output_token: Any) -> Array:
    """Rates in which everything of the answer hangs on its tokens, at `per_output_token` each."""
    decode = np.array([feature.part == "decode" for feature in TEXT.features])
    changed: Array = np.where(decode, 0.0, rates)
    changed[:, TEXT.names.index("output_tokens")] = per_output_token
    return changed
