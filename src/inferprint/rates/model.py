"""A model as the numbers that physics needs; what is not published is predicted, recorded and drawn."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from inferprint.catalogue import Catalogue, Model, Precision
from inferprint.errors import InvalidInput, Undisclosed
from inferprint.physics.terms import ModelShape
from inferprint.provenance.trace import Trail
from inferprint.quantities import Range
from inferprint.rates.draws import Sampler
from inferprint.rates.price import size_from_price
from inferprint.sizing.price import SizePrediction
from inferprint.sizing.shape import predict
from inferprint.units import BILLION

KV_BYTES = 2
"""Bytes of one cached key or value: 16 bit."""

SIZE_TOLERANCE = 0.05
"""Stated sizes may differ from published ones by this share without a warning: rounding, and what is counted."""

_NAMED = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)b(?:-a(\d+(?:\.\d+)?)b)?(?![a-z0-9])")
"""Sizes in a name: 70b, 300b-a47b; not the 8x7b of a mixture, which is no size."""

MAX_PARAMS_B = 1e5
"""Sizes above this are taken for a mistake: parameters are given in billions."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Total and active parameters, in billions; with their intervals where they are predicted.

    `assumed` where they are those of the model's class.
    """

    total: float
    active: float
    total_range: Range | None = None
    active_range: Range | None = None
    assumed: bool = False

    @property
    def predicted(self) -> bool:
        """True where they are draws: of a price, or of a class of models."""
        return self.total_range is not None

    @property
    def from_price(self) -> bool:
        """True where a price led to them."""
        return self.predicted and not self.assumed


def model_sizes(
    catalogue: Catalogue,
    model: Model,
    total_b: float | None,
    active_b: float | None,
    trail: Trail,
    *,
    conservative: bool = False,
) -> Sizes:
    """The sizes to use: the caller's, else the published ones, those of the name, or those that the price leads to.

    `conservative` takes the upper ends of the latter.

    Raises
    ------
    Undisclosed
        Neither is known, and nobody sells the model.
    InvalidInput
        Sizes that cannot be.
    """
    for name, size in (("total_params_b", total_b), ("active_params_b", active_b)):
        if size is not None and not 0 < size <= MAX_PARAMS_B:
            raise InvalidInput(name, f"{size:g} is not a size", hint=f"Billions of parameters, 0 to {MAX_PARAMS_B:g}.")
    named = named_sizes(model) if total_b is None else (None, None)
    total = total_b or model.total_params_b or named[0]
    active = active_b or _scaled_active(model, total_b) or named[1] or total
    if total is None or active is None:
        usual = (
            _of_class(catalogue, model, trail, conservative=conservative) if total is None and active is None else None
        )
        if usual is not None:
            return usual
        return _from_price(catalogue, model, (total_b, active_b), conservative, trail)
    if active > total:
        raise InvalidInput("active_params_b", f"{active:g} exceeds the total of {total:g} billion")
    _record_sizes(model, (total, active), (total_b, active_b), named, trail)
    return Sizes(total, active)


def _record_sizes(
    model: Model,
    sizes: tuple[float, float],
    stated: tuple[float | None, float | None],
    named: tuple[float | None, float | None],
    trail: Trail,
) -> None:
    """Write down where sizes that no price led to come from; `stated` by the caller, `named` by the model's name."""
    (total, active), (total_b, active_b) = sizes, stated
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
        elif size in named:
            trail.add(name, size, "1e9 parameters", "assumed", f"not published: stated by the name {model.id}")
        elif size < total:
            trail.add(name, size, "1e9 parameters", "assumed", f"no active size given: the share of {model.id}")
        else:
            trail.add(name, size, "1e9 parameters", "assumed", "no active size given: every parameter is used")


def _from_price(
    catalogue: Catalogue,
    model: Model,
    given: tuple[float | None, float | None],
    conservative: bool,
    trail: Trail,
) -> Sizes:
    """Sizes from what hosts ask for a model; what the caller stated stands."""
    found: dict[str, Range] = {}
    for (name, target), stated in zip(TARGET_OF.items(), given, strict=True):
        if stated is not None:
            found[target] = Range.exact(stated)
            trail.add(name, stated, "1e9 parameters", "given", "stated by the caller")
            continue
        prediction = size_from_price(catalogue, model.id, target, "default", model.release_date)
        if prediction is None:
            raise no_size(model, sold=model.id in catalogue.prices)
        size = Range.exact(prediction.upper_b) if conservative else prediction.size_b
        found[target] = size
        _record_price(name, target, size, prediction, catalogue.prices[model.id].rule, trail)
    total, active = found["total"], found["active"]
    # A part is no larger than the whole; what is stated stands.
    if given[1] is not None:
        total = Range(*(max(whole, part) for part, whole in zip(active, total, strict=True)))
    active = Range(*(min(part, whole) for part, whole in zip(active, total, strict=True)))
    return Sizes(total.value, active.value, total, active)


CLASS_SIZES = {
    "image": "size.image",
    "video": "size.video",
    "text-to-audio": "size.text-to-audio",
    "audio-to-text": "size.audio-to-text",
    "embedding": "size.embedding",
    "rerank": "size.embedding",
    "classifier": "size.embedding",
}
"""Assumption about the size of a model of a kind that no price per token tells."""


CLASS_OF_TASK = {"speech-to-text": "size.audio-to-text", "text-to-speech": "size.text-to-audio"}
"""The same by task, for models that only their record of media tells apart from those of text."""


def _of_class(catalogue: Catalogue, model: Model, trail: Trail, *, conservative: bool) -> Sizes | None:
    """The usual size of models of a kind, whose price per token, if any, is not that of text; None where it is."""
    own = f"size.{model.id}"
    name = own if own in catalogue.priors else CLASS_SIZES.get(model.modality)
    media = catalogue.media.get(model.id)
    if name is None and media is not None and model.id not in catalogue.prices:
        name = next((CLASS_OF_TASK[task] for task in media.tasks if task in CLASS_OF_TASK), None)
    if name is None:
        return None
    prior = catalogue.priors[name]
    size = Range.exact(prior.value.high) if conservative else prior.value
    trail.add("total_params_b", size, prior.unit, "assumed", prior.meaning, prior.origin("value"))
    return Sizes(size.value, size.value, size, size, assumed=True)


TARGET_OF = {"total_params_b": "total", "active_params_b": "active"}


def no_size(model: Model, *, sold: bool) -> Undisclosed:
    """The error for a model that nobody has disclosed and whose price says nothing."""
    why = "no regression reads its price" if sold else "no host lists a price per token for it that is above zero"
    return Undisclosed(
        f"the size of '{model.id}' is not disclosed, and {why}",
        hint="Pass what you know or assume: --total-params-b and --active-params-b (Python: total_params_b=, "
        "active_params_b=).",
        field="total_params_b",
    )


def _record_price(name: str, target: str, size: Range, prediction: SizePrediction, rule: str, trail: Trail) -> None:
    """Freeze what a predicted size rests on: hosts, prices and days."""
    asked = ", ".join(
        f"{h.offer.host} {h.offer.input_usd:g}/{h.offer.output_usd:g} USD per million tokens ({h.offer.since})"
        for h in prediction.hosts
    )
    reason = f"undisclosed: predicted from the price at {asked}"
    trail.add(name, size, "1e9 parameters", "inferred", reason)
    if rule:
        trail.warnings.append(f"the {target} size rests on a price that is no plain one: {rule}")
    if prediction.extrapolated:
        trail.warnings.append(f"the {target} size is extrapolated: its price lies outside those of the models fitted")


def named_sizes(model: Model) -> tuple[float | None, float | None]:
    """Total and active size that the name of a model without published size states [1e9 parameters]."""
    found = _NAMED.search(model.id) if model.total_params_b is None else None
    if found is None:
        return None, None
    return float(found[1]), float(found[2]) if found[2] else None


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
        self.total, self.active = drawn_sizes(model, sizes, sampler)

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
        drawn = self._sampler.spread(f"model shape:{self._model.id}:{name}", predicted)
        if not self._sizes.predicted:
            return drawn
        # The prediction moves with the sizes that are drawn.
        by_total = (self.total / self._sizes.total) ** fit.total_slope
        return drawn * by_total * (self.active / self._sizes.active) ** fit.active_slope

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
    *,
    undisclosed_format: bool = False,
) -> ModelShape:
    """Everything about a model that decides its cost, in SI units; floats, or draws where predicted.

    `bytes_per_param` is the size of the weight file over the parameters, where it differs from the format's usual one.
    With an `undisclosed_format` it is predicted from the model's size.
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
        total_params=facts.total * BILLION,
        active_params=facts.active * BILLION,
        expert_share=expert_share,
        bytes_per_param=bytes_per_param or (_weight_bytes(facts) if undisclosed_format else precision.bytes_per_param),
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
        experts_per_token=float(model.experts_per_token or 0.0),
    )


def drawn_sizes(model: Model, sizes: Sizes, sampler: Sampler) -> tuple[Any, Any]:
    """Total and active parameters, in billions: floats, or draws where predicted; one error moves both."""
    if sizes.total_range is None or sizes.active_range is None:
        return sizes.total, sizes.active
    source = f"size {'of its class' if sizes.assumed else 'from price'}:{model.id}"
    total = sampler.spread(source, sizes.total_range)
    return total, np.minimum(sampler.spread(source, sizes.active_range), total)


def _weight_bytes(facts: _Facts) -> Any:
    """Bytes per parameter of a model whose format is not published, between those of 4 and of 16 bits."""
    return np.clip(facts.get("bytes_per_param", None, "bytes"), 0.5, 2.0)


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
    return np.minimum(drawn, facts.active / facts.total)


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
