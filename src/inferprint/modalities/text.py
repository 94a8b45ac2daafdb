"""Text in, text out: tokens as features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from inferprint.modalities.base import Feature, Ideal, Modality
from inferprint.physics import terms, work
from inferprint.physics.terms import ModelShape, Replica, Traffic
from inferprint.units import GIGA

FEATURES = (
    Feature("request", "request", "prefill"),
    Feature("media_prompts", "request", "prefill"),
    Feature("fresh_input_tokens", "token", "prefill"),
    Feature("first_chunk_tokens", "token", "prefill"),
    Feature("later_chunk_tokens", "token", "prefill"),
    Feature("prompt_pairs", "pair", "prefill"),
    Feature("windowed_prompt_pairs", "pair", "prefill"),
    Feature("cached_input_tokens", "token", "prefill"),
    Feature("windowed_cached_tokens", "token", "prefill"),
    Feature("output_tokens", "token", "decode"),
    Feature("output_context", "token read", "decode"),
    Feature("windowed_output_context", "token read", "decode"),
    Feature("encoder_gflop", "GFLOP", "prefill"),
    Feature("encoder_attention_gflop", "GFLOP", "prefill"),
    Feature("measured_seconds", "s", "measured"),
)

CHUNK_TOKENS = 512.0
"""Prompt tokens that an engine computes, and passes on from one device to the next, together where nobody says."""


def count(columns: Mapping[str, Any], window: Any, minimum: work.Minimum) -> tuple[Any, ...]:
    """Features of text requests, in the order of `FEATURES`.

    Parameters
    ----------
    columns
        input_tokens, cached_input_tokens, output_tokens (per request, cached being part of input), n_requests,
        measured_seconds, and media_prompts: 1 for a request with pictures or video in its prompt, else 0. Where a
        technique states it, chunk_tokens: prompt tokens computed together. Where pictures or sound are read or made:
        media_tokens, cross_tokens and written_tokens, which come on top of the prompt, are only looked at, and come on
        top of the answer; encoder_gflop, encoder_attention_gflop; passes, the pieces of the work that follow each
        other, each with its share of the tokens; sequences, which each hold all of them.
    window
        Attention window of the card's model [tokens].
    """
    passes = columns.get("passes", 1.0)
    seen = columns["cached_input_tokens"] + columns.get("cross_tokens", 0.0)
    n_in = (columns["input_tokens"] + columns.get("media_tokens", 0.0) + columns.get("cross_tokens", 0.0)) / passes
    cached, n_out = seen / passes, (columns["output_tokens"] + columns.get("written_tokens", 0.0)) / passes
    once = columns["n_requests"]
    n = once * passes * columns.get("sequences", 1.0)
    fresh = n_in - cached
    first = minimum(fresh, columns.get("chunk_tokens", CHUNK_TOKENS))
    return (
        n,
        once * columns["media_prompts"],
        n * fresh,
        n * first,
        n * (fresh - first),
        n * work.causal_pairs(fresh, cached),
        n * work.windowed_causal_pairs(fresh, cached, window, minimum),
        n * cached,
        n * minimum(cached, window),
        n * n_out,
        n * work.context_reads(n_in, n_out),
        n * work.windowed_context_reads(n_in, n_out, window, minimum),
        once * columns.get("encoder_gflop", 0.0),
        once * columns.get("encoder_attention_gflop", 0.0),
        once * columns["measured_seconds"],
    )


def _prompt(shape: ModelShape, replica: Replica, traffic: Traffic, ranks: Any = 1.0) -> dict[str, dict[str, Any]]:
    """What a request's own prompt costs on the devices that compute it, whoever else is there.

    A prompt of several chunks takes a pass for each, and each reads the cache of those before it. `ranks` is the number
    of ranks for the time of one prompt alone, of which one rank computes all but the experts.
    """
    full, windowed = (ranks * read for read in terms.cache_reads(shape, replica))
    chunk = traffic.chunk_tokens
    passes = _times(_prompt_pass(shape, replica), traffic.exposed / chunk)
    return {
        **_encoder(shape, replica, ranks),
        "fresh_input_tokens": {"prompt_linear": terms.prompt_linear_seconds(shape, replica, ranks)},
        "later_chunk_tokens": passes,
        "prompt_pairs": {
            "prompt_attention": ranks * terms.prompt_attention_seconds(shape.attention_width, replica),
            "kv_reads": full / chunk,
        },
        "windowed_prompt_pairs": {
            "prompt_attention": ranks * terms.prompt_attention_seconds(shape.windowed_attention_width, replica),
            "kv_reads": windowed / chunk,
        },
        "cached_input_tokens": {"kv_reads": full},
        "windowed_cached_tokens": {"kv_reads": windowed},
    }


def _encoder(shape: ModelShape, replica: Replica, ranks: Any) -> dict[str, dict[str, Any]]:
    """What it costs to read pictures and sound: the encoder computes in 16 bits, as attention does."""
    seconds = ranks * shape.encoder * terms.compute_seconds(GIGA, replica, replica.flops_16)
    return {
        "media_prompts": {"media_prompts": 1.0},
        "encoder_gflop": {"prompt_linear": seconds},
        "encoder_attention_gflop": {"prompt_attention": seconds},
    }


def _prompt_pass(shape: ModelShape, replica: Replica) -> dict[str, Any]:
    """One weight read and one fixed time per pass over prompts; a prompt touches every expert."""
    return terms.shared_step(shape, replica, np.inf)


def _times(costs: Mapping[str, Any], factor: Any) -> dict[str, Any]:
    return {name: value * factor for name, value in costs.items()}


def _plus(*costs: Mapping[str, Any]) -> dict[str, Any]:
    names = dict.fromkeys(name for cost in costs for name in cost)
    return {name: sum(cost.get(name, 0.0) for cost in costs) for name in names}


def _reading(traffic: Traffic) -> Any:
    """Times that a sequence's cache is read per output token: by the step and by the guesses before it."""
    steps = traffic.steps
    return (1 + steps.drafted * steps.draft_cost) / steps.accepted / traffic.fill


def _step(shape: ModelShape, replica: Replica, traffic: Traffic, *, all_requests: bool) -> dict[str, Any]:
    """Ideal cost of a token of the answer, without cache reads: of all requests in the step, or of one's share.

    The step verifies the guessed tokens with the next one; what guessing costs is a share of plain steps.
    """
    steps, batch = traffic.steps, traffic.batch
    shared, own = (1.0, batch) if all_requests else (1 / batch, 1.0)

    def step(tokens: Any) -> dict[str, Any]:
        one_for_all = terms.shared_step(shape, replica, batch * tokens)
        return {**_times(one_for_all, shared), **_times(terms.own_step(shape, replica, tokens), own)}

    cost = step(1 + steps.drafted)
    if np.any(steps.drafted):
        cost = _plus(cost, _times(step(1.0), steps.drafted * steps.draft_cost))
    unfilled = 1.0 if all_requests else traffic.fill
    return _times(cost, 1 / (steps.accepted * unfilled))


def _answer(shape: ModelShape, replica: Replica, factor: Any) -> dict[str, dict[str, Any]]:
    """Cache reads of the answer."""
    full, windowed = terms.cache_reads(shape, replica)
    return {
        "output_context": {"kv_reads": full * factor},
        "windowed_output_context": {"kv_reads": windowed * factor},
    }


def share(shape: ModelShape, replica: Replica, traffic: Traffic) -> Ideal:
    """Ideal cost of the request's share: its own prompt and cache, 1/B of what the batch shares.

    Seconds are those of the devices that answer: prompts on other devices count by the number of those.
    """
    here = replica.prompts or replica
    sharing = traffic.batch if replica.prompts is None else traffic.prompts_per_pass
    prompt = {"request": _times(_prompt_pass(shape, here), 1 / sharing), **_prompt(shape, here, traffic)}
    if replica.prompts is not None:
        prompt = {name: _times(costs, here.devices / replica.devices) for name, costs in prompt.items()}
    return {
        **prompt,
        **_answer(shape, replica, _reading(traffic)),
        "output_tokens": _step(shape, replica, traffic, all_requests=False),
    }


def seen(shape: ModelShape, replica: Replica, traffic: Traffic) -> Ideal:
    """Ideal time that the request sees: every step with the work of all B requests, the others of the usual mix."""
    here = replica.prompts or replica
    prompt, of_others = _prompt(shape, here, traffic, here.ranks), _prompt(shape, here, traffic)
    if replica.prompts is not None:
        # A prompt is done when all of its pass are.
        prompt = {name: _times(costs, traffic.prompts_per_pass) for name, costs in prompt.items()}
        moved = {"cache_transfer": terms.cache_transfer_seconds(shape, replica)}
        prompt = {**prompt, **{name: prompt[name] | moved for name in ("fresh_input_tokens", "cached_input_tokens")}}
    step = _step(shape, replica, traffic, all_requests=True)
    reading = _reading(traffic) * traffic.fill
    return {
        "request": _prompt_pass(shape, here),
        **prompt,
        **_answer(shape, replica, reading),
        "output_tokens": _plus(step, _others(shape, replica, traffic, reading, of_others)),
    }


def _others(shape: ModelShape, replica: Replica, traffic: Traffic, reading: Any, prompt: Ideal) -> dict[str, Any]:
    """Cache reads of the other B - 1 requests, and their prompts where the same devices compute them, per token."""
    others = traffic.batch - 1
    n_in, n_out = traffic.input_tokens, traffic.output_tokens
    full, windowed = terms.cache_reads(shape, replica)
    context = n_in + n_out / 2
    reads = {"kv_reads": others * reading * (full * context + windowed * np.minimum(context, shape.window_tokens))}
    if replica.prompts is not None:
        return reads
    cached, window = traffic.cached_tokens, shape.window_tokens
    fresh = n_in - cached
    counts = {
        "media_prompts": traffic.media_prompts,
        "encoder_gflop": traffic.encoder_gflop,
        "encoder_attention_gflop": traffic.encoder_attention_gflop,
        "fresh_input_tokens": fresh,
        "later_chunk_tokens": np.maximum(fresh - traffic.chunk_tokens, 0.0),
        "prompt_pairs": work.causal_pairs(fresh, cached),
        "windowed_prompt_pairs": work.windowed_causal_pairs(fresh, cached, window, np.minimum),
        "cached_input_tokens": cached,
        "windowed_cached_tokens": np.minimum(cached, window),
    }
    return _plus(reads, *(_times(prompt[name], others / n_out * count) for name, count in counts.items()))


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
            name: {**costs[name], "prompt_attention": costs[name]["prompt_attention"] / stages}
            for name in ("prompt_pairs", "windowed_prompt_pairs")
        },
        "output_tokens": {**costs["output_tokens"], "layer_exchanges": shape.layers * (replica.devices - 1)},
    }


TEXT = Modality("text", FEATURES, count, share, seen, alone)
