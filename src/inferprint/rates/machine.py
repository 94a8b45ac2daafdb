"""From a machine setup to a machine card: fills what is unknown, writes down why, and draws it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from inferprint.catalogue import (
    Catalogue,
    Form,
    Model,
    ModelMatch,
    Precision,
    resolve_model,
    resolve_precision,
    resolve_service,
)
from inferprint.catalogue.own import is_own
from inferprint.errors import DoesNotFit, InvalidInput
from inferprint.modalities.base import Modality
from inferprint.physics.power import device_energy, device_seconds
from inferprint.physics.serving import Serving
from inferprint.physics.terms import TERM_EQUATIONS, ModelShape, Replica, Traffic
from inferprint.provenance.trace import How, Trail
from inferprint.quantities import EQUATIONS, Tier
from inferprint.rates.batch import with_usual_speed
from inferprint.rates.card import MachineCard, MachineDraws, TermDetail
from inferprint.rates.draws import Array, Sampler, central, full
from inferprint.rates.forms import (
    duration_rates,
    local_energy_rates,
    measured_rates,
    over_own_time,
    own_energy_rates,
    served_rates,
    tags_of,
    two_term_rates,
    waiting_power,
    with_decode_rate,
    with_measured_time,
    within_limit,
)
from inferprint.rates.hosting import Candidate, find_hosting, usable_candidates
from inferprint.rates.media import MediaReader, modality_of
from inferprint.rates.model import Sizes, model_shape, model_sizes
from inferprint.rates.operating_point import (
    batch_is_solved,
    device_time_measured,
    engine_of,
    operating_point,
    record_operating_point,
)
from inferprint.rates.per_second import idle_power, manufacture, per_second
from inferprint.rates.serving import replica_of, serving_of, traffic_of
from inferprint.rates.setup import MachineSetup
from inferprint.rates.situation import Case, Situation, counted
from inferprint.techniques.apply import Use, parse, stated_precision
from inferprint.units import GIGA

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


def resolve_machine(catalogue: Catalogue, setup: MachineSetup) -> MachineCard:
    """Resolve a setup into a machine card.

    Raises
    ------
    UnknownName, Undisclosed, DoesNotFit, InvalidInput
        See `inferprint.errors`.
    """
    situation, match = situation_of(catalogue, setup)
    if situation.makes_media:
        return _media_card(situation, match)
    shape = shape_of(situation)
    window = float(shape.window_tokens)
    candidates, cases = _cases(situation, lambda case: _rates(situation, case, shape))
    reference = counted(situation.base, situation.usual_lengths, window)
    draws = _mixed(situation, reference, candidates, cases)
    record_operating_point(situation, draws)
    found = card_of(situation, match, draws, window)
    fastest = _fastest(candidates, shape, draws)
    return replace(found, mixed=len(candidates) > 1, fastest_s_per_token=fastest)


def _media_card(situation: Situation, match: ModelMatch) -> MachineCard:
    """The card of a model that works by a denoiser."""
    from inferprint.rates.denoiser import denoiser_of
    from inferprint.rates.diffusion import diffusion_rates, record_media_point, usual_features

    denoiser = denoiser_of(situation)
    candidates, cases = _cases(situation, lambda case: diffusion_rates(situation, case, denoiser))
    draws = _mixed(situation, usual_features(situation), candidates, cases)
    record_media_point(situation, draws)
    return replace(card_of(situation, match, draws, 0.0), mixed=len(candidates) > 1)


def card_of(situation: Situation, match: ModelMatch, draws: MachineDraws, window: float) -> MachineCard:
    """The card of a situation's rates, for one accelerator of which no bound on the time is needed."""
    hosting = situation.hosting
    node = hosting.candidates[0].node if hosting.kind == "cloud" else None
    return MachineCard(
        model=match.model.id,
        modality=situation.modality,
        media=MediaReader(situation.catalogue, match.model, situation.base),
        draws=draws,
        window=window,
        context_length=match.model.context_length,
        usual_lengths=situation.usual_lengths,
        sources=situation.sampler.sources,
        trail=situation.trail,
        tier=_tier(situation),
        fastest_s_per_token=0.0,
        coefficients=_status(situation),
        mixed=False,
        hosting=hosting.kind,
        cloud=node.cloud if node is not None else None,
        service=hosting.service.id if hosting.service is not None else None,
        region_hint=match.region_hint,
        country_hint=match.country_hint,
    )


def situation_of(
    catalogue: Catalogue, setup: MachineSetup, *, sampler: Sampler | None = None
) -> tuple[Situation, ModelMatch]:
    """Model, sizes, host, format, engine and techniques of a setup, with the reason for each.

    Raises
    ------
    UnknownName, Undisclosed, InvalidInput
        See `inferprint.errors`.
    """
    trail = Trail()
    uses = parse(setup.techniques)
    match = resolve_model(catalogue, setup.model_id)
    for technique, values in uses:
        used = ", ".join(f"{key} = {value}" for key, value in values.items())
        trail.add(f"technique {technique.name}", used, "", "given", f"{technique.equation} ({technique.reference})")
    base = modality_of(catalogue, match.model)
    _check_techniques(match.model, base, uses)
    _check_times(match.model, base, setup)
    trail.add(
        "model_id", match.model.id, "", "given", f"'{setup.model_id}' {match.how}", match.model.origin("developer")
    )
    sizes = model_sizes(
        catalogue,
        match.model,
        setup.total_params_b,
        setup.active_params_b,
        trail,
        conservative=setup.conservative,
    )
    setup = _service(catalogue, setup, match, trail)
    hosting = find_hosting(catalogue, setup, trail)
    precision, stated = _precision(catalogue, setup.precision, match, stated_precision(uses), trail)
    engine = engine_of(setup, hosting, trail, media=base.by_denoiser)
    sampler = sampler or Sampler()
    return (
        Situation(catalogue, setup, match.model, sizes, hosting, precision, stated, engine, uses, trail, sampler, base),
        match,
    )


def shape_of(situation: Situation) -> ModelShape:
    """The shape of a situation's model."""
    s = situation
    found = model_shape(
        s.catalogue,
        s.model,
        _written_by(s),
        s.precision,
        s.trail,
        s.sampler,
        bytes_per_param=s.setup.bytes_per_param,
        undisclosed_format=s.format_undisclosed,
    )
    if not s.sizes.predicted:
        return found
    spread = s.prior("media.encoder-spread").value
    return replace(found, encoder=s.sampler.spread(f"encoder:{s.model.id}", spread))


def _written_by(situation: Situation) -> Sizes:
    """Size of the part of a model that writes: all of it, unless an encoder of speech works apart."""
    if situation.model.modality != "audio-to-text":
        return situation.sizes
    from inferprint.rates.reading import written_by

    return written_by(situation.catalogue, situation.model, situation.sizes)


_OF_TOKENS = {
    "measured_seconds_per_token": "time_per_output_token_ms",
    "max_seconds_per_token": "max_time_per_output_token_ms",
    "max_seconds_to_first_token": "max_ttft_ms",
}
"""What only a model that writes tokens can be asked, with the request field."""


def _check_times(model: Model, base: Modality, setup: MachineSetup) -> None:
    """Refuse times per token, and lengths of others, of a model that has none."""
    if base.name == "text":
        return
    for name, field in _OF_TOKENS.items():
        if getattr(setup, name) is not None:
            raise InvalidInput(field, f"{model.id} writes no tokens", hint="Leave it out.")
    if base.by_denoiser and setup.traffic is not None:
        raise InvalidInput("usual_input_tokens", f"{model.id} does not work on tokens", hint="Leave it out.")


def _check_techniques(model: Model, base: Modality, uses: tuple[Use, ...]) -> None:
    """Refuse techniques for what they do not hold for."""
    names = ", ".join(technique.name for technique, _ in uses)
    if uses and base.by_denoiser:
        hint = "Techniques are for models on tokens. State --precision for another number format."
        raise InvalidInput("techniques", f"{names}: not for {model.id}, which works by a denoiser", hint=hint)


def _status(situation: Situation) -> str:
    """Where the coefficients are from: the node's own, fitted to others of its kind, or to others by physics alone."""
    if situation.physics_only:
        return "physics only"
    if situation.makes_media:
        return situation.catalogue.forms["energy.media"].status
    time = situation.form("duration.single" if situation.engine.kind == "local" else "duration.served")
    energy = situation.form("energy.served")
    return energy.status if is_own(time.id) == is_own(energy.id) else f"{energy.status}, time {time.status}"


def _service(catalogue: Catalogue, setup: MachineSetup, match: ModelMatch, trail: Trail) -> MachineSetup:
    """The service: stated, else from the model's name, else the developer's own of a model of undisclosed size."""
    if setup.managed_service_id:
        service = resolve_service(catalogue, setup.managed_service_id)
        if match.service_hint not in (None, service.id):
            trail.warnings.append(f"the name '{setup.model_id}' is one of {match.service_hint}; {service.id} is used")
        trail.add("managed_service_id", service.id, "", "given", service.name, service.origin("name"))
        return setup
    if setup.node_id or setup.gpu_id or setup.cloud_instance_id:
        return setup
    if match.service_hint:
        trail.add("managed_service_id", match.service_hint, "", "given", f"stated by the name '{setup.model_id}'")
        return replace(setup, managed_service_id=match.service_hint)
    own = [s for s in catalogue.services.values() if match.model.developer in s.developers]
    if match.model.total_params_b is None and own:
        reason = "the developer's own service: none stated"
        trail.add("managed_service_id", own[0].id, "", "assumed", reason, own[0].origin("developers"))
        return replace(setup, managed_service_id=own[0].id)
    return setup


def _precision(
    catalogue: Catalogue, asked: str | None, match: ModelMatch, technique: str | None, trail: Trail
) -> tuple[Precision, bool]:
    """Number format of the weights, and whether it was stated: by a technique, the caller or the model's name."""
    if technique and asked:
        raise InvalidInput("precision", "given beside the technique 'quantisation'", hint="Give one of them.")
    stated = technique or asked or match.precision_hint
    if stated:
        precision = resolve_precision(catalogue, stated)
        trail.add("precision", precision.id, "", "given", "stated", precision.origin("bytes_per_param"))
        return precision, True
    native = match.model.native_precision
    precision = resolve_precision(catalogue, native or "bf16")
    how: How = "catalogue" if native else "assumed"
    reason = "the format in which the model was published" if native else "the published format is unknown"
    trail.add("precision", precision.id, "", how, reason, precision.origin("bytes_per_param"))
    return precision, False


def _cases(situation: Situation, rates: Callable[[Case], MachineDraws]) -> tuple[list[Candidate], list[MachineDraws]]:
    """The candidates that hold the model, and the rates of each."""
    kept: list[Candidate] = []
    cases: list[MachineDraws] = []
    refused: DoesNotFit | None = None
    for candidate in usable_candidates(situation.hosting, situation.trail):
        try:
            cases.append(rates(Case(candidate, situation.precision)))
            kept.append(candidate)
        except DoesNotFit as error:
            refused = error
            situation.warn(f"left out: {candidate.gpu.name} cannot hold the model")
    if refused is not None and not kept:
        raise refused
    return kept, cases


def _mixed(
    situation: Situation, reference: Array, candidates: list[Candidate], cases: list[MachineDraws]
) -> MachineDraws:
    """One card of several accelerators, drawn by weight; the one of median energy stands for them in the trail."""
    weights = np.array([c.weight for c in candidates])
    middle = weighted_median(np.array([float(case.energy[0] @ reference) for case in cases]), weights)
    _record_hardware(situation, candidates[middle], cases[middle].details)
    if len(candidates) > 1:
        situation.trail.add(
            "central hardware",
            candidates[middle].gpu.id,
            "",
            "derived",
            "the likely accelerator of median energy for a usual request; the value is the median over all of them",
        )
    index = situation.sampler.choice(f"hardware:{situation.host_name}", weights, middle)
    return MachineDraws.picked(cases, index, reference)


def _record_hardware(situation: Situation, candidate: Candidate, details: Iterable[TermDetail]) -> None:
    """Write down the published values of the central hardware, and the coefficients."""
    trail, gpu, node = situation.trail, candidate.gpu, candidate.node
    for name, unit in HARDWARE_FIELDS:
        value = getattr(gpu, name)
        if value is not None:
            trail.add(f"{gpu.id} {name}", value, unit, "catalogue", f"{name} of {gpu.name}", gpu.origin(name))
        elif name.startswith("embodied"):
            stand_in = manufacture(situation, gpu, name)
            trail.add(f"{gpu.id} {name}", stand_in, unit, "assumed", "unknown: median and spread of all accelerators")
    for name, unit in NODE_FIELDS if node is not None and gpu.power_boundary != "system" else ():
        value = getattr(node, name)
        if value is not None and node is not None:
            trail.add(f"{node.id} {name}", value, unit, "catalogue", f"{name} of {node.id}", node.origin(name))
    if node is None and gpu.power_boundary != "system":
        what = "its energy is that of a mean server, its manufacture left out"
        trail.warnings.append(f"no host is known for {gpu.name}: {what}")
    used = {detail.form for detail in details}
    if situation.only_times_are_own and situation.engine.kind == "server":
        used |= {"duration.served", "energy.served"}
    _record_forms(situation, Case(candidate, situation.precision), used)


def _record_forms(situation: Situation, case: Case, used: set[str]) -> None:
    """Write down the coefficients and effects of the forms in use."""
    for form in (form for form in situation.catalogue.forms.values() if form.id in used):
        tags = tags_of(situation, case)
        for name, effect in form.effects.items():
            if name.partition(":")[2] in tags:
                amount = tags[name.partition(":")[2]]
                reason = f"{form.status} effect in logs" + (f", times {amount:.4g}" if amount != 1 else "")
                situation.trail.add(
                    f"{form.id} effect of {name}", effect, "", "catalogue", reason, form.origin("effects")
                )
        if is_own(form.id):
            _record_own(situation, form)
        for term, value in form.terms.items():
            origin, reason = form.origin("terms"), f"{form.status} coefficient"
            situation.trail.add(f"{form.id} {term}", value, "", "catalogue", reason, origin)


def _record_own(situation: Situation, form: Form) -> None:
    """Write down that coefficients are the node's own, and of how many measurements; warn of a model not among them."""
    origin = form.origin("terms")
    reason = f"the node's own: fitted to {form.rows} measurements on it, {origin.date}"
    situation.trail.add(f"{form.id} coefficients", "own", "", "catalogue", reason, origin)
    if situation.only_times_are_own:
        situation.warn(
            f"only times were measured on {situation.own_node}: energy is its times at the power that is expected of"
            " such devices; measure it with a meter"
        )
    if not situation.measured_by(form):
        known = sorted(name.removeprefix("model:") for name in form.residual if name.startswith("model:"))
        text = f"{situation.model.id} was not measured on {situation.own_node}, only {', '.join(known)}"
        situation.warn(f"{text}: the error is that of other models")


def weighted_median(values: Array, weights: Array) -> int:
    """Index of the lower weighted median."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) >= weights.sum() / 2
    return int(order[int(np.argmax(reached))])


def _rates(situation: Situation, case: Case, shape: ModelShape) -> MachineDraws:
    """Rates of one case, with draws."""
    serving = serving_of(situation, shape, case.gpu)
    return rates_at(situation, case, serving, operating_point(situation, case, serving))


def rates_at(situation: Situation, case: Case, serving: Serving, point: tuple[Any, Any]) -> MachineDraws:
    """Rates of one case at an operating point: devices of the replica, and requests that share its steps."""
    (devices, batch), shape = point, serving.shape
    gpu, method = case.gpu, situation.setup.method
    replica, traffic = replica_of(situation, case, serving, devices), traffic_of(situation, serving, batch)
    # The stages of a pipeline work on other requests meanwhile.
    together, sharing = devices / serving.layout.pipeline, batch / serving.layout.pipeline
    power = gpu.max_power_w or 0.0
    two_duration, details = two_term_rates(situation, shape, replica)
    two_seconds = two_duration / full(sharing)[:, None]
    two_energy = device_energy(two_seconds, full(together)[:, None], power, 1.0)
    energy, seconds, duration = two_energy, two_seconds, two_duration
    if device_time_measured(situation):
        share = _power_share(situation) if method == "default" else 1.0
        energy, seconds, duration = measured_rates(situation, together * power, share, sharing)
    elif method == "default":
        energy, seconds, duration, form_details = _by_forms(situation, case, shape, replica, traffic, together)
        details = (*form_details, *details)
    per_token = situation.setup.measured_seconds_per_token
    if per_token is not None and situation.batch_is_known:
        share = _power_share(situation) if method == "default" else 1.0
        energy = with_decode_rate(energy, per_token * full(together * power * share / sharing))
        seconds = with_decode_rate(seconds, per_token / full(sharing))
    duration = within_limit(situation, duration, float(shape.window_tokens), batch)
    duration = with_usual_speed(situation, duration, float(shape.window_tokens))
    duration = with_measured_time(situation.base, duration, situation.setup)
    return MachineDraws(
        energy=energy,
        seconds=seconds,
        duration=duration,
        two_term_energy=two_energy,
        two_term_seconds=two_seconds,
        two_term_duration=two_duration,
        **per_second(situation, case, together),
        devices=full(devices),
        timed_devices=full(together),
        prompt_devices=full(serving.layout.prompt_devices),
        batch=full(batch),
        details=details,
    )


def _by_forms(
    situation: Situation, case: Case, shape: ModelShape, replica: Replica, traffic: Traffic, devices: Any
) -> tuple[Array, Array, Array, tuple[TermDetail, ...]]:
    """Energy [J], device time [s] and duration [s] per unit of each feature by the default forms; term by term."""
    if situation.engine.kind == "local":
        # One request alone: its share is all of it.
        duration, details = duration_rates(situation, case, shape, replica, traffic)
        if is_own(situation.form("energy.served").id):
            energy, energy_details = own_energy_rates(situation, case, shape, replica, traffic)
            return energy, duration, duration, (*energy_details, *details)
        return local_energy_rates(situation, case, duration, full(devices)), duration, duration, details
    (energy, energy_details), seconds, (duration, details) = served_rates(situation, case, shape, replica, traffic)
    if situation.only_times_are_own:
        # Its terms explain the general energy, which these are not.
        energy, energy_details = over_own_time(situation, case, shape, replica, traffic, energy, seconds), ()
    if situation.engine.split == "layers" and not is_own(situation.form("energy.served").id):
        energy = energy + seconds * full(waiting_power(situation, case, devices))[:, None]
    if situation.physics_only:
        # Small passes wait for their launch, which was learned on larger work: a board that waits draws this at least.
        energy = np.maximum(energy, seconds * full(devices * idle_power(situation, case.gpu))[:, None])
    # A board draws at most its limit: what takes this energy takes at least this long.
    seconds = np.maximum(seconds, device_seconds(energy, full(devices)[:, None], case.gpu.max_power_w))
    return energy, seconds, duration, (*energy_details, *details)


def _power_share(situation: Situation) -> Any:
    """Mean power of a busy device over its board power limit."""
    return situation.drawn("power of a busy device", "power-share.serving", maximum=1.0)


def _fastest(candidates: list[Candidate], shape: ModelShape, draws: MachineDraws) -> float:
    """Seconds in which the fastest likely hardware reads the active weights once [s]."""
    bandwidth = max((c.gpu.memory_bandwidth_gb_per_s or 0.0) * GIGA for c in candidates)
    return float(central(shape.active_params) * central(shape.bytes_per_param) / (np.max(draws.devices) * bandwidth))


def _tier(situation: Situation) -> Tier:
    """Data quality of the card: the worst of what decides most."""
    setup = situation.setup
    from_price = situation.sizes.from_price
    if device_time_measured(situation) and situation.batch_is_known:
        return "inferred from price" if from_price else "measured"
    if situation.sizes_assumed:
        return "assumed"
    known_point = setup.batch_size is not None or batch_is_solved(situation)
    if situation.hosting.stated and (known_point or situation.hosting.kind == "desk"):
        return "inferred from price" if from_price else "specified"
    return "assumed"


def equation_of_term(term: str) -> tuple[str, str]:
    """Equation and reference of a term of a form; counts have none."""
    return EQUATIONS.get(TERM_EQUATIONS.get(term, ""), ("count x seconds each", ""))
