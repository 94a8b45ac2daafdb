"""Ideal seconds of each part of serving a request: work over datasheet peak.

Learned coefficients turn ideal into real; they live in the catalogue, not here. Two views of the same step:

* the **share** of one request: its own prompt and cache reads, plus 1/B of what the batch shares. Energy, device time
  and manufacture use it; the shares of a batch add up to the step.
* what the request **sees**: the whole step with all B requests in it. Its duration uses it.

Sizes in parameters, bytes and tokens; rates in bytes/s and FLOP/s of one device; results in seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from inferprint.physics.work import touched_experts
from inferprint.quantities import equation

Terms = Mapping[str, Any]


@dataclass(frozen=True, repr=False)
class ModelShape:
    """What a model makes the hardware read and compute; scalars or arrays over draws.

    Attributes
    ----------
    total_params, active_params
        Parameters in all, and those that one token uses.
    expert_share
        Experts per token over experts, k / E; 1 for a dense model.
    bytes_per_param
        Weight file size over parameters [bytes].
    layers, moe_layers, state_space_layers
        Layers in all, with experts, with a state-space or linear-attention mixer.
    hidden_size
        Width of the residual stream.
    attention_width, windowed_attention_width
        Query heads x head size, summed over full and over windowed attention layers.
    kv_bytes_per_token, windowed_kv_bytes_per_token
        Cache per token of the full and of the windowed attention layers [bytes].
    window_tokens
        Attention window of the windowed layers [tokens].
    quantised_moe_layers
        Layers with experts whose activations are quantised on the way in: 8-bit arithmetic.
    kv_heads
        Key and value heads that the cache can be split by; 1 where all heads share one latent vector.
    experts_per_token
        Experts to which each token is sent.
    expert_imbalance
        Tokens of the busiest rank of experts over those of the mean rank.
    encoder
        Work of the encoder of pictures and sound over what is known, or usual.
    unpacking, cache_unpacking, windowed_cache_unpacking
        Time to read and unpack the weights, or the cache of the full or windowed layers, over the time to read their
        bytes.
    routing
        Groups of experts that are used more or less: (share of the experts, their use over the mean expert's).
    """

    total_params: Any
    active_params: Any
    expert_share: Any
    bytes_per_param: Any
    layers: Any
    moe_layers: Any
    state_space_layers: Any
    hidden_size: Any
    attention_width: Any
    windowed_attention_width: Any
    kv_bytes_per_token: Any
    windowed_kv_bytes_per_token: Any
    window_tokens: Any
    quantised_moe_layers: Any = 0.0
    kv_heads: Any = np.inf
    experts_per_token: Any = 0.0
    expert_imbalance: Any = 1.0
    encoder: Any = 1.0
    unpacking: Any = 1.0
    cache_unpacking: Any = 1.0
    windowed_cache_unpacking: Any = 1.0
    routing: tuple[tuple[float, float], ...] = ((1.0, 1.0),)
    expert_params: Any = field(init=False)

    def __post_init__(self) -> None:
        """Count the parameters in experts once: every step asks for them."""
        found = expert_params(self.total_params, self.active_params, self.expert_share)
        object.__setattr__(self, "expert_params", found)


@dataclass(frozen=True, repr=False)
class Replica:
    """The devices that hold one copy of the model; scalars or arrays over draws.

    Attributes
    ----------
    devices
        Number of devices that work on a step together, G.
    bandwidth
        Memory bandwidth of one device [bytes/s].
    flops_16, flops
        Dense FLOP/s of one device at 16 bit and at the precision that is executed.
    link_bandwidth
        Bandwidth of one device to its peers, one direction [bytes/s].
    ranks
        Groups of devices with sequences of their own (data-parallel attention).
    stages
        Devices that hold the layers one after the other and wait for each other.
    hops
        Times that a token's activations pass on to the next stage of a pipeline, whose stages all work.
    expert_ranks
        Devices over which whole experts are spread, so that tokens travel to them; 0 where each expert is split over
        all devices.
    exchange_bandwidth, exchange_bytes
        Bandwidth of one device towards other experts [bytes/s]; bytes of a value on its way there and back.
    prompts
        The devices that compute prompts, where they are others than those that answer.
    transfer_bandwidth
        Bandwidth at which the cache of a prompt moves from there to here [bytes/s].
    """

    devices: Any
    bandwidth: Any
    flops_16: Any
    flops: Any
    link_bandwidth: Any
    ranks: Any = 1.0
    stages: Any = 1.0
    hops: Any = 0.0
    expert_ranks: Any = 0.0
    exchange_bandwidth: Any = np.inf
    exchange_bytes: Any = 0.0
    prompts: Replica | None = None
    transfer_bandwidth: Any = np.inf


@dataclass(frozen=True)
class Steps:
    """How many tokens a sequence gains in a decode step; scalars or arrays over draws.

    Attributes
    ----------
    drafted
        Tokens guessed before each step, which the step verifies together with the next one.
    accepted
        Tokens that a step yields, the guesses found right among them.
    draft_cost
        Cost of guessing one token over that of a plain step.
    """

    drafted: Any = 0.0
    accepted: Any = 1.0
    draft_cost: Any = 0.0


@dataclass(frozen=True, repr=False)
class Traffic:
    """What else is on the replica: requests per decode step, and the usual lengths of the others [tokens].

    Attributes
    ----------
    media_prompts, encoder_gflop, encoder_attention_gflop
        Share of the others with a picture or video in the prompt; what encoders compute for one of the others.
    cached_tokens
        Of the others' prompts, what a cache holds already [tokens].
    fill
        Share of the places in a step that yield a token.
    steps
        Tokens per step.
    chunk_tokens
        Prompt tokens computed in one pass; further ones take passes of their own.
    exposed
        Share of such a pass that the decode steps would not have paid anyway.
    prompts_per_pass
        Prompts that share a pass where other devices compute the prompts.
    """

    batch: Any
    input_tokens: Any
    output_tokens: Any
    media_prompts: Any = 0.0
    encoder_gflop: Any = 0.0
    encoder_attention_gflop: Any = 0.0
    cached_tokens: Any = 0.0
    fill: Any = 1.0
    steps: Steps = field(default_factory=Steps)
    chunk_tokens: Any = np.inf
    exposed: Any = 0.0
    prompts_per_pass: Any = 1.0


@equation("P_exp = (P - P_act) / (1 - k/E);  P_dense = P - P_exp", "docs/method.md#mixture-of-experts")
def expert_params(total_params: Any, active_params: Any, expert_share: Any) -> Any:
    """Parameters that sit in experts; 0 for a dense model (k/E = 1)."""
    sparse = np.less(expert_share, 1.0)
    spare = np.where(sparse, 1.0 - expert_share, 1.0)
    return np.where(sparse, np.minimum((total_params - active_params) / spare, total_params), 0.0)


@equation("tau = bytes / (G A_bw)", "docs/method.md#ideal-seconds")
def read_seconds(size: Any, replica: Replica) -> Any:
    """Seconds to read `size` bytes spread over the replica's memories."""
    return size / (replica.devices * replica.bandwidth)


@equation("tau = FLOP / (G A)", "docs/method.md#ideal-seconds")
def compute_seconds(flop: Any, replica: Replica, flops: Any) -> Any:
    """Seconds to compute `flop` operations on all devices at `flops` FLOP/s each."""
    return flop / (replica.devices * flops)


@equation("tau = (2 N - N_moe [EP]) d 2 bytes (g - 1)/g / (R A_link),  g = G/R", "docs/method.md#ideal-seconds")
def all_reduce_seconds(shape: ModelShape, replica: Replica) -> Any:
    """Seconds per token to exchange 16-bit activations twice a layer between the devices of a rank.

    Layers whose experts are spread whole exchange once: their tokens travel instead.
    """
    together = replica.devices / replica.ranks
    others = (together - 1) / together
    exchanges = 2 * shape.layers - np.where(np.greater(replica.expert_ranks, 0), shape.moe_layers, 0.0)
    return exchanges * shape.hidden_size * 2 * others / replica.link_bandwidth / replica.ranks


@equation("tau = i N_moe k d bytes (1 - 1/E_r) / (E_r A_x)", "docs/method.md#ideal-seconds")
def expert_exchange_seconds(shape: ModelShape, replica: Replica) -> Any:
    """Seconds per token to send its activations to its experts on other devices and back; 0 where none are spread.

    The busiest rank decides here too: what comes to it is i times the mean.
    """
    spread = np.greater(replica.expert_ranks, 0)
    ranks = np.where(spread, replica.expert_ranks, 1.0)
    size = shape.moe_layers * shape.experts_per_token * shape.hidden_size * replica.exchange_bytes
    size = size * shape.expert_imbalance
    return np.where(spread, size * (1 - 1 / ranks) / ranks / replica.exchange_bandwidth, 0.0)


@equation("tau = hops d 2 bytes / A_link", "docs/method.md#ideal-seconds")
def stage_transfer_seconds(shape: ModelShape, replica: Replica) -> Any:
    """Seconds per token to pass 16-bit activations from stage to stage of a pipeline."""
    return replica.hops * shape.hidden_size * 2 / replica.link_bandwidth


@equation("touched(T) = sum over groups of w (1 - (1 - p k/E)^T)", "docs/method.md#mixture-of-experts")
def routed_experts(shape: ModelShape, tokens: Any) -> Any:
    """Share of the experts that a step of `tokens` reads, where some experts are used more than others."""
    # Each token goes to an expert once at most.
    chances = ((share, np.minimum(shape.expert_share * use, 1.0)) for share, use in shape.routing)
    return sum(share * touched_experts(chance, tokens) for share, chance in chances)


def shared_step(shape: ModelShape, replica: Replica, tokens: Any) -> dict[str, Any]:
    """Ideal cost of one decode step of `tokens` that does not grow with them, by term.

    Weight terms in seconds; the layers of each kind are counts, their coefficient is in seconds each. Every rank holds
    the weights outside the experts and reads them for its own sequences.
    """
    experts = shape.expert_params
    dense = shape.total_params - experts
    b = shape.bytes_per_param * shape.unpacking
    # Even the busiest rank reads each of its experts once at most.
    touched = np.minimum(routed_experts(shape, tokens) * shape.expert_imbalance, 1.0)
    return {
        "dense_weights": read_seconds(b * dense * replica.ranks, replica),
        "expert_weights": read_seconds(b * experts * touched, replica),
        "layers": shape.layers,
        "expert_layers": shape.moe_layers,
        "quantised_expert_layers": shape.quantised_moe_layers,
    }


def own_step(shape: ModelShape, replica: Replica, tokens: Any = 1.0) -> dict[str, Any]:
    """Ideal cost of one request in one decode step of `tokens` of it, without its cache reads, by term.

    `state_space_layers` and `sequences` are counts, their coefficient is in seconds each; a rank handles its own
    sequences only.
    """
    experts = shape.expert_params
    busiest = shape.expert_imbalance * experts * shape.expert_share
    return {
        "dense_arithmetic": tokens * compute_seconds(2 * (shape.total_params - experts), replica, replica.flops),
        "expert_arithmetic": tokens * compute_seconds(2 * busiest, replica, replica.flops),
        "all_reduce": tokens * all_reduce_seconds(shape, replica),
        "expert_exchange": tokens * expert_exchange_seconds(shape, replica),
        "stage_transfer": tokens * stage_transfer_seconds(shape, replica),
        "state_space_layers": tokens * shape.state_space_layers,
        "sequences": np.ones_like(np.asarray(shape.layers, dtype=float)) / replica.ranks,
    }


@equation("copies = max(1, G / ranks / kv heads)", "docs/method.md#ideal-seconds")
def cache_copies(shape: ModelShape, replica: Replica) -> Any:
    """Copies of the cache on a replica: a head cannot be split, so more devices than heads hold it again."""
    return np.maximum(replica.devices / replica.ranks / shape.kv_heads, 1.0)


def cache_reads(shape: ModelShape, replica: Replica) -> tuple[Any, Any]:
    """Ideal seconds to read one cached token in all full, and in all windowed, attention layers."""
    copies = cache_copies(shape, replica)
    return (
        read_seconds(copies * shape.cache_unpacking * shape.kv_bytes_per_token, replica),
        read_seconds(copies * shape.windowed_cache_unpacking * shape.windowed_kv_bytes_per_token, replica),
    )


@equation("tau = kv / A_transfer per prompt token", "docs/method.md#disaggregation")
def cache_transfer_seconds(shape: ModelShape, replica: Replica) -> Any:
    """Seconds to move the cache of one prompt token to the devices that answer; 0 where they are the same."""
    return shape.kv_bytes_per_token / replica.transfer_bandwidth


@equation("tau_lin = 2 (r (P_act - P_exp k/E) + i P_exp k/E) / (G A_f) per fresh token", "docs/method.md#prompt")
def prompt_linear_seconds(shape: ModelShape, replica: Replica, ranks: Any = 1.0) -> Any:
    """Ideal seconds of the matrix products of one fresh prompt token; the busiest rank of experts decides.

    `ranks` is 1 for the average over prompts that all ranks compute at a time, and the number of ranks for one prompt
    alone, which one of them computes.
    """
    experts = shape.expert_params * shape.expert_share
    dense = shape.active_params - experts
    return compute_seconds(2 * (ranks * dense + shape.expert_imbalance * experts), replica, replica.flops)


@equation("tau_att = 4 h d_h N_attn / (G A_16) per pair", "docs/method.md#prompt")
def prompt_attention_seconds(attention_width: Any, replica: Replica) -> Any:
    """Ideal seconds of the attention of one (query, key) pair over layers of summed width h d_h N."""
    return compute_seconds(4 * attention_width, replica, replica.flops_16)


@equation("t_in = 2 P n_in / (G A_f)", "docs/method.md#two-term-form")
def two_term_prefill_seconds(shape: ModelShape, replica: Replica) -> Any:
    """Ideal prefill seconds per input token of the two-term form."""
    return compute_seconds(2 * shape.total_params, replica, replica.flops)


@equation("t_out = P b n_out / (G A_bw)", "docs/method.md#two-term-form")
def two_term_decode_seconds(shape: ModelShape, replica: Replica) -> Any:
    """Ideal decode seconds per output token of the two-term form."""
    return read_seconds(shape.total_params * shape.bytes_per_param, replica)


@equation("t = 2 P T / (G A_f) per evaluation", "docs/method.md#two-term-form")
def two_term_media_seconds(params: Any, tokens: Any, replica: Replica) -> Any:
    """Seconds of the two-term form for `tokens` latent tokens of one evaluation of a denoiser."""
    return compute_seconds(2 * params * tokens, replica, replica.flops)


@equation("t = sum of coefficient x ideal", "docs/method.md#default-form")
def weighted(terms: Terms, coefficients: Mapping[str, Any]) -> Any:
    """Sum of the terms, each times its learned coefficient; a term without one counts nothing."""
    total: Any = 0.0
    for name, value in terms.items():
        if name in coefficients:
            total = total + coefficients[name] * value
    return total


UNLEARNED = {"expert_exchange": 1.0, "stage_transfer": 1.0, "cache_transfer": 1.0}
"""Coefficients of terms that no measurement here could teach: layouts that few publish, at the stated bandwidth."""

TERM_EQUATIONS = {
    "expert_exchange": "expert_exchange_seconds",
    "stage_transfer": "stage_transfer_seconds",
    "cache_transfer": "cache_transfer_seconds",
    "exchange": "exchange_seconds",
    "decoder": "decoder_seconds",
    "denoiser": "compute_seconds",
    "meeting_layers": "meeting_layers",
    "dense_weights": "read_seconds",
    "expert_weights": "read_seconds",
    "kv_reads": "read_seconds",
    "dense_arithmetic": "compute_seconds",
    "expert_arithmetic": "compute_seconds",
    "all_reduce": "all_reduce_seconds",
    "prompt_linear": "prompt_linear_seconds",
    "prompt_attention": "prompt_attention_seconds",
    "prefill": "two_term_prefill_seconds",
    "decode": "two_term_decode_seconds",
}
"""Function whose equation gives each term; the other terms are counts of layers or sequences."""
