"""A model as the numbers that physics needs; what is not published is predicted, recorded and drawn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from inferprint.catalogue import Catalogue, Model, Precision
from inferprint.errors import InvalidInput, Undisclosed
from inferprint.physics.terms import ModelShape
from inferprint.provenance.trace import Trail
from inferprint.rates.draws import Sampler
from inferprint.sizing.shape import predict
from inferprint.units import BILLION

KV_BYTES = 2
"""Bytes of one cached key or value: 16 bit."""

SIZE_TOLERANCE = 0.05
"""Stated sizes may differ from published ones by this share without a warning: rounding, and what is counted."""

MAX_PARAMS_B = 1e5
"""Sizes above this are taken for a mistake: parameters are given in billions."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Total and active parameters, in billions."""

    total: float
    active: float


def model_sizes(model: Model, total_b: float | None, active_b: float | None, trail: Trail) -> Sizes:
    """The sizes to use: the caller's, else the published ones.

    Raises
    ------
    Undisclosed
        Neither is known.
    InvalidInput
        Sizes that cannot be.
    """
    for name, size in (("total_params_b", total_b), ("active_params_b", active_b)):
        if size is not None and not 0 < size <= MAX_PARAMS_B:
            raise InvalidInput(name, f"{size:g} is not a size", hint=f"Billions of parameters, 0 to {MAX_PARAMS_B:g}.")
    total = total_b or model.total_params_b
    active = active_b or _scaled_active(model, total_b) or total
    if total is None or active is None:
        raise Undisclosed(
            f"the size of '{model.id}' is not disclosed",
            hint="Pass what you know or assume: --total-params-b and --active-params-b (Python: total_params_b=, "
            "active_params_b=).",
            field="total_params_b",
        )
    if active > total:
        raise InvalidInput("active_params_b", f"{active:g} exceeds the total of {total:g} billion")
    for name, size, given, published in (
        ("total_params_b", total, total_b, model.total_params_b),
        ("active_params_b", active, active_b, model.active_params_b),
    ):
        if given is not None:
            trail.add(name, size, "1e9 parameters", "given", "stated by the caller")
            if published is not None and abs(given / published - 1) > SIZE_TOLERANCE:
                trail.warnings.append(f"{name} {given:g} is used; the published one of {model.id} is {published:g}")
        elif published is not None and total_b is None:
            trail.add(name, size, "1e9 parameters", "catalogue", f"published size of {model.id}", model.origin(name))
        elif size < total:
            trail.add(name, size, "1e9 parameters", "assumed", f"no active size given: the share of {model.id}")
        else:
            trail.add(name, size, "1e9 parameters", "assumed", "no active size given: every parameter is used")
    return Sizes(total, active)


def _scaled_active(model: Model, total_b: float | None) -> float | None:
    """The published active size; with another total, the published share of it."""
    if model.active_params_b is None or total_b is None or not model.total_params_b:
        return model.active_params_b if total_b is None else None
    return total_b * model.active_params_b / model.total_params_b


class _Facts:
    """Shape facts of one model: published ones as they are, missing ones predicted and drawn."""

    def __init__(self, catalogue: Catalogue, model: Model, sizes: Sizes, trail: Trail, sampler: Sampler) -> None:
        self._catalogue, self._model, self._sizes = catalogue, model, sizes
        self._trail, self._sampler = trail, sampler

    def get(self, name: str, value: float | None, unit: str) -> Any:
        """The published value, or draws of the regression's prediction of `name`."""
        if value is not None:
            self._trail.add(
                name, float(value), unit, "catalogue", f"published for {self._model.id}", self._origin(name)
            )
            return float(value)
        fit = self._catalogue.shapes[name]
        coefficients = (fit.intercept, fit.total_slope, fit.active_slope)
        predicted = predict(coefficients, fit.residual_sigma, self._sizes.total, self._sizes.active)
        reason = f"not published: predicted from total and active size over {fit.models} open models"
        self._trail.add(name, predicted, unit, "assumed", reason, fit.origin("intercept"))
        return self._sampler.spread(f"model shape:{self._model.id}:{name}", predicted)

    def _origin(self, name: str) -> Any:
        return self._model.origin(name)


def model_shape(
    catalogue: Catalogue,
    model: Model,
    sizes: Sizes,
    precision: Precision,
    trail: Trail,
    sampler: Sampler,
    bytes_per_param: float | None = None,
) -> ModelShape:
    """Everything about a model that decides its cost, in SI units; floats, or draws where predicted.

    `bytes_per_param` is the size of the weight file over the parameters, where it differs from the format's usual one.
    """
    facts = _Facts(catalogue, model, sizes, trail, sampler)
    layers = facts.get("layers", model.layers, "layers")
    hidden = facts.get("hidden_size", model.hidden_size, "")
    expert_share = _expert_share(model, sizes, facts)
    state_space = _state_space_layers(catalogue, model, layers, trail, sampler)
    moe_layers = _moe_layers(model, layers, expert_share)
    full_layers, windowed_layers = _attention_layers(model, layers, state_space)
    width = _attention_width(model, hidden)
    kv, windowed_kv = _cache_elements(model, facts, layers, full_layers, windowed_layers)
    return ModelShape(
        total_params=sizes.total * BILLION,
        active_params=sizes.active * BILLION,
        expert_share=expert_share,
        bytes_per_param=bytes_per_param or precision.bytes_per_param,
        layers=layers,
        moe_layers=moe_layers,
        state_space_layers=state_space,
        hidden_size=hidden,
        attention_width=width * full_layers,
        windowed_attention_width=width * windowed_layers,
        kv_bytes_per_token=kv * KV_BYTES,
        windowed_kv_bytes_per_token=windowed_kv * KV_BYTES,
        window_tokens=_window(catalogue, model, trail),
        quantised_moe_layers=moe_layers if precision.arithmetic == "fp8" else 0.0,
        kv_heads=_kv_heads(model),
    )


def _kv_heads(model: Model) -> float:
    """Heads that the cache can be split by: one where all share a latent vector; no limit where nothing is known."""
    if model.kv_heads:
        return float(model.kv_heads)
    return 1.0 if model.kv_elements_per_token is not None else float("inf")


def _expert_share(model: Model, sizes: Sizes, facts: _Facts) -> Any:
    """k / E; 1 where every parameter is used."""
    if sizes.active >= sizes.total:
        return 1.0
    known = model.experts and model.experts_per_token
    share = model.experts_per_token / model.experts if known and model.experts_per_token and model.experts else None
    drawn = facts.get("expert_share", share, "share")
    # The experts cannot be used more sparsely than the whole model is.
    return np.minimum(drawn, sizes.active / sizes.total)


def _moe_layers(model: Model, layers: Any, expert_share: Any) -> Any:
    """Layers with experts: all of a sparse model's, where the count is not published."""
    if model.moe_layers is not None:
        return float(model.moe_layers)
    return np.where(np.less(expert_share, 1.0), layers, 0.0)


def _state_space_layers(catalogue: Catalogue, model: Model, layers: Any, trail: Trail, sampler: Sampler) -> Any:
    """Layers with a state-space or linear-attention mixer; 0 unless the architecture is a hybrid."""
    if model.state_space_layers is not None:
        return float(model.state_space_layers)
    if model.architecture not in ("hybrid", "moe-hybrid"):
        return 0.0
    prior = catalogue.priors["shape.ssm-share"]
    trail.add("state_space_layers", prior.value, "share of layers", "assumed", prior.meaning, prior.origin("value"))
    return layers * sampler.spread(f"model shape:{model.id}:state_space_layers", prior.value, maximum=1.0)


def _attention_layers(model: Model, layers: Any, state_space: Any) -> tuple[Any, Any]:
    """Layers with full and with windowed attention."""
    windowed = float(model.windowed_attention_layers or 0)
    if model.full_attention_layers is not None:
        return float(model.full_attention_layers), windowed
    return np.maximum(layers - state_space - windowed, 0.0), windowed


def _cache_elements(model: Model, facts: _Facts, layers: Any, full: Any, windowed: Any) -> tuple[Any, Any]:
    """Cached keys and values per token of all full, and of all windowed, attention layers.

    The prediction is that of a model with attention in every layer: each layer has its share of it.
    """
    kv, windowed_kv = model.kv_elements_per_token, model.windowed_kv_elements_per_token
    if np.ndim(full) == 0 and full == 0:
        kv = 0.0
    if windowed == 0:
        windowed_kv = 0.0
    if windowed_kv is None and model.kv_heads and model.head_size:
        windowed_kv = 2.0 * windowed * model.kv_heads * model.head_size
    if kv is not None and windowed_kv is not None:
        return facts.get("kv_elements_per_token", kv, "values"), windowed_kv
    per_layer = facts.get("kv_elements_per_token", None, "values") / layers
    return (per_layer * full if kv is None else kv), (per_layer * windowed if windowed_kv is None else windowed_kv)


def _attention_width(model: Model, hidden: Any) -> Any:
    """Query heads x head size of one layer; the width of the residual stream where they are not published."""
    if model.attention_heads and model.head_size:
        return float(model.attention_heads * model.head_size)
    return hidden


def _window(catalogue: Catalogue, model: Model, trail: Trail) -> float:
    """Attention window of windowed layers. One number per card, because features read it."""
    if not model.windowed_attention_layers:
        return 0.0
    if model.attention_window_tokens is not None:
        return float(model.attention_window_tokens)
    prior = catalogue.priors["attention-window"]
    trail.add("attention_window_tokens", prior.value.value, "tokens", "assumed", prior.meaning, prior.origin("value"))
    return prior.value.value
