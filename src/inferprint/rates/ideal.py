"""What a measured request ideally costs: the terms that coefficients are fitted to, from the cards' own code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from inferprint.catalogue import Catalogue, Model
from inferprint.errors import InvalidInput
from inferprint.modalities.base import Ideal, Modality
from inferprint.modalities.media import MediaWork
from inferprint.modalities.text import TEXT
from inferprint.physics.terms import two_term_decode_seconds, two_term_prefill_seconds
from inferprint.rates.denoiser import denoiser_of
from inferprint.rates.diffusion import ideal_media
from inferprint.rates.draws import Array, Sampler, central
from inferprint.rates.forms import GROUPS, Tags, residual_kinds, tags_of
from inferprint.rates.machine import shape_of, situation_of
from inferprint.rates.media import MediaReader
from inferprint.rates.operating_point import operating_point
from inferprint.rates.reading import encoder_of_tokens
from inferprint.rates.serving import replica_of, serving_of, traffic_of
from inferprint.rates.setup import MachineSetup
from inferprint.rates.situation import Case, Situation, counted

__all__ = ["GROUPS", "IdealRequest", "ideal_request"]


@dataclass(frozen=True, slots=True)
class IdealRequest:
    """Ideal cost of one request on stated hardware at a stated batch.

    Attributes
    ----------
    share, seen
        Seconds (or counts) by term of the request's share of the batch, and of what it sees.
    two_term
        The same of the two-term form.
    tags
        Names of the effects that may hold, and how much of each.
    kind
        Kind of case whose residual the served forms use.
    devices, batch, max_power_w
        Devices of the replica, requests per step, board power limit of one device [W].
    model, family, architecture
        Record of the catalogue.
    """

    share: Mapping[str, float]
    seen: Mapping[str, float]
    two_term: Mapping[str, float]
    tags: Tags
    kind: str
    devices: float
    batch: float
    max_power_w: float
    model: str
    family: str
    architecture: str
    total_params_b: float
    active_params_b: float


TextWork = tuple[float, float, float]
"""Prompt and answer length [tokens], and 1 with pictures or video in the prompt, else 0."""


def ideal_request(
    catalogue: Catalogue, setup: MachineSetup, work: TextWork | MediaWork, *, cached: float = 0.0
) -> IdealRequest:
    """Ideal cost of a request on one stated accelerator; `cached` tokens of its prompt are read from a cache.

    Raises
    ------
    InvalidInput, UnknownName, Undisclosed, DoesNotFit
        The setup names no single accelerator, or cannot be.
    """
    if setup.gpu_id is None or setup.batch_size is None:
        raise InvalidInput("gpu_id", "a measurement needs one stated accelerator and batch size")
    situation, _ = situation_of(catalogue, setup, sampler=Sampler(central_only=True))
    case = Case(situation.hosting.candidates[0], situation.precision)
    if isinstance(work, MediaWork):
        return _of_media(situation, case, work)
    serving = serving_of(situation, shape_of(situation), case.gpu)
    shape = serving.shape
    devices, batch = operating_point(situation, case, serving)
    replica, traffic = replica_of(situation, case, serving, devices), traffic_of(situation, serving, batch)
    local = situation.engine.kind == "local"
    n_in, n_out, _ = work
    features = text_features(catalogue, situation.model, work, float(shape.window_tokens), cached)
    kinds = residual_kinds(situation.sizes.active < situation.sizes.total, central(batch))
    return IdealRequest(
        share=_terms(TEXT.alone(shape, replica, traffic) if local else TEXT.share(shape, replica, traffic), features),
        seen=_terms(TEXT.alone(shape, replica, traffic) if local else TEXT.seen(shape, replica, traffic), features),
        two_term={
            "prefill": (n_in - cached) * central(two_term_prefill_seconds(shape, replica)),
            "decode": n_out * central(two_term_decode_seconds(shape, replica)),
        },
        tags=tags_of(situation, case),
        kind=next(kind for kind, holds in kinds.items() if np.all(holds)),
        devices=central(devices),
        batch=central(batch),
        max_power_w=case.gpu.max_power_w or 0.0,
        **_named(situation),
    )


def text_features(catalogue: Catalogue, model: Model, work: TextWork, window: float, cached: float = 0.0) -> Array:
    """Features of a measured request with `cached` tokens of its prompt read from a cache.

    Where it held pictures, all of its prompt is taken to come from them.
    """
    n_in, n_out, media = work
    encoder = encoder_of_tokens(catalogue, model, n_in) if media else {}
    return counted(TEXT, (n_in, n_out), window, cached=cached, media=media, extra=encoder)


def _named(situation: Situation) -> dict[str, Any]:
    """What the model of a situation is called, and its size."""
    model, sizes = situation.model, situation.sizes
    return {
        "model": model.id,
        "family": model.base_family or model.family or model.id,
        "architecture": model.architecture,
        "total_params_b": sizes.total,
        "active_params_b": sizes.active,
    }


def _of_media(situation: Situation, case: Case, work: MediaWork) -> IdealRequest:
    """Ideal cost of what a denoiser makes: of one picture or clip, and of the whole pass that it is part of."""
    if not situation.makes_media:
        raise InvalidInput("model_id", f"{situation.model.id} works on tokens, not by a denoiser")
    base = situation.base
    columns = MediaReader(situation.catalogue, situation.model, base).columns(work)
    features = np.array(base.count({**columns, "n_requests": 1.0, "measured_seconds": 0.0}, 0.0, min))
    share, seen, two_term, devices, batch = ideal_media(situation, case, denoiser_of(situation))
    return IdealRequest(
        share=_terms(share, features, base),
        seen=_terms(seen, features, base),
        two_term=_terms(two_term, features, base),
        tags=tags_of(situation, case),
        kind=base.name,
        devices=devices,
        batch=batch,
        max_power_w=case.gpu.max_power_w or 0.0,
        **_named(situation),
    )


def _terms(ideal: Ideal, features: Array, modality: Modality = TEXT) -> dict[str, float]:
    """Sum over the features, by term."""
    found: dict[str, float] = {}
    for feature, terms in ideal.items():
        count = features[modality.names.index(feature)]
        for term, value in terms.items():
            found[term] = found.get(term, 0.0) + float(count * central(value))
    return found
