"""The forms that are fitted: their terms, what physics allows their coefficients, and the effects that may hold.

Energies are fitted over the power limit of the devices, so a coefficient of energy is one of time times the share of
the limit that is drawn meanwhile. A coefficient of ideal seconds cannot be below 1 where the term fills the time and
power is at the limit: nothing beats its datasheet. The arithmetic of a step is held at 2.5 times its ideal time or
more, because the energy measured for it would else need more than the limit. Prompts are held at 1.3 or more in time
and energy, as no engine is known to do better, and their attention at 4 or less, so that a long prompt draws what a
device that computes draws. Upper bounds, and the lowest of counts, only keep the search where numbers are finite: a
value that lies there is poorly told by the rows. Terms that a fit with models left out does not need are not here;
`docs/calibration.md` says which were tried.
"""

from __future__ import annotations

from inferprint.calibration.regression import Bound, Spec


def _seconds(start: float, low: float = 1e-7) -> Bound:
    """A coefficient in seconds for each layer, sequence or the like."""
    return Bound(low, start, 1e-3)


ENERGY = Spec(
    id="energy.served",
    quantity="energy",
    view="share",
    terms={
        "dense_weights": Bound(0.2, 0.7, 3.0),
        "expert_weights": Bound(0.2, 0.7, 5.0),
        "kv_reads": Bound(0.2, 0.7, 5.0),
        "dense_arithmetic": Bound(0.5, 1.0, 6.0),
        "expert_arithmetic": Bound(0.5, 1.5, 20.0),
        "layers": _seconds(3e-5),
        "quantised_expert_layers": _seconds(2e-5),
        "sequences": _seconds(2e-5),
        "state_space_layers": Bound(1e-9, 1e-6, 1e-4),
        "all_reduce": Bound(0.1, 1.0, 20.0),
        "prompt_linear": Bound(1.3, 1.8, 3.5),
        "prompt_attention": Bound(1.3, 1.8, 4.0),
        "media_prompts": Bound(1e-5, 0.01, 0.3),
    },
    effects=(
        "all:blackwell",
        "all:eager",
        "all:volta",
        "all:vllm-2024",
        "fixed:vllm-2024",
    ),
)

SERVED = Spec(
    id="duration.served",
    quantity="served-duration",
    view="seen",
    terms={
        "dense_weights": Bound(1.0, 1.3, 3.0),
        "expert_weights": Bound(1.0, 1.3, 5.0),
        "kv_reads": Bound(1.0, 1.1, 5.0),
        "dense_arithmetic": Bound(2.5, 2.6, 6.0),
        "expert_arithmetic": Bound(1.0, 1.5, 20.0),
        "layers": _seconds(5e-5),
        "expert_layers": _seconds(5e-5),
        "quantised_expert_layers": _seconds(1e-5),
        "sequences": _seconds(3e-5),
        "state_space_layers": Bound(1e-9, 1e-6, 1e-4),
        "all_reduce": Bound(0.3, 1.0, 20.0),
        "prompt_linear": Bound(1.3, 1.5, 10.0),
        "prompt_attention": Bound(1.3, 2.0, 4.0),
        "media_prompts": Bound(1e-5, 0.01, 0.3),
    },
    effects=(
        "all:int4",
        "fixed:mxfp4",
        "fixed:eager",
        "fixed:vllm-0.11",
        "fixed:vllm-2024",
    ),
)

SINGLE = Spec(
    id="duration.single",
    quantity="single-duration",
    view="seen",
    terms={
        "dense_weights": Bound(1.0, 1.1, 3.0),
        "kv_reads": Bound(1.0, 1.1, 5.0),
        "layers": _seconds(7e-5),
        "prompt_linear": Bound(0.05, 1.0, 10.0),
        "prompt_pipelined": Bound(0.05, 1.5, 10.0),
        "prompt_attention": Bound(0.1, 6.0, 40.0),
        "layer_exchanges": _seconds(2e-4),
    },
    effects=(
        "prompt:consumer",
        "prompt:hbm",
        "prompt:unified",
        "prompt:gguf",
        "reads:hbm",
        "layers:hbm",
        "layers:unified",
    ),
    # Peaks of consumer cards are stated for sums in 32 bit, at half the rate of the 16-bit sums that the engine uses.
    centres={"prompt:consumer": -0.7},
)

_MEDIA_TERMS: dict[str, Bound] = {
    "denoiser": Bound(1.0, 3.0, 10.0),
    # Few-step models would show what a decoder takes: one row of one is there, and says that it is no more than this.
    "decoder": Bound(1.0, 9.0, 12.0),
    "denoiser_layers": _seconds(1e-4),
    "meeting_layers": _seconds(5e-5),
    "exchange": Bound(0.3, 3.0, 20.0),
}

MEDIA_ENERGY = Spec(
    id="energy.media",
    quantity="media-energy",
    view="share",
    terms=_MEDIA_TERMS,
    effects=("work:peak",),
)

MEDIA_DURATION = Spec(
    id="duration.media",
    quantity="media-duration",
    view="seen",
    terms=_MEDIA_TERMS,
    effects=("work:peak",),
)

TWO_TERM = Spec(
    id="two-term",
    quantity="two-term",
    view="two_term",
    terms={"prefill": Bound(0.0, 1.0, 100.0), "decode": Bound(0.0, 1.0, 100.0)},
)
