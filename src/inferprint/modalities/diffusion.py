"""Pictures, clips and sound made by a denoiser: evaluations of it over a volume, then a decoder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from inferprint.modalities.base import Feature, Ideal, Modality, whole_pass
from inferprint.physics import denoising
from inferprint.physics.denoising import Denoiser
from inferprint.physics.terms import Replica, Traffic, compute_seconds
from inferprint.physics.work import Minimum

COLUMNS = (
    "prompts",
    "input_volume",
    "evaluations",
    "evaluation_volume",
    "evaluation_pairs",
    "outputs",
    "output_volume",
    "output_pairs",
)
"""Work of one request: prompts that are encoded; volume of what is given; evaluations of the denoiser, their volume and
pairs of units that attend to each other; what is made, its volume, and pairs within a picture of it."""


def features_of(thing: str, volume: str) -> tuple[Feature, ...]:
    """Features of a modality that makes a `thing` with volumes in the unit `volume`."""
    return (
        Feature("prompts", "prompt", "prefill"),
        Feature("input_volume", volume, "prefill"),
        Feature("evaluations", "evaluation", "decode"),
        Feature("evaluation_volume", volume, "decode"),
        Feature("evaluation_pairs", f"{volume} squared", "decode"),
        Feature("outputs", thing, "decode"),
        Feature("output_volume", volume, "decode"),
        Feature("output_pairs", f"{volume} squared", "decode"),
        Feature("measured_seconds", "s", "measured"),
    )


def count(columns: Mapping[str, Any], window: Any, minimum: Minimum) -> tuple[Any, ...]:  # noqa: ARG001
    """Features of requests, in the order of `features_of`.

    Parameters
    ----------
    columns
        `COLUMNS` per request, n_requests and measured_seconds.
    window, minimum
        Not used: no feature of a denoiser needs them.
    """
    n = columns["n_requests"]
    return (*(n * columns[name] for name in COLUMNS), n * columns["measured_seconds"])


def share(denoiser: Denoiser, replica: Replica, traffic: Traffic) -> Ideal:
    """Ideal cost of a request's share: its own pictures, and 1/B of what the pictures of a pass share.

    All is at the peak of 16 bits: no picture was measured in fewer.
    """
    together = 1 / traffic.batch
    decoder = denoiser.decoder
    copies = denoising.text_copies(denoiser.joint_text, replica.devices)

    def evaluation(name: str, copies: Any = 1.0) -> dict[str, Any]:
        flop = copies * getattr(denoiser.linear, name) + getattr(denoiser.attention, name)
        values = getattr(denoiser.exchanged, name)
        return {
            "denoiser": compute_seconds(flop, replica, replica.flops_16),
            "exchange": denoising.exchange_seconds(values, replica),
        }

    return {
        "prompts": {"denoiser": compute_seconds(denoiser.prompt_flop, replica, replica.flops_16)},
        "input_volume": {"decoder": denoising.decoder_seconds(ENCODER_SHARE * decoder.per_volume, replica)},
        "evaluations": {
            **evaluation("once", copies),
            "denoiser_layers": denoiser.layers * together,
            "meeting_layers": denoising.meeting_layers(denoiser.layers, replica.devices) * together,
        },
        "evaluation_volume": evaluation("per_volume"),
        "evaluation_pairs": evaluation("per_pair"),
        "output_volume": {"decoder": denoising.decoder_seconds(decoder.per_volume, replica)},
        "output_pairs": {"decoder": denoising.decoder_seconds(decoder.per_pair, replica)},
    }


ENCODER_SHARE = 0.47
"""Work of a latent encoder over that of its decoder: 4.88 of 10.47 TFLOP at 1024 x 1024 pixels."""


def seen(denoiser: Denoiser, replica: Replica, traffic: Traffic) -> Ideal:
    """Ideal time of a whole pass, for all of its pictures together."""
    return whole_pass(share(denoiser, replica, traffic), traffic.batch)


def diffusion(name: str, thing: str, volume: str) -> Modality:
    """The modality that makes a `thing`; one alone in its pass is a pass of one."""
    return Modality(name, features_of(thing, volume), count, share, seen, seen, by_denoiser=True)
