"""How much a denoiser computes to make a picture, a clip or sound, as a polynomial in what is made.

The unit of what is made, its volume, is 2^20 pixels of a picture, of a latent frame of a clip, or a second of sound.
FLOP are multiplications and additions, 2 for each pair. No function branches on a value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from inferprint.physics.terms import Replica
from inferprint.quantities import equation


@dataclass(frozen=True)
class Tokens:
    """A transformer over latent tokens; scalars or arrays over draws.

    Attributes
    ----------
    params_per_token
        Parameters that multiply one token of the sequence: each token sees one of several sets of weights, and those of
        modulation work once a step.
    width, layers
        Width of the residual stream, and layers with attention.
    per_volume
        Latent tokens per unit of volume.
    joint_text, cross_text
        Text tokens in the sequence, and those that it only looks at.
    quadratic
        1 where every token attends to every other one, 0 where attention is linear.
    latent_layers
        Further layers with attention among the latent tokens alone.
    """

    params_per_token: Any
    width: Any
    layers: Any
    per_volume: Any
    joint_text: Any = 0.0
    cross_text: Any = 0.0
    quadratic: Any = 1.0
    latent_layers: Any = 0.0


@dataclass(frozen=True)
class Polynomial:
    """FLOP of one evaluation: per evaluation, per unit of volume, and per pair of units that attend to each other."""

    once: Any = 0.0
    per_volume: Any = 0.0
    per_pair: Any = 0.0


@dataclass(frozen=True)
class Denoiser:
    """What makes hardware compute when a picture, a clip or sound is made; scalars or arrays over draws.

    Attributes
    ----------
    linear, attention
        FLOP of one evaluation outside, and in, the products of attention.
    decoder
        FLOP to turn latents into what is shown; per unit of the volume that is shown.
    prompt_flop
        FLOP of the text encoders for one prompt.
    exchanged
        Values that the layers of one evaluation pass on: tokens x width x layers.
    joint_text
        Text tokens in the sequence of the latent ones.
    layers
        Layers of the denoiser.
    params, tokens_per_volume
        Its parameters, and latent tokens per unit of volume.
    held_bytes
        What the devices hold: denoiser, text encoders, decoder [bytes].
    """

    linear: Polynomial
    attention: Polynomial
    decoder: Polynomial
    prompt_flop: Any
    exchanged: Polynomial
    joint_text: Any
    layers: Any
    params: Any
    tokens_per_volume: Any
    held_bytes: Any


@equation("F_lin = 2 P_eff (T + L_joint)", "docs/method.md#pictures-video-sound")
def linear_flop(tokens: Tokens) -> Polynomial:
    """FLOP of one evaluation of a transformer in products with weights."""
    each = 2 * tokens.params_per_token
    return Polynomial(each * tokens.joint_text, each * tokens.per_volume)


@equation("F_att = 4 (T + L_joint)^2 d N + 4 T L_cross d N + 4 T^2 d N_latent", "docs/method.md#pictures-video-sound")
def attention_flop(tokens: Tokens) -> Polynomial:
    """FLOP of one evaluation of a transformer in the products of attention."""
    each = 4 * tokens.width * tokens.layers
    square = each * tokens.quadratic
    return Polynomial(
        square * tokens.joint_text**2,
        2 * square * tokens.joint_text * tokens.per_volume + each * tokens.cross_text * tokens.per_volume,
        (square + 4 * tokens.width * tokens.latent_layers) * tokens.per_volume**2,
    )


@equation("X = (T + L_joint) d N", "docs/method.md#pictures-video-sound")
def exchanged_values(tokens: Tokens) -> Polynomial:
    """Values that the layers of a transformer pass on in one evaluation."""
    each = tokens.width * tokens.layers
    return Polynomial(each * tokens.joint_text, each * tokens.per_volume)


@equation("tau = 4 x 2 bytes X (G - 1)/G / (G A_link)", "docs/method.md#pictures-video-sound")
def exchange_seconds(values: Any, replica: Replica) -> Any:
    """Seconds in which devices that share a sequence exchange queries, keys, values and outputs in 16 bits.

    None on one device.
    """
    others = (replica.devices - 1) / replica.devices
    return 4 * 2 * values * others / replica.devices / replica.link_bandwidth


@equation("copies = 1 if L_joint mod G = 0, else G", "docs/method.md#pictures-video-sound")
def text_copies(joint_text: Any, devices: Any) -> Any:
    """Devices that compute each text token: a text that cannot be split evenly is computed by all of them."""
    return np.where(np.equal(np.mod(joint_text, devices), 0), 1.0, devices)


@equation("tau = F_dec / A_16", "docs/method.md#pictures-video-sound")
def decoder_seconds(flop: Any, replica: Replica) -> Any:
    """Seconds of a decoder, which every device runs for itself."""
    return flop / replica.flops_16


@equation("rounds = N log2 G", "docs/method.md#pictures-video-sound")
def meeting_layers(layers: Any, devices: Any) -> Any:
    """Layers times the rounds in which devices that share a sequence wait for each other; none on one device."""
    return layers * np.log2(devices)
