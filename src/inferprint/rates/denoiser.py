"""A denoiser as the numbers that physics needs; what is not published is predicted, recorded and drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from inferprint.catalogue import Media
from inferprint.modalities.media import MEGAPIXEL, MediaWork
from inferprint.physics import denoising
from inferprint.physics.denoising import Denoiser, Polynomial, Tokens
from inferprint.physics.encoder import encoder_linear_flop
from inferprint.quantities import Range
from inferprint.rates.draws import central
from inferprint.rates.making import usual_size
from inferprint.rates.media import MediaReader
from inferprint.rates.model import drawn_sizes
from inferprint.rates.situation import Situation
from inferprint.units import BILLION, TERA


def denoiser_of(situation: Situation) -> Denoiser:
    """The denoiser of a situation's model.

    Raises
    ------
    Undisclosed
        Nothing is known that its work could be told from.
    """
    media = situation.catalogue.media[situation.model.id]
    total, _ = drawn_sizes(situation.model, situation.sizes, situation.sampler)
    params = (media.denoiser_params_b or total) * _stated_share(situation) * BILLION
    # Some published sizes leave the text encoders out.
    held = np.maximum(total, (media.denoiser_params_b or 0.0) + (media.text_encoder_params_b or 0.0))
    found = Denoiser(
        linear=Polynomial(),
        attention=Polynomial(),
        decoder=_decoder(situation, media),
        prompt_flop=_prompt_flop(situation, media),
        exchanged=Polynomial(),
        joint_text=_known(situation, media, "joint_text_tokens", "tokens") or 0.0,
        layers=_layers(situation, media),
        params=params,
        tokens_per_volume=_tokens_per_volume(situation, media),
        held_bytes=held * BILLION * situation.precision.bytes_per_param,
    )
    if media.undisclosed:
        return replace(found, linear=_undisclosed(situation, media))
    if media.backbone == "transformer" and media.tflop_per_second is None:
        tokens = _tokens(situation, media, found)
        return replace(
            found,
            linear=denoising.linear_flop(tokens),
            attention=denoising.attention_flop(tokens),
            exchanged=denoising.exchanged_values(tokens),
        )
    return replace(found, **_counted(situation, media, found))


def total_flop(situation: Situation, denoiser: Denoiser, work: MediaWork) -> Any:
    """FLOP of a request for pictures or clips: text encoders, denoiser and decoder."""
    columns = MediaReader(situation.catalogue, situation.model, situation.base).columns(work)
    flop = denoiser.prompt_flop * columns["prompts"]
    for part in (denoiser.linear, denoiser.attention):
        flop = flop + part.once * columns["evaluations"] + part.per_volume * columns["evaluation_volume"]
        flop = flop + part.per_pair * columns["evaluation_pairs"]
    decoder = denoiser.decoder
    return flop + decoder.per_volume * columns["output_volume"] + decoder.per_pair * columns["output_pairs"]


def _stated_share(situation: Situation) -> float:
    """A size that the caller stated over the published one: the network is taken to be so much larger."""
    stated, published = situation.setup.total_params_b, situation.model.total_params_b
    return stated / published if stated and published else 1.0


def _known(situation: Situation, media: Media, name: str, unit: str) -> float | None:
    """A published value of the record, which is written down; None where there is none."""
    value: float | None = getattr(media, name)
    if value is not None:
        reason = f"published for {media.id}, or counted"
        situation.note(name, Range.exact(float(value)), unit, "catalogue", reason, media.origin(name))
        return float(value)
    return None


def _assumed(situation: Situation, name: str) -> Any:
    """Draws of what is not published, the model's own."""
    return situation.drawn(f"denoiser:{situation.model.id}:{name}", f"media.{name}")


def _layers(situation: Situation, media: Media) -> Any:
    """Layers by which the fixed time of an evaluation goes."""
    if media.backbone != "transformer":
        return _assumed(situation, "convolution-layers")
    known = _known(situation, media, "layers", "layers")
    return _assumed(situation, "layers") if known is None else known


def _tokens(situation: Situation, media: Media, denoiser: Denoiser) -> Tokens:
    """The transformer behind a denoiser; what is not published of its shape follows from its size."""
    own = _known(situation, media, "params_per_token_b", "1e9 parameters")
    params = (
        own * _stated_share(situation) * BILLION
        if own is not None
        else _assumed(situation, "params-per-token-share") * denoiser.params
    )
    width: Any = _known(situation, media, "hidden_size", "")
    if width is None:
        width = np.sqrt(params / (PARAMS_PER_LAYER * denoiser.layers))
        situation.note("hidden_size", Range.exact(central(width)), "", "derived", "not published: from size and layers")
    return Tokens(
        params_per_token=params,
        width=width,
        layers=denoiser.layers,
        per_volume=denoiser.tokens_per_volume,
        joint_text=denoiser.joint_text,
        cross_text=_known(situation, media, "cross_text_tokens", "tokens") or 0.0,
        quadratic=0.0 if media.attention == "linear" else 1.0,
        latent_layers=_known(situation, media, "latent_layers", "layers") or 0.0,
    )


PARAMS_PER_LAYER = 12.0
"""Parameters of a transformer layer over the square of its width: 4 of attention, 8 of a feed-forward network."""


def _tokens_per_volume(situation: Situation, media: Media) -> Any:
    """Latent tokens of 2^20 pixels of a latent frame, or of a second of sound."""
    if situation.base.name == "sound":
        known = _known(situation, media, "tokens_per_second", "tokens/s")
        return _assumed(situation, "sound-frames-per-second") if known is None else known
    side = _known(situation, media, "spatial_downsample", "pixels")
    patch = _known(situation, media, "spatial_patch", "latents") or 1.0
    pixels = (side * patch) ** 2 if side is not None else _assumed(situation, "pixels-per-token-side") ** 2
    return MEGAPIXEL / pixels / (_known(situation, media, "temporal_patch", "latents") or 1.0)


def _counted(situation: Situation, media: Media, denoiser: Denoiser) -> dict[str, Polynomial]:
    """Work of a network whose operations were counted: per area of a frame, or per second of sound."""
    share = _stated_share(situation)
    if situation.base.name == "sound":
        linear = _known(situation, media, "tflop_per_second", "TFLOP/s of sound")
        square = _known(situation, media, "attention_tflop_per_second2", "TFLOP/s2") or 0.0
        if linear is None:
            at_once = Tokens(denoiser.params, 0.0, 0.0, denoiser.tokens_per_volume)
            return {"linear": denoising.linear_flop(at_once)}
        return {"linear": Polynomial(0.0, linear * share * TERA), "attention": Polynomial(0.0, 0.0, square * TERA)}
    linear = _known(situation, media, "tflop_per_mpx", "TFLOP/Mpx")
    square = _known(situation, media, "attention_tflop_per_mpx2", "TFLOP/Mpx2") or 0.0
    if linear is None:
        per_area = _assumed(situation, "convolution-tflop-per-mpx") * TERA / BILLION
        return {"linear": Polynomial(0.0, denoiser.params * per_area)}
    return {"linear": Polynomial(0.0, linear * share * TERA), "attention": Polynomial(0.0, 0.0, square * TERA)}


def _decoder(situation: Situation, media: Media) -> Polynomial:
    """The latent decoder, per volume that is shown; its coefficient is held at a bound, so that its spread is here."""
    if situation.base.name == "sound":
        per_second = _known(situation, media, "decoder_tflop_per_second", "TFLOP/s of sound") or 0.0
        return Polynomial(0.0, per_second * TERA)
    if media.undisclosed or media.backbone == "convolution":
        # Inside of what such a model computes in all.
        return Polynomial()
    linear: Any = _known(situation, media, "decoder_tflop_per_mpx", "TFLOP/Mpx")
    square = _known(situation, media, "decoder_tflop_per_mpx2", "TFLOP/Mpx2") or 0.0
    if linear is None:
        linear = _assumed(situation, "decoder-tflop-per-mpx")
    spread = situation.sampler.spread("decoder of media", situation.prior("media.decoder-spread").value)
    return Polynomial(0.0, linear * TERA * spread, square * TERA * spread)


def _prompt_flop(situation: Situation, media: Media) -> Any:
    """Work of the text encoders; nothing where it is inside of what an undisclosed model computes, or there is none."""
    params = _known(situation, media, "text_encoder_params_b", "1e9 parameters")
    tokens = _known(situation, media, "text_encoder_tokens", "tokens")
    if params is None:
        return 0.0
    length = tokens if tokens is not None else _assumed(situation, "text-encoder-tokens")
    return encoder_linear_flop(params * BILLION, length)


def _undisclosed(situation: Situation, media: Media) -> Polynomial:
    """Work of a model that nobody has disclosed, per volume of an evaluation: from its price, else of its class."""
    name, usual = _price_class(situation, media)
    total = situation.drawn(f"compute of {situation.model.id}", name) * usual
    priors = situation.catalogue.priors
    evaluations = (media.steps or priors["media.input_steps"].value.value) * (
        media.evaluations_per_step or priors["media.guidance_evaluations"].value.value
    )
    return Polynomial(0.0, total * TERA / evaluations)


def _price_factor(situation: Situation, media: Media) -> float:
    """By what the price of an undisclosed model scales the work of its class; 1 where it is not sold by the second."""
    anchor = situation.catalogue.priors.get(f"media.price.{(media.price_unit or '').replace(' ', '-')}")
    if media.price_usd is None or anchor is None:
        return 1.0
    slope = situation.prior("media.compute.price-slope").value.value
    reason = (
        f"undisclosed: work of its class, scaled by its price over the {anchor.value.value:.3g} USD of a usual "
        f"{media.price_unit}, with the slope of pictures, as too few open models are sold so"
    )
    situation.note("price_usd", Range.exact(media.price_usd), "USD", "inferred", reason, media.origin("price_usd"))
    return float((media.price_usd / anchor.value.value) ** slope)


def _price_class(situation: Situation, media: Media) -> tuple[str, float]:
    """Which assumption tells what an undisclosed model computes, and by what it is scaled to a unit of volume."""
    if situation.base.name == "video":
        return "media.compute.video", _price_factor(situation, media)
    area = usual_size(media).megapixels
    if media.price_usd is None or media.price_unit not in ("image", "megapixel"):
        return "media.compute.image", 1.0
    usd = media.price_usd * (area if media.price_unit == "megapixel" else 1.0)
    priors = situation.catalogue.priors
    anchor = priors["media.compute.price"].value.value
    slope = priors["media.compute.price-slope"].value.value
    reason = f"undisclosed: its compute follows from {media.price_usd:g} USD per {media.price_unit}"
    situation.note("price_usd", Range.exact(media.price_usd), "USD", "inferred", reason, media.origin("price_usd"))
    return "media.compute.image-by-price", (usd / anchor) ** slope / area
