"""How a model is served: its formats, its layout over devices, its memory and its batches; and what fits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from inferprint.physics.terms import ModelShape, Steps
from inferprint.quantities import equation

REPLICA_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Device counts of a replica: powers of two, because heads and matrices are split evenly."""

MAX_DEVICES = 1024.0
"""Devices of a replica above this are taken for a mistake."""


@dataclass(frozen=True)
class Layout:
    """How the devices of a replica share the model; 0 where nobody said.

    Attributes
    ----------
    tensor
        Devices that share each matrix; 0: all that pipeline and ranks leave.
    pipeline
        Stages, each with a part of the layers, which work on different requests at a time.
    ranks
        Groups that keep sequences of their own and a copy of all that is no expert (data-parallel attention).
    expert
        Devices over which whole experts are spread; 0: each expert is split like any other matrix.
    expert_bandwidth
        Bandwidth of one device towards the others' experts [bytes/s]; 0: the accelerator's own link.
    exchange_bytes
        Bytes of a value on its way to an expert, and of the result on its way back, together.
    prompt_devices
        Devices of a replica that computes prompts for this one; 0: the same devices do.
    prompts_per_pass
        Prompts that share a pass there.
    transfer_bandwidth
        Bandwidth at which the cache moves from there [bytes/s]; 0: the accelerator's own link.
    """

    tensor: Any = 0.0
    pipeline: Any = 1.0
    ranks: Any = 1.0
    expert: Any = 0.0
    expert_bandwidth: Any = 0.0
    exchange_bytes: Any = 0.0
    prompt_devices: Any = 0.0
    prompts_per_pass: Any = 1.0
    transfer_bandwidth: Any = 0.0

    @property
    def unit(self) -> Any:
        """What the number of devices is a multiple of."""
        return self.pipeline * self.ranks * np.maximum(self.tensor, 1.0)

    @property
    def stated_devices(self) -> Any:
        """Devices that the stated sizes make; 0 where they leave it open."""
        by_experts = np.where(np.greater(self.expert, 0), np.maximum(self.expert * self.pipeline, self.unit), 0.0)
        return np.where(np.greater(self.tensor, 0), self.unit, by_experts)


@dataclass(frozen=True)
class Memory:
    """How an engine uses a device's memory.

    Attributes
    ----------
    device_bytes, usable
        Memory of one device [bytes], and the share of it that the engine uses.
    overhead
        Share added to the weights for what is replicated.
    work_bytes
        Activations, graphs and communication buffers of one device [bytes].
    block_tokens
        Tokens of a block of the cache: on average half a block of each request is empty.
    reserved_tokens
        Tokens reserved for each request from the start; 0: blocks as they are needed.
    draft_share
        Weights of a model that guesses tokens, over those of the model.
    """

    device_bytes: Any
    usable: Any
    overhead: Any
    work_bytes: Any
    block_tokens: Any = 1.0
    reserved_tokens: Any = 0.0
    draft_share: Any = 0.0


@dataclass(frozen=True)
class Batching:
    """How requests come together in a step.

    Attributes
    ----------
    max_requests
        Most requests that the engine takes into a step.
    static
        True where a batch is served to its end before the next one starts.
    spread
        Where it is: how much answers of a batch differ in length, 0 (all alike) to 1 (exponential).
    """

    max_requests: Any = np.inf
    static: bool = False
    spread: Any = 0.0


@dataclass(frozen=True)
class Prompts:
    """How an engine computes prompts: tokens of a pass, and the share of a further pass that costs extra."""

    chunk_tokens: Any = np.inf
    exposed: Any = 0.0


@dataclass(frozen=True)
class Serving:
    """Everything that a technique may rewrite about how a model is served, the work of the request apart."""

    shape: ModelShape
    memory: Memory
    layout: Layout = field(default_factory=Layout)
    prompts: Prompts = field(default_factory=Prompts)
    steps: Steps = field(default_factory=Steps)
    batching: Batching = field(default_factory=Batching)


@equation("M = b (P_exp + R P_dense) (1 + o + o_draft) + B cache + G M_work", "docs/method.md#memory")
def memory_needed(serving: Serving, batch: Any, context: Any, devices: Any) -> Any:
    """Memory that a replica needs [bytes].

    Parameters
    ----------
    batch, context
        Requests in flight; tokens that each keeps in the cache.
    devices
        Devices of the replica.
    """
    shape, memory = serving.shape, serving.memory
    experts = shape.expert_params
    held = experts + serving.layout.ranks * (shape.total_params - experts)
    weights = held * shape.bytes_per_param * (1 + memory.overhead + memory.draft_share)
    return weights + batch * cache_bytes(serving, context) + devices * memory.work_bytes


@equation(
    "cache = copies (kv c + kv_W min(c, W)),  c = max(reserved, context), or context + (block - 1)/2",
    "docs/method.md#memory",
)
def cache_bytes(serving: Serving, context: Any) -> Any:
    """Cache of one request of `context` tokens [bytes].

    A head cannot be split: where more devices are said to share each matrix than there are heads, they hold copies.
    Where nobody says, sequences are taken to be spread so that none is held twice.
    """
    shape, memory = serving.shape, serving.memory
    paged = context + np.where(np.greater(context, 0), (memory.block_tokens - 1) / 2, 0.0)
    reserved = np.maximum(memory.reserved_tokens, context)
    tokens = np.where(np.greater(memory.reserved_tokens, 0), reserved, paged)
    copies = np.maximum(serving.layout.tensor / shape.kv_heads, 1.0)
    windowed = shape.windowed_kv_bytes_per_token * np.minimum(tokens, shape.window_tokens)
    return copies * (shape.kv_bytes_per_token * tokens + windowed)


@equation("B_fit = min((u M G - M(B = 0)) / cache, B_max)", "docs/method.md#memory")
def batch_that_fits(serving: Serving, context: Any, devices: Any) -> Any:
    """Requests of `context` tokens that fit beside the weights; below 1 where not even one does."""
    memory = serving.memory
    free = memory.usable * memory.device_bytes * devices - memory_needed(serving, 0.0, context, devices)
    room = free / np.maximum(cache_bytes(serving, context), 1.0)
    return np.minimum(room, serving.batching.max_requests)


def smallest_replica(serving: Serving, batch: Any, context: Any) -> Any:
    """Fewest devices (a power of two) that hold weights, cache and work space; infinity where none in the list does."""
    fewest: Any = np.inf
    wanted = np.minimum(batch, serving.batching.max_requests)
    for size in reversed(REPLICA_SIZES):
        room = batch_that_fits(serving, context, float(size))
        fewest = np.where(room >= wanted, float(size), fewest)
    return fewest


@equation("TTFT = t_prompt + n_steps t_step", "docs/method.md#operating-point")
def first_token_seconds(prompt: Any, steps: Any, step: Any) -> Any:
    """Time to the first token [s]: the prompt's own time, and the decode steps of the others that it waits for.

    Parameters
    ----------
    prompt, step
        Time of the prompt, and of a decode step [s].
    steps
        Steps that it waits for.
    """
    return prompt + steps * step


@equation("fill = 1 / (1 + spread (H_B - 1)),  H_B = sum of 1/i for i up to B", "docs/method.md#batching")
def static_fill(batch: Any, spread: Any) -> Any:
    """Share of a static batch's places that yield tokens: each waits for the longest answer of its batch.

    For exponential lengths the longest of B is H_B mean lengths; H_B is interpolated by digamma's expansion.
    """
    harmonic = np.log(batch) + np.euler_gamma + 1 / (2 * batch) - 1 / (12 * batch**2)
    # The expansion falls 6e-3 short of the sum at B = 1, which is 1.
    return 1 / (1 + spread * np.maximum(harmonic - 1, 0.0))
