"""The learned forms: unit rates of energy and duration with draws."""

from __future__ import annotations

from typing import Any

import numpy as np

from inferprint.catalogue import Form, Gpu, Precision
from inferprint.modalities.base import Ideal
from inferprint.modalities.text import TEXT
from inferprint.physics.power import device_energy
from inferprint.physics.terms import (
    ModelShape,
    Replica,
    Traffic,
    two_term_decode_seconds,
    two_term_prefill_seconds,
    weighted,
)
from inferprint.rates.card import Level, TermDetail
from inferprint.rates.draws import SIZE, Array, central, full
from inferprint.rates.setup import MachineSetup
from inferprint.rates.situation import FEATURE_NAMES, Case, Situation
from inferprint.units import GIGA, TERA

MEASURED = FEATURE_NAMES.index("measured_seconds")


def replica_of(gpu: Gpu, precision: Precision, devices: Any, situation: Situation, *, executed: bool) -> Replica:
    """The devices of a replica, with the peak that the form's arithmetic terms were fitted with."""
    peak_16 = (gpu.fp16_dense_tflops or 0.0) * TERA
    peaks = {
        "fp8": gpu.fp8_dense_tflops,
        "int8": gpu.int8_dense_tops,
        "fp4": gpu.fp4_dense_tflops or gpu.fp8_dense_tflops,
        "fp32": (gpu.fp16_dense_tflops or 0.0) / 2,
    }
    peak = (peaks.get(precision.arithmetic) or gpu.fp16_dense_tflops or 0.0) * TERA
    link = gpu.link_gb_per_s or situation.prior("link-bandwidth").value.value
    return Replica(
        devices=devices,
        bandwidth=(gpu.memory_bandwidth_gb_per_s or 0.0) * GIGA,
        flops_16=peak_16,
        flops=peak if executed else peak_16,
        # Published link rates count both directions.
        link_bandwidth=link * GIGA / 2,
    )


def _matrix(ideal: Ideal, coefficients: dict[str, Any], level: Any) -> Array:
    """Weighted terms by feature, times a level: shape (SIZE, features)."""
    columns = [full(weighted(ideal.get(name, {}), coefficients)) for name in FEATURE_NAMES]
    return np.stack(columns, axis=1) * full(level)[:, None]


def _details(form: Form, ideal: Ideal, coefficients: dict[str, Any], level: Level) -> tuple[TermDetail, ...]:
    """The central case of a form, term by term."""
    return tuple(
        TermDetail(form.id, feature, term, central(value), central(coefficients[term]), level)
        for feature, terms in ideal.items()
        for term, value in terms.items()
        if term in coefficients
    )


def _unknown_engine(situation: Situation) -> Any:
    """Factor on energy and time for what is not known of the engine: its age, and a service's layout of experts."""
    age = situation.drawn("engine age", "engine-age") * _unknown_precision(situation)
    sparse = situation.sizes.active < situation.sizes.total
    wide = sparse and situation.sizes.total >= situation.prior("layout.wide-experts-from").value.value
    if situation.hosting.kind != "service" or not wide:
        return age
    return age * situation.drawn("parallel layout", "layout.wide-experts")


def _unknown_precision(situation: Situation) -> Any:
    """Factor on energy and time for a service that may serve another number format than the published one."""
    of_16_bits = situation.model.native_precision in ("bf16", "fp16", "fp32", None)
    if situation.hosting.kind != "service" or situation.precision_stated or not of_16_bits:
        return 1.0
    return situation.drawn("precision", "precision-at-service")


def energy_rates(
    situation: Situation, case: Case, shape: ModelShape, replica: Replica, traffic: Traffic
) -> tuple[Array, tuple[TermDetail, ...]]:
    """Accelerator energy per unit of each feature [J], by the default form; and its central case in detail."""
    form = situation.catalogue.forms["energy.default"]
    names = (case.gpu.generation or "", case.precision.effect)
    effects = tuple(form.effects[name] for name in names if name in form.effects)
    engine, power = _unknown_engine(situation), case.gpu.max_power_w or 0.0
    level = np.exp(sum(effects)) * situation.form_error(form, "energy form") * engine
    joules = device_energy(1.0, replica.devices, power, level)
    ideal, coefficients = TEXT.share(shape, replica, traffic), situation.coefficients(form)
    parts = Level(central(joules), effects, central(replica.devices), power, central(engine))
    return _matrix(ideal, coefficients, joules), _details(form, ideal, coefficients, parts)


def duration_rates(
    situation: Situation, shape: ModelShape, replica: Replica, traffic: Traffic
) -> tuple[Array, tuple[TermDetail, ...]]:
    """Time that the request sees per unit of each feature [s], by the default form; and its central case in detail."""
    form = situation.catalogue.forms["duration.default"]
    engine = _unknown_engine(situation)
    level = situation.form_error(form, "duration form") * engine
    ideal, coefficients = TEXT.seen(shape, replica, traffic), situation.coefficients(form)
    parts = Level(central(level), (), central(replica.devices), 0.0, central(engine))
    return _matrix(ideal, coefficients, level), _details(form, ideal, coefficients, parts)


def two_term_rates(situation: Situation, shape: ModelShape, replica: Replica) -> tuple[Array, tuple[TermDetail, ...]]:
    """Duration per unit of each feature [s], by the two-term form; and its central case in detail."""
    form = situation.catalogue.forms["two-term"]
    level = situation.form_error(form, "two-term form")
    ideal: Ideal = {
        "fresh_input_tokens": {"prefill": two_term_prefill_seconds(shape, replica)},
        "output_tokens": {"decode": two_term_decode_seconds(shape, replica)},
    }
    coefficients = situation.coefficients(form)
    parts = Level(central(level), (), central(replica.devices), 0.0, 1.0)
    return _matrix(ideal, coefficients, level), _details(form, ideal, coefficients, parts)


def measured_rates(power: Any, share: Any, batch: Any) -> tuple[Array, Array, Array]:
    """Rates where device time was measured: everything hangs on the measured seconds."""
    empty = np.zeros((SIZE, len(FEATURE_NAMES)))
    energy, seconds, duration = empty.copy(), empty.copy(), empty.copy()
    seconds[:, MEASURED] = 1.0 / full(batch)
    energy[:, MEASURED] = full(device_energy(seconds[:, MEASURED], 1.0, power, share))
    duration[:, MEASURED] = 1.0
    return energy, seconds, duration


def with_measured_time(duration: Array, setup: MachineSetup) -> Array:
    """Duration rates in which a measured time stands where the form predicted it."""
    if setup.measured_seconds is not None:
        measured = np.zeros_like(duration)
        measured[:, MEASURED] = 1.0
        return measured
    if setup.measured_seconds_per_token is not None:
        return with_decode_rate(duration, setup.measured_seconds_per_token)
    return duration


def with_decode_rate(rates: Array, per_output_token: Any) -> Array:
    """Rates in which everything of the answer hangs on its tokens, at `per_output_token` each."""
    decode = np.array([feature.part == "decode" for feature in TEXT.features])
    changed: Array = np.where(decode, 0.0, rates)
    changed[:, FEATURE_NAMES.index("output_tokens")] = per_output_token
    return changed
