"""From a machine setup to a machine card: fills what is unknown, writes down why, and draws it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from inferprint.catalogue import (
    Catalogue,
    Form,
    Gpu,
    Model,
    ModelMatch,
    Node,
    Precision,
    Prior,
    resolve_model,
    resolve_precision,
)
from inferprint.errors import DoesNotFit, InvalidInput
from inferprint.impact.embodied import embodied_share
from inferprint.modalities.base import Ideal
from inferprint.modalities.text import TEXT
from inferprint.physics import serving
from inferprint.physics.node import host_energy, host_share, idle_energy
from inferprint.physics.power import device_energy, device_seconds
from inferprint.physics.terms import (
    TERM_EQUATIONS,
    ModelShape,
    Replica,
    Traffic,
    two_term_decode_seconds,
    two_term_prefill_seconds,
    weighted,
)
from inferprint.provenance.trace import Trail
from inferprint.quantities import EQUATIONS, Range, Tier
from inferprint.rates.card import MachineCard, MachineDraws, TermDetail
from inferprint.rates.draws import SIZE, Array, Sampler, full
from inferprint.rates.hosting import Candidate, Hosting, does_not_fit, find_hosting, usable_candidates
from inferprint.rates.model import Sizes, model_shape, model_sizes
from inferprint.rates.setup import MachineSetup
from inferprint.techniques.apply import parse, rewritten, stated_precision
from inferprint.units import BYTES_PER_GB, GIGA, GRAMS_PER_KG, ML_PER_L, SECONDS_PER_YEAR, TERA

FEATURE_NAMES = tuple(feature.name for feature in TEXT.features)
MEASURED = FEATURE_NAMES.index("measured_seconds")
HARDWARE_FIELDS = (
    ("memory_gb", "GB"),
    ("memory_bandwidth_gb_per_s", "GB/s"),
    ("fp16_dense_tflops", "TFLOP/s"),
    ("fp8_dense_tflops", "TFLOP/s"),
    ("max_power_w", "W"),
    ("idle_power_w", "W"),
    ("idle_loaded_power_w", "W"),
    ("link_gb_per_s", "GB/s, both directions"),
    ("embodied_kgco2e", "kgCO2e"),
    ("embodied_water_l", "L"),
)
NODE_FIELDS = (
    ("gpu_count", "devices"),
    ("host_active_power_w", "W"),
    ("host_idle_power_w", "W"),
    ("host_embodied_kgco2e", "kgCO2e"),
    ("host_embodied_water_l", "L"),
    ("use_life_years", "years"),
)
WIDE_EXPERTS_FROM_B = 200.0
"""Total size from which services spread the experts of a mixture over many nodes [1e9 parameters]."""

BISECTIONS = 40
MAX_BATCH = 65536
"""Requests per step above this are taken for a mistake."""


@dataclass(frozen=True, slots=True)
class Case:
    """One accelerator with one number format of the weights."""

    candidate: Candidate
    precision: Precision

    @property
    def gpu(self) -> Gpu:
        """The accelerator."""
        return self.candidate.gpu

    @property
    def node(self) -> Node | None:
        """The machine whose host serves it."""
        return self.candidate.node


@dataclass(slots=True)
class Situation:
    """What all cases of a setup share."""

    catalogue: Catalogue
    setup: MachineSetup
    model: Model
    sizes: Sizes
    hosting: Hosting
    trail: Trail
    sampler: Sampler
    noted: set[str]

    def prior(self, name: str) -> Prior:
        """An assumption of the catalogue."""
        return self.catalogue.priors[name]

    def drawn(self, source: str, name: str, *, minimum: float = 0.0, maximum: float = float("inf")) -> Any:
        """Draws of a prior, which is recorded as an assumption."""
        prior = self.prior(name)
        if name not in self.noted:
            self.noted.add(name)
            self.trail.add(name, prior.value, prior.unit, "assumed", prior.meaning, prior.origin("value"))
        return self.sampler.spread(source, prior.value, minimum=minimum, maximum=maximum)

    def coefficients(self, form: Form) -> dict[str, Any]:
        """Draws of a form's coefficients; those of the prompt share one error."""
        return {
            term: self.sampler.spread(f"{form.id} prompt weight" if "prompt" in term else f"{form.id} {term}", bounds)
            for term, bounds in form.terms.items()
        }

    @property
    def traffic_lengths(self) -> tuple[Any, Any]:
        """Usual prompt and answer lengths of the other requests [tokens]."""
        return (
            self.drawn("lengths of other requests:input", "mix.input-tokens"),
            self.drawn("lengths of other requests:output", "mix.output-tokens", minimum=1.0),
        )


def resolve_machine(catalogue: Catalogue, setup: MachineSetup) -> MachineCard:
    """Resolve a setup into a machine card.

    Raises
    ------
    UnknownName, Undisclosed, DoesNotFit, InvalidInput
        See `inferprint.errors`.
    """
    trail, sampler = Trail(), Sampler()
    uses = parse(setup.techniques)
    match = resolve_model(catalogue, setup.model_id)
    for technique, values in uses:
        stated = ", ".join(f"{key} = {value}" for key, value in values.items())
        trail.add(f"technique {technique.name}", stated, "", "given", f"{technique.equation} ({technique.reference})")
    trail.add("model_id", match.model.id, "", "given", f"'{setup.model_id}' {match.how}", match.model.origin("developer"))
    sizes = model_sizes(match.model, setup.total_params_b, setup.active_params_b, trail)
    setup = _with_service(catalogue, setup, match, trail)
    hosting = find_hosting(catalogue, setup, match.model, trail)
    situation = Situation(catalogue, setup, match.model, sizes, hosting, trail, sampler, set())
    precisions = _precisions(situation, match, stated_precision(uses))
    shape = model_shape(catalogue, match.model, sizes, precisions[0], trail, sampler)
    candidates, cases = _cases(situation, shape, precisions)
    draws = _mixed(situation, shape, candidates, precisions, cases)
    _record_operating_point(situation, draws)
    node = hosting.candidates[0].node if hosting.kind == "cloud" else None
    return MachineCard(
        model=match.model.id,
        modality=rewritten(TEXT, uses),
        draws=draws,
        window=float(shape.window_tokens),
        context_length=match.model.context_length,
        sources=sampler.sources,
        trail=trail,
        tier=_tier(situation),
        coefficients=catalogue.forms["energy.default"].status,
        hosting=hosting.kind,
        cloud=node.cloud if node is not None else None,
        service=hosting.service.id if hosting.service is not None else None,
        region_hint=match.region_hint,
        country_hint=match.country_hint,
    )


def _with_service(catalogue: Catalogue, setup: MachineSetup, match: ModelMatch, trail: Trail) -> MachineSetup:
    """Take the service from the model's name, or from its developer, where the caller names no host at all."""
    if setup.managed_service_id or setup.node_id or setup.gpu_id or setup.cloud_instance_id:
        return setup
    if match.service_hint:
        trail.add("managed_service_id", match.service_hint, "", "assumed", f"stated by the name '{setup.model_id}'")
        return replace(setup, managed_service_id=match.service_hint)
    if match.model.total_params_b is None:
        for service in catalogue.services.values():
            if match.model.developer in service.developers:
                trail.add("managed_service_id", service.id, "", "assumed", "the developer's own service: none stated")
                return replace(setup, managed_service_id=service.id)
    return setup


def _precisions(situation: Situation, match: ModelMatch, technique: str | None) -> list[Precision]:
    """Number formats of the weights: the stated one, else the published one, at a service perhaps fp8 too."""
    catalogue, trail = situation.catalogue, situation.trail
    if technique and situation.setup.precision:
        raise InvalidInput("precision", "given beside the technique 'quantisation'", hint="Give one of them.")
    stated = technique or situation.setup.precision or match.precision_hint
    if stated:
        precision = resolve_precision(catalogue, stated)
        trail.add("precision", precision.id, "", "given", "stated", precision.origin("bytes_per_param"))
        return [precision]
    native = situation.model.native_precision
    precision = resolve_precision(catalogue, native or "bf16")
    how, reason = ("catalogue", "the format in which the model was published") if native else ("assumed", "unknown")
    trail.add("precision", precision.id, "", how, reason, precision.origin("bytes_per_param"))  # type: ignore[arg-type]
    if situation.hosting.kind != "service" or precision.arithmetic not in ("fp16", "fp32") or "fp4" in precision.id:
        return [precision]
    trail.add("precision at the service", f"{precision.id} or fp8", "", "assumed", "hosts rarely say; equally likely")
    return [precision, resolve_precision(catalogue, "fp8")]


def _cases(
    situation: Situation, shape: ModelShape, precisions: list[Precision]
) -> tuple[list[Candidate], list[MachineDraws]]:
    """Rates of every candidate with every format, and the candidates that hold the model in all of them."""
    kept: list[Candidate] = []
    cases: list[MachineDraws] = []
    refused: DoesNotFit | None = None
    for candidate in usable_candidates(situation.hosting, situation.trail):
        try:
            rates = [
                _rates(situation, Case(candidate, p), replace(shape, bytes_per_param=p.bytes_per_param))
                for p in precisions
            ]
        except DoesNotFit as error:
            refused = error
            situation.trail.warnings.append(f"left out: {candidate.gpu.name} cannot hold the model")
            continue
        kept.append(candidate)
        cases += rates
    if refused is not None and not kept:
        raise refused
    return kept, cases


def _mixed(
    situation: Situation,
    shape: ModelShape,
    candidates: list[Candidate],
    precisions: list[Precision],
    cases: list[MachineDraws],
) -> MachineDraws:
    """One card of several cases: central is the median accelerator, drawn by weight."""
    weights = np.array([c.weight for c in candidates])
    reference = _features(*(situation.prior(f"mix.{part}-tokens").value.value for part in ("input", "output")), shape)
    central = weighted_median(
        np.array([float(cases[i * len(precisions)].energy[0] @ reference) for i in range(len(candidates))]), weights
    )
    _record_hardware(situation, candidates[central])
    if len(candidates) > 1:
        situation.trail.add(
            "central hardware",
            candidates[central].gpu.id,
            "",
            "derived",
            "the likely accelerator of median energy for a usual request gives the value, all of them the interval",
        )
    service = situation.hosting.service.id if situation.hosting.service else "unstated"
    hardware = situation.sampler.choice(f"hardware:{service}", weights, central)
    precision = situation.sampler.choice(f"precision:{service}", np.ones(len(precisions)), 0)
    return MachineDraws.picked(cases, hardware * len(precisions) + precision)


def _record_hardware(situation: Situation, candidate: Candidate) -> None:
    """Write down the published values of the central hardware, and the coefficients."""
    trail, gpu, node = situation.trail, candidate.gpu, candidate.node
    for name, unit in HARDWARE_FIELDS:
        value = getattr(gpu, name)
        if value is not None:
            trail.add(f"{gpu.id} {name}", value, unit, "catalogue", f"{name} of {gpu.name}", gpu.origin(name))
        elif name.startswith("embodied"):
            stand_in = _embodied(situation, gpu, name)
            trail.add(f"{gpu.id} {name}", stand_in, unit, "assumed", "unknown: median and spread of all accelerators")
    for name, unit in NODE_FIELDS if node is not None and gpu.power_boundary != "system" else ():
        value = getattr(node, name)
        if value is not None and node is not None:
            trail.add(f"{node.id} {name}", value, unit, "catalogue", f"{name} of {node.id}", node.origin(name))
    if node is None:
        trail.warnings.append(f"no host is known for {gpu.name}: energy and manufacture of a host are left out")
    for form in situation.catalogue.forms.values():
        for term, bounds in form.terms.items():
            trail.add(f"{form.id} {term}", bounds, "", "catalogue", f"{form.status} coefficient", form.origin("terms"))


def weighted_median(values: Array, weights: Array) -> int:
    """Index of the lower weighted median."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) >= weights.sum() / 2
    return int(order[int(np.argmax(reached))])


def _replica(gpu: Gpu, precision: Precision, devices: Any, situation: Situation, *, executed: bool) -> Replica:
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


@dataclass(frozen=True, slots=True)
class _Memory:
    """How an engine uses a device's memory."""

    device_bytes: float
    usable: float
    overhead: float
    work_bytes: float

    @property
    def arguments(self) -> tuple[float, float, float, float]:
        return self.device_bytes, self.usable, self.overhead, self.work_bytes


def _memory(situation: Situation, gpu: Gpu) -> _Memory:
    return _Memory(
        (gpu.memory_gb or 0.0) * BYTES_PER_GB,
        situation.prior("memory.usable-share").value.value,
        situation.prior("memory.weight-overhead").value.value,
        situation.prior("memory.work-bytes").value.value,
    )


def _batch_prior(situation: Situation) -> Prior:
    """The batch to assume, by the class of the host."""
    hosting = situation.hosting
    if hosting.service is not None:
        kind: str = hosting.service.serving_class
        if kind == "closed":
            small = situation.sizes.total < situation.prior("small-model-params").value.value
            kind = "closed-small" if small else "closed-large"
    else:
        kind = {"service": "unknown", "cloud": "self-hosted", "own": "self-hosted", "desk": "local"}[hosting.kind]
    return situation.prior(f"batch.{kind}")


def _rates(situation: Situation, case: Case, shape: ModelShape) -> MachineDraws:
    """Rates of one case, with draws."""
    devices, batch = _operating_point(situation, case, shape)
    n_in, n_out = situation.traffic_lengths
    traffic = Traffic(batch, n_in, n_out)
    gpu = case.gpu
    power = devices * (gpu.max_power_w or 0.0)
    share = situation.drawn("power of a busy device", "power-share.serving", maximum=1.0)
    replica = _replica(gpu, case.precision, devices, situation, executed=False)
    energy, energy_details = _energy(situation, case, shape, replica, traffic)
    seconds = device_seconds(energy, full(devices)[:, None], gpu.max_power_w, full(share)[:, None])
    duration, duration_details = _duration(situation, shape, replica, traffic)
    executed = _replica(gpu, case.precision, devices, situation, executed=True)
    two_duration, two_details = _two_term(situation, shape, executed)
    two_seconds = two_duration / full(batch)[:, None]
    two_energy = device_energy(two_seconds, full(devices)[:, None], gpu.max_power_w, 1.0)
    if situation.setup.method != "default":
        energy, seconds, duration = two_energy, two_seconds, two_duration
        share = 1.0
    if device_time_measured(situation):
        energy, seconds, duration = _measured(power, share, batch)
    return MachineDraws(
        energy, seconds, duration, two_energy, two_seconds, two_duration,
        *_per_second(situation, case, devices), full(devices), full(batch),
        details=(*energy_details, *duration_details, *two_details),
    )  # fmt: skip


def device_time_measured(situation: Situation) -> bool:
    """True where a measured duration is the device time of a known batch: given, or 1 on a desk."""
    setup = situation.setup
    if setup.device_time_measured:
        return True
    prior = _batch_prior(situation).value
    return setup.measured_seconds is not None and setup.batch_size is None and prior.low == prior.high


def _matrix(ideal: Ideal, coefficients: dict[str, Any], level: Any) -> Array:
    """Weighted terms by feature, times a level: shape (SIZE, features)."""
    columns = [full(weighted(ideal.get(name, {}), coefficients)) for name in FEATURE_NAMES]
    return np.stack(columns, axis=1) * full(level)[:, None]


def _details(form: Form, ideal: Ideal, coefficients: dict[str, Any], factor: Any) -> tuple[TermDetail, ...]:
    """The central case of a form, term by term."""
    return tuple(
        TermDetail(form.id, feature, term, *(float(full(x)[0]) for x in (value, coefficients[term], factor)))
        for feature, terms in ideal.items()
        for term, value in terms.items()
        if term in coefficients
    )


def _unknown_engine(situation: Situation) -> Any:
    """Factor on energy and time for what is not known of the engine: its age, and a service's layout of experts."""
    age = situation.drawn("engine age", "engine-age")
    sparse = situation.sizes.active < situation.sizes.total
    if situation.hosting.kind != "service" or not sparse or situation.sizes.total < WIDE_EXPERTS_FROM_B:
        return age
    return age * situation.drawn("parallel layout", "layout.wide-experts")


def _energy(
    situation: Situation, case: Case, shape: ModelShape, replica: Replica, traffic: Traffic
) -> tuple[Array, tuple[TermDetail, ...]]:
    """Accelerator energy per unit of each feature [J], by the default form; and its central case in detail."""
    form = situation.catalogue.forms["energy.default"]
    effect = form.effects.get(case.gpu.generation or "", 0.0) + form.effects.get(case.precision.effect, 0.0)
    level = np.exp(effect) * situation.sampler.residual("energy form", form.residual_sigma)
    joules = device_energy(1.0, replica.devices, case.gpu.max_power_w, level * _unknown_engine(situation))
    ideal, coefficients = TEXT.share(shape, replica, traffic), situation.coefficients(form)
    return _matrix(ideal, coefficients, joules), _details(form, ideal, coefficients, joules)


def _duration(
    situation: Situation, shape: ModelShape, replica: Replica, traffic: Traffic
) -> tuple[Array, tuple[TermDetail, ...]]:
    """Time that the request sees per unit of each feature [s], by the default form; and its central case in detail."""
    form = situation.catalogue.forms["duration.default"]
    level = situation.sampler.residual("duration form", form.residual_sigma) * _unknown_engine(situation)
    ideal, coefficients = TEXT.seen(shape, replica, traffic), situation.coefficients(form)
    return _matrix(ideal, coefficients, level), _details(form, ideal, coefficients, level)


def _two_term(situation: Situation, shape: ModelShape, replica: Replica) -> tuple[Array, tuple[TermDetail, ...]]:
    """Duration per unit of each feature [s], by the two-term form; and its central case in detail."""
    form = situation.catalogue.forms["two-term"]
    level = situation.sampler.residual("two-term form", form.residual_sigma)
    ideal: Ideal = {
        "fresh_input_tokens": {"prefill": two_term_prefill_seconds(shape, replica)},
        "output_tokens": {"decode": two_term_decode_seconds(shape, replica)},
    }
    coefficients = situation.coefficients(form)
    return _matrix(ideal, coefficients, level), _details(form, ideal, coefficients, level)


def _measured(power: Any, share: Any, batch: Any) -> tuple[Array, Array, Array]:
    """Rates where device time was measured: everything hangs on the measured seconds."""
    empty = np.zeros((SIZE, len(FEATURE_NAMES)))
    energy, seconds, duration = empty.copy(), empty.copy(), empty.copy()
    seconds[:, MEASURED] = 1.0 / full(batch)
    energy[:, MEASURED] = full(device_energy(seconds[:, MEASURED], 1.0, power, share))
    duration[:, MEASURED] = 1.0
    return energy, seconds, duration


def _operating_point(situation: Situation, case: Case, shape: ModelShape) -> tuple[Any, Any]:
    """Devices of the replica and requests that share its steps."""
    setup, memory = situation.setup, _memory(situation, case.gpu)
    given = setup.batch_size
    if given is not None and not 1 <= given <= MAX_BATCH:
        raise InvalidInput("batch_size", f"{given:g} requests", hint=f"1 to {MAX_BATCH}.")
    prior = _batch_prior(situation)
    name = situation.hosting.service.id if situation.hosting.service else situation.hosting.kind
    batch = given or situation.sampler.spread(f"batch size:{name}", prior.value, minimum=1.0)
    n_in, n_out = (situation.prior(f"mix.{part}-tokens").value.value for part in ("input", "output"))
    context = n_in + n_out
    devices = _replica_devices(situation, shape, batch, context, memory)
    fits = serving.batch_that_fits(shape, context, devices, *memory.arguments)
    if full(fits)[0] <= 0:
        raise _no_room(situation, case, shape, float(full(devices)[0]), memory)
    if given is not None and full(fits)[0] < given:
        situation.trail.warnings.append(
            f"{given:g} requests of {context:g} tokens exceed the memory of {full(devices)[0]:g} x {case.gpu.name}, "
            f"which holds {full(fits)[0]:.0f}: they fit only if they are shorter"
        )
    if given is None:
        batch = np.clip(batch, 1.0, np.maximum(fits, 1.0))
    target = _measured_target(situation, shape)
    if target is not None and given is None and prior.value.low != prior.value.high:
        batch = _solved_batch(situation, case, shape, (devices, np.maximum(fits, 1.0)), target)
    return devices, batch


def _replica_devices(situation: Situation, shape: ModelShape, batch: Any, context: float, memory: _Memory) -> Any:
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
        usual = _features(*(situation.prior(f"mix.{part}-tokens").value.value for part in ("input", "output")), shape)
        decode = np.array([feature.part == "decode" for feature in TEXT.features])
        return usual * decode / usual[FEATURE_NAMES.index("output_tokens")], setup.measured_seconds_per_token
    if setup.measured_seconds is not None and setup.measured_work is not None:
        n_in, cached, n_out = setup.measured_work
        return _features(n_in, n_out, shape, cached=cached), setup.measured_seconds
    return None


def _features(n_in: float, n_out: float, shape: ModelShape, *, cached: float = 0.0) -> Array:
    """Features of one request."""
    work = {
        "input_tokens": n_in,
        "cached_input_tokens": cached,
        "output_tokens": n_out,
        "n_requests": 1.0,
        "measured_seconds": 0.0,
    }
    return np.array(TEXT.count(work, float(shape.window_tokens), min), dtype=float)


def _no_room(situation: Situation, case: Case, shape: ModelShape, devices: float, memory: _Memory) -> DoesNotFit:
    """The error for weights that exceed the memory of the devices."""
    needed = serving.memory_needed(shape, 0.0, 0.0, devices, memory.overhead, memory.work_bytes)
    available = memory.usable * memory.device_bytes * devices
    what = f"{situation.model.id} in {case.precision.id}"
    return does_not_fit(what, f"{devices:g} x {case.gpu.name}", float(full(needed)[0]), available)


def _solved_batch(
    situation: Situation, case: Case, shape: ModelShape, room: tuple[Any, Any], target: tuple[Array, float]
) -> Array:
    """The batch at which the default form gives the measured time, by bisection in logs; 1 to what fits.

    `room` is the replica's devices and the requests that fit; `target` the features and seconds of the measurement.
    """
    devices, most = room
    features, seconds = target
    replica = _replica(case.gpu, case.precision, devices, situation, executed=False)
    n_in, n_out = situation.traffic_lengths
    low, high = np.zeros(SIZE), np.log(full(most))
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        slow = _duration(situation, shape, replica, Traffic(np.exp(middle), n_in, n_out))[0] @ features > seconds
        low, high = np.where(slow, low, middle), np.where(slow, middle, high)
    fastest = float(_duration(situation, shape, replica, Traffic(full(1.0), n_in, n_out))[0][0] @ features)
    if fastest > seconds:
        situation.trail.warnings.append(
            f"the measured {seconds:.3g} s is shorter than one request alone takes on {case.gpu.name} ({fastest:.3g} s): "
            "speculative decoding, more devices or fewer bits are likely; a batch of 1 is used"
        )
    return np.exp((low + high) / 2)


def _per_second(situation: Situation, case: Case, devices: Any) -> tuple[Array, Array, Array, Array]:
    """Host power, idle power and manufacture charged per second of device time [W], [W], [g/s], [mL/s]."""
    gpu, node, sampler = case.gpu, case.node, situation.sampler
    hosted = node is not None and gpu.power_boundary != "system"
    share = host_share(devices, float(node.gpu_count)) if node is not None and hosted else 0.0
    active = _active_share(situation)
    host_spread = situation.drawn(f"host power:{node.id if node else ''}", "host-power.spread")
    host_active = (node.host_active_power_w or 0.0) * host_spread if node is not None and hosted else 0.0
    host_idle = (node.host_idle_power_w or 0.0) * host_spread if node is not None and hosted else 0.0
    life = _life_seconds(situation, node)
    device_kg = sampler.spread(f"accelerator manufacture:{gpu.id}", _embodied(situation, gpu, "embodied_kgco2e"))
    device_l = sampler.spread(f"accelerator water:{gpu.id}", _embodied(situation, gpu, "embodied_water_l"))
    host_kg, host_l = _host_manufacture(situation, node) if hosted else (0.0, 0.0)
    return (
        full(host_energy(1.0, share, host_active)),
        full(idle_energy(1.0, devices, _idle_power(situation, gpu), share, host_idle, active)),
        full(embodied_share(1.0, devices, device_kg, share, host_kg, active, life) * GRAMS_PER_KG),
        full(embodied_share(1.0, devices, device_l, share, host_l, active, life) * ML_PER_L),
    )


def _active_share(situation: Situation) -> Any:
    """Share of powered time with at least one request."""
    given = situation.setup.active_share
    if given is not None:
        if not 0 < given <= 1:
            raise InvalidInput("active_share", f"{given:g} is not a share", hint="Above 0, at most 1.")
        return given
    if situation.setup.method == "seed":
        return 1.0
    kind = situation.hosting.kind
    name = {"service": "public", "cloud": "private", "own": "own", "desk": "own"}[kind]
    return situation.drawn(f"active share:{name}", f"active-share.{name}", minimum=0.01, maximum=1.0)


def _idle_power(situation: Situation, gpu: Gpu) -> Any:
    """Power of one device with the model loaded and no request [W]."""
    known = gpu.idle_loaded_power_w if gpu.idle_loaded_power_w is not None else gpu.idle_power_w
    if known is not None:
        return known * situation.drawn(f"idle power:{gpu.id}", "idle-power.spread")
    kind = "datacenter" if gpu.device_class in ("datacenter", "tpu", "asic", "cpu") else "consumer"
    return (gpu.max_power_w or 0.0) * situation.drawn(f"idle power:{gpu.id}", f"idle-power.{kind}")


def _life_seconds(situation: Situation, node: Node | None) -> Any:
    """Use life of the hardware [s]."""
    if node is not None and node.use_life_years is not None:
        return node.use_life_years * SECONDS_PER_YEAR * situation.drawn("use life", "use-life.spread")
    return SECONDS_PER_YEAR * situation.drawn("use life", "use-life")


def _embodied(situation: Situation, gpu: Gpu, name: str) -> Range:
    """Manufacture of one device; where it is unknown, the spread over all accelerators that are known."""
    known: Range | None = getattr(gpu, name)
    if known is not None:
        return known
    others = [value for other in situation.catalogue.gpus.values() if (value := getattr(other, name)) is not None]
    return Range(
        float(np.median([value.value for value in others])),
        min(value.low for value in others),
        max(value.high for value in others),
    )


def _host_manufacture(situation: Situation, node: Node | None) -> tuple[Any, Any]:
    """Manufacture of a node's host [kgCO2e], [L]; what is not catalogued is left out of the host and noted."""
    if node is None:
        return 0.0, 0.0
    kg = node.host_embodied_kgco2e
    spread_kg = situation.sampler.spread(f"host manufacture:{node.id}", kg) if kg is not None else 0.0
    litres = node.host_embodied_water_l
    spread_l = litres * situation.drawn(f"host water:{node.id}", "embodied-water.spread") if litres is not None else 0.0
    return spread_kg, spread_l


def _record_operating_point(situation: Situation, draws: MachineDraws) -> None:
    """Write down replica, batch and what else was assumed about how the model is run."""
    trail, setup = situation.trail, situation.setup
    low, high = np.quantile(draws.devices[1:], [0.025, 0.975])
    trail.add(
        "replica_gpu_count",
        Range(float(draws.devices[0]), float(low), float(high)),
        "devices",
        "derived",
        "fewest devices that hold weights, cache and work space",
    )
    low, high = np.quantile(draws.batch[1:], [0.025, 0.975])
    batch = Range(float(draws.batch[0]), float(min(low, draws.batch[0])), float(max(high, draws.batch[0])))
    if setup.batch_size is not None:
        trail.add("batch_size", batch, "requests", "given", "stated by the caller")
    elif _solved(situation):
        trail.add("batch_size", batch, "requests", "derived", "solved from the measured time")
    else:
        prior = _batch_prior(situation)
        trail.add("batch_size", batch, "requests", "assumed", prior.meaning, prior.origin("value"))


def _solved(situation: Situation) -> bool:
    """True where the batch comes from a measured time."""
    setup = situation.setup
    measured = setup.measured_seconds_per_token is not None or setup.measured_work is not None
    return measured and setup.batch_size is None and not device_time_measured(situation)


def _tier(situation: Situation) -> Tier:
    """Data quality of the card: the worst of what decides most."""
    setup = situation.setup
    if device_time_measured(situation):
        return "measured"
    known_point = setup.batch_size is not None or _solved(situation)
    if situation.hosting.stated and (known_point or situation.hosting.kind == "desk"):
        return "specified"
    return "assumed"


def equation_of_term(term: str) -> tuple[str, str]:
    """Equation and reference of a term of a form; counts have none."""
    return EQUATIONS.get(TERM_EQUATIONS.get(term, ""), ("count x seconds each", ""))
