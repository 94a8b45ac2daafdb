"""Text in, text out: tokens as features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from inferprint.modalities.base import Feature, Ideal, Modality
from inferprint.physics import terms, work
from inferprint.physics.terms import ModelShape, Replica, Traffic

FEATURES = (
    Feature("request", "request", "prefill"),
    Feature("media_prompts", "request", "prefill"),
    Feature("fresh_input_tokens", "token", "prefill"),
    Feature("first_chunk_tokens", "token", "prefill"),
    Feature("prompt_pairs", "pair", "prefill"),
    Feature("windowed_prompt_pairs", "pair", "prefill"),
    Feature("cached_input_tokens", "token", "prefill"),
    Feature("windowed_cached_tokens", "token", "prefill"),
    Feature("output_tokens", "token", "decode"),
    Feature("output_context", "token read", "decode"),
    Feature("windowed_output_context", "token read", "decode"),
    Feature("measured_seconds", "s", "measured"),
)

CHUNK_TOKENS = 512
"""Prompt tokens that an engine passes on together from one device to the next."""


def count(columns: Mapping[str, Any], window: Any, minimum: work.Minimum) -> tuple[Any, ...]:
    """Features of text requests, in the order of `FEATURES`.

    Parameters
    ----------
    columns
        input_tokens, cached_input_tokens, output_tokens (per request, cached being part of input), n_requests,
        measured_seconds, and media_prompts: 1 for a request with pictures or video in its prompt, else 0.
    window
        Attention window of the card's model [tokens].
    """
    n_in, cached, n_out = columns["input_tokens"], columns["cached_input_tokens"], columns["output_tokens"]
    n = columns["n_requests"]
    fresh = n_in - cached
    return (
        n,
        n * columns["media_prompts"],
        n * fresh,
        n * minimum(fresh, CHUNK_TOKENS),
        n * work.causal_pairs(fresh, cached),
        n * work.windowed_causal_pairs(fresh, cached, window, minimum),
        n * cached,
        n * minimum(cached, window),
        n * n_out,
        n * work.context_reads(n_in, n_out),
        n * work.windowed_context_reads(n_in, n_out, window, minimum),
        n * columns["measured_seconds"],
    )


def _prompt(shape: ModelShape, replica: Replica) -> dict[str, dict[str, Any]]:
    """What a request's own prompt costs, whoever else is there."""
    full, windowed = terms.cache_reads(shape, replica)
    return {
        "media_prompts": {"media_prompts": 1.0},
        "fresh_input_tokens": {"prompt_linear": terms.prompt_linear_seconds(shape, replica)},
        "prompt_pairs": {"prompt_attention": terms.prompt_attention_seconds(shape.attention_width, replica)},
        "windowed_prompt_pairs": {
            "prompt_attention": terms.prompt_attention_seconds(shape.windowed_attention_width, replica)
        },
        "cached_input_tokens": {"kv_reads": full},
        "windowed_cached_tokens": {"kv_reads": windowed},
        "output_context": {"kv_reads": full},
        "windowed_output_context": {"kv_reads": windowed},
    }


def _prompt_pass(shape: ModelShape, replica: Replica) -> dict[str, Any]:
    """One weight read and one fixed time per pass over prompts; a prompt touches every expert."""
    return terms.shared_step(shape, replica, np.inf)


def share(shape: ModelShape, replica: Replica, traffic: Traffic) -> Ideal:
    """Ideal cost of the request's share: its own prompt and cache, 1/B of what the batch shares."""
    step = {name: value / traffic.batch for name, value in terms.shared_step(shape, replica, traffic.batch).items()}
    prompt_pass = {name: value / traffic.batch for name, value in _prompt_pass(shape, replica).items()}
    return {
        "request": prompt_pass,
        **_prompt(shape, replica),
        "output_tokens": {**step, **terms.own_step(shape, replica)},
    }


def seen(shape: ModelShape, replica: Replica, traffic: Traffic) -> Ideal:
    """Ideal time that the request sees: every step with the work of all B requests, the others of the usual mix."""
    own = {name: traffic.batch * value for name, value in terms.own_step(shape, replica).items()}
    others = _others(shape, replica, traffic)
    return {
        "request": _prompt_pass(shape, replica),
        **_prompt(shape, replica),
        "output_tokens": {**terms.shared_step(shape, replica, traffic.batch), **own, **others},
    }


def _others(shape: ModelShape, replica: Replica, traffic: Traffic) -> dict[str, Any]:
    """Cache reads and prompts of the other B - 1 requests, per decode step."""
    others = traffic.batch - 1
    n_in, n_out = traffic.input_tokens, traffic.output_tokens
    full, windowed = terms.cache_reads(shape, replica)
    context = n_in + n_out / 2
    reads = full * context + windowed * np.minimum(context, shape.window_tokens)
    pairs = work.causal_pairs(n_in, 0.0)
    windowed_pairs = work.windowed_causal_pairs(n_in, 0.0, shape.window_tokens, np.minimum)
    attention = pairs * terms.prompt_attention_seconds(shape.attention_width, replica) + (
        windowed_pairs * terms.prompt_attention_seconds(shape.windowed_attention_width, replica)
    )
    return {
        "kv_reads": others * reads,
        "media_prompts": others / n_out * traffic.media_prompts,
        "prompt_linear": others / n_out * n_in * terms.prompt_linear_seconds(shape, replica),
        "prompt_attention": others / n_out * attention,
    }


def alone(shape: ModelShape, replica: Replica, traffic: Traffic) -> Ideal:
    """Ideal time of one request alone on an engine that holds the layers on one device after the other.

    A long prompt follows itself in chunks: while one device computes a chunk, the one before it computes the next. The
    part that does so takes (n + (S - 1) min(n, chunk)) / S token times on S devices, attention 1 / S; an answer cannot.
    """
    costs = seen(shape, replica, traffic)
    stages = replica.stages
    linear = costs["fresh_input_tokens"]["prompt_linear"]
    waiting = stages - 1
    return {
        **costs,
        "fresh_input_tokens": {"prompt_linear": linear, "prompt_pipelined": linear / stages},
        "first_chunk_tokens": {"prompt_pipelined": linear * waiting / stages},
        **{
            name: {"prompt_attention": costs[name]["prompt_attention"] / stages}
            for name in ("prompt_pairs", "windowed_prompt_pairs")
        },
        "output_tokens": {**costs["output_tokens"], "layer_exchanges": shape.layers * (replica.devices - 1)},
    }


TEXT = Modality("text", FEATURES, count, share, seen, alone)
