"""The requests that share a step: given, solved from a time that was measured or must be kept, or assumed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from inferprint.modalities.media import MediaWork
from inferprint.physics.serving import Serving, first_token_seconds
from inferprint.provenance.trace import How
from inferprint.quantities import Z95, Range
from inferprint.rates.draws import SIZE, Array, central, full
from inferprint.rates.forms import duration_rates, residual_kinds
from inferprint.rates.media import MediaReader
from inferprint.rates.serving import replica_of, traffic_of
from inferprint.rates.situation import Case, Situation, central_serving, counted, decode_per_token

PRIOR_WIDENING = 2.0
"""How much wider than it is a host's prior is taken beside a measurement, which knows better."""

MAX_BATCH = 65536
"""Requests per step above this are taken for a mistake."""

FRESH_YEARS = 1.3
"""Age from which a measured speed of a service says no more than its class does [years]."""

Kind = Literal["measured", "limit", "aim"]


@dataclass(frozen=True)
class Target:
    """Times that the batch is solved from.

    Attributes
    ----------
    kind
        "measured": the time is what it was. "limit": it is at most that, and the batch as large as it can be. "aim":
        the usual time of a service, which says something beside the prior of its batch.
    features, steps, seconds
        For each time: features of the work that takes it, decode steps that it waits for beside, and the time [s].
    spread
        Log standard deviation of the time itself.
    names
        Request field of each limit.
    """

    kind: Kind
    features: tuple[Array, ...]
    steps: tuple[float, ...]
    seconds: tuple[float, ...]
    spread: float = 0.0
    names: tuple[str, ...] = ()


def target_of(situation: Situation, serving: Serving) -> Target | None:
    """The times from which the batch can be solved; None where it is known, or nothing is."""
    setup, window = situation.setup, float(serving.shape.window_tokens)
    if situation.batch_is_known or not situation.writes_tokens:
        return None
    if setup.measured_seconds_per_token is not None:
        per_token = decode_per_token(situation.modality, situation.usual_lengths, window)
        return _measured(situation, serving, per_token, setup.measured_seconds_per_token)
    if setup.measured_seconds is not None and setup.measured_work is not None:
        n_in, cached, n_out = setup.measured_work
        beside = _measured_beside(situation, setup.measured_media)
        work = counted(situation.modality, (n_in, n_out), window, cached=cached, extra=beside)
        return _measured(situation, serving, work, setup.measured_seconds)
    return limits_of(situation, serving) or _aim(situation, serving)


def _measured_beside(situation: Situation, work: MediaWork | None) -> dict[str, float]:
    """Columns of what a measured request held beside text."""
    return {} if work is None else MediaReader(situation.catalogue, situation.model, situation.base).columns(work)


def limits_of(situation: Situation, serving: Serving) -> Target | None:
    """The stated limits: time per output token of a usual request, and time to its first token; None without any.

    A prompt waits for the step that runs when it comes, and its own passes run beside steps of the others.
    """
    setup, lengths, window = situation.setup, situation.usual_lengths, float(serving.shape.window_tokens)
    per_token, prompt = (
        decode_per_token(situation.modality, lengths, window),
        counted(situation.modality, (lengths[0], 0.0), window),
    )
    waits = first_token_steps(situation, serving)
    limits = (
        (per_token, 0.0, setup.max_seconds_per_token, "max_time_per_output_token_ms"),
        (prompt, waits, setup.max_seconds_to_first_token, "max_ttft_ms"),
    )
    stated = [limit for limit in limits if limit[2] is not None]
    if not stated:
        return None
    features, steps, seconds, names = zip(*stated, strict=True)
    return Target("limit", features, steps, seconds, names=names)


def _measured(situation: Situation, serving: Serving, features: Array, seconds: float) -> Target:
    """A measured time: a service that guesses ahead takes as many steps fewer as a step yields tokens."""
    drafts = _drafts(situation, serving)
    decode = np.array([feature.part == "decode" for feature in situation.modality.features])
    steps = np.where(decode, features / drafts.value, features)
    return Target("measured", (steps,), (0.0,), (seconds,), math.log(drafts.high / drafts.low) / (2 * Z95))


def _drafts(situation: Situation, serving: Serving) -> Range:
    """Tokens that a step yields, beyond what techniques state: unknown at a service, 1 elsewhere."""
    if situation.hosting.service is None or np.any(serving.steps.drafted):
        return Range.exact(1.0)
    prior = situation.prior(f"drafts.{situation.serving_class}")
    situation.note("tokens per step", prior.value, prior.unit, "assumed", prior.meaning, prior.origin("value"))
    return prior.value


def _aim(situation: Situation, serving: Serving) -> Target | None:
    """The usual time per output token of a service; with drafts a step takes as long as the tokens that it yields."""
    speed = usual_speed(situation)
    if speed is None:
        return None
    per_token = decode_per_token(situation.modality, situation.usual_lengths, float(serving.shape.window_tokens))
    drafts = _drafts(situation, serving)
    widths = [math.log(value.high / value.low) / (2 * Z95) for value in (speed, drafts)]
    return Target("aim", (per_token,), (0.0,), (drafts.value / speed.value,), math.hypot(*widths))


def usual_speed(situation: Situation) -> Range | None:
    """Output tokens per second of one request at a service: measured for the model there, for it, or of its class.

    None where nothing needs it: the batch, a time or a limit is stated, or there is no service.
    """
    service, setup = situation.hosting.service, situation.setup
    times = (setup.measured_seconds_per_token, setup.measured_seconds, setup.max_seconds_per_token)
    stated = any(time is not None for time in (*times, setup.max_seconds_to_first_token))
    known = situation.batch_is_known or not situation.writes_tokens
    if service is None or stated or known or setup.method != "default":
        return None
    catalogue, model = situation.catalogue, situation.model.id
    # What was measured at a service was not measured of a tier whose requests wait.
    record = catalogue.speeds.get(f"{service.id}:{model}") if situation.tier_class is None else None
    if record is not None and catalogue.years_since(record.measured) <= FRESH_YEARS:
        found, why, origin = record.output_tokens_per_s, f"measured with {model}", record.origin("output_tokens_per_s")
        situation.note("output_tokens_per_s", found, "tokens/s", "catalogue", why, origin)
    elif service.output_tokens_per_s is not None and situation.serving_class in (
        service.serving_class,
        f"{service.serving_class}-large",
    ):
        found, origin = service.output_tokens_per_s, service.origin("output_tokens_per_s")
        how: How = "assumed" if origin.quality == "assumption" else "catalogue"
        situation.note("output_tokens_per_s", found, "tokens/s", how, f"usual at {service.name}", origin)
    else:
        prior = situation.prior(f"speed.{situation.serving_class}")
        found = prior.value
        situation.note("output_tokens_per_s", found, prior.unit, "assumed", prior.meaning, prior.origin("value"))
    return found


def with_usual_speed(situation: Situation, duration: Array, window: float) -> Array:
    """Duration rates in which a token of a usual answer takes its usual time at the service, if nothing is stated."""
    speed = usual_speed(situation)
    if speed is None:
        return duration
    form = duration @ decode_per_token(situation.modality, situation.usual_lengths, window)
    decode = np.array([feature.part == "decode" for feature in situation.modality.features])
    seconds = 1 / full(situation.sampler.spread(f"speed:{situation.host_name}", speed))
    scaled: Array = np.where(decode, duration * (seconds / form)[:, None], duration)
    return scaled


def first_token_steps(situation: Situation, serving: Serving) -> float:
    """Decode steps that the first token of a usual request waits for: none where other devices compute the prompts."""
    work = situation.usual_work
    fresh = work["input_tokens"] - work["cached_input_tokens"]
    passes = max(float(np.ceil(fresh / serving.prompts.chunk_tokens)), 1.0)
    return 0.0 if serving.layout.prompt_devices else passes


def times_over_target(
    situation: Situation, case: Case, serving: Serving, devices: Any, target: Target, batches: Array
) -> Array:
    """Times of steps of `batches` over those of the target: shape (times, SIZE).

    Central where the situation and the serving are; `batches` stand in the place of draws.
    """
    replica = replica_of(situation, case, serving, devices)
    rates = duration_rates(situation, case, serving.shape, replica, traffic_of(situation, serving, batches))[0]
    per_token = rates @ decode_per_token(
        situation.modality, situation.usual_lengths, float(serving.shape.window_tokens)
    )
    seen = [
        first_token_seconds(rates @ features, steps, per_token) / seconds
        for features, steps, seconds in zip(target.features, target.steps, target.seconds, strict=True)
    ]
    return np.stack(seen)


def solved_batch(
    situation: Situation, case: Case, serving: Serving, room: tuple[Any, float], target: Target
) -> tuple[Array, Array]:
    """The batch behind a target, with draws; and how far the times of one request, and of the most, are from it.

    Central by the form itself; drawn from all batches that explain the time. Latency is nearly flat at small batches,
    so a time says little there: the draws weigh every batch from 1 up by how well the form with its residual gives the
    time, and, for a measured one, weakly by the host's prior. What fits caps them; under a limit that the most requests
    keep, the batch is the most. Where no batch gives a measured time, and for the aim of a service, the central one is
    the median of the draws.

    Parameters
    ----------
    room
        Devices of the replica; requests that fit.

    Returns
    -------
    batch
        Shape (SIZE,).
    ends
        Central time over that of the target, of one request alone and of the most that fit: shape (2, times).
    """
    devices, most = room
    capacity = situation.drawn("requests that fit", "memory.capacity")
    batches = np.exp(np.linspace(0.0, np.log(max(most * float(np.max(capacity)), 1.0 + 1e-9)), SIZE))
    middle = central_serving(serving)
    ratios = times_over_target(situation.central(), case, middle, central(devices), target, batches)
    # The tightest of several limits decides.
    expected = np.log(ratios.max(axis=0))
    drawn = _explaining(situation, batches, expected, target)
    fits = np.maximum(most * capacity, 1.0)
    solvable = expected[0] <= 0 <= expected[-1]
    if solvable and target.kind != "aim":
        drawn[0] = np.interp(0.0, expected, batches)
    elif target.kind == "limit":
        drawn[0] = batches[-1] if expected[-1] < 0 else 1.0
    else:
        drawn[0] = np.median(np.minimum(drawn, fits)[1:])
    at_most = [float(np.interp(np.log(most), np.log(batches), ratio)) for ratio in ratios]
    return np.minimum(drawn, fits), np.array([ratios[:, 0], at_most])


def _explaining(situation: Situation, batches: Array, expected: Array, target: Target) -> Array:
    """Draws of the batch by how well each gives a time; element 0 is left to the caller.

    Parameters
    ----------
    expected
        Log of the form's time over that of the target, by batch.
    """
    below, above = served_spread(situation, batches)
    # The form's residual is ln(measured / form): a form above the time is a residual below zero.
    spread = np.hypot(np.where(expected > 0, below, above), target.spread)
    distance = np.zeros(SIZE)
    if target.kind != "limit":
        distance = _prior_distance(situation, batches) / (PRIOR_WIDENING if target.kind == "measured" else 1.0)
    weights = np.exp(-((expected / spread) ** 2 + distance**2) / 2) + np.finfo(float).tiny
    if target.kind == "limit":
        # The chance that even the most that can be keep the limit.
        kept = (1 - math.erf(expected[-1] / spread[-1] / math.sqrt(2))) / 2
        weights = weights / weights.sum() * (1 - kept)
        weights[-1] += kept
    return situation.sampler.weighted(f"batch size:{situation.host_name}", batches, weights)


def served_spread(situation: Situation, batches: Array) -> Array:
    """Log standard deviations of the duration form's error on models that it has not seen: below and above it.

    Returns
    -------
    spread
        Shape (2, batches).
    """
    form = situation.form("duration.served")
    kinds = residual_kinds(situation.sizes.active < situation.sizes.total, batches)
    bounds = [situation.bounds_of(form, kind) for kind in kinds]
    spread: Array = np.select(
        [np.broadcast_to(holds, (2, len(batches))) for holds in kinds.values()],
        [np.array([[-bound.low], [bound.high]]) / Z95 for bound in bounds],
    )
    return spread


def _prior_distance(situation: Situation, batches: Array) -> Array:
    """How far batches lie from the host's prior, in standard deviations."""
    value, low, high = situation.batch_prior.value
    logs = np.log(batches / value)
    widths: Array = np.where(logs < 0, float(np.log(value / low)), float(np.log(high / value)))
    return logs * Z95 / widths
