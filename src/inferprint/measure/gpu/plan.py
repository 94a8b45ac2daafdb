"""What is measured on an accelerator: its points and bounds, and how many layers are built."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from inferprint.errors import InvalidInput
from inferprint.measure.gpu.shapes import Shape

WEIGHT_BYTES: dict[str, float] = {"bf16": 2.0, "fp8": 1.0, "fp32": 4.0}
VALUE_BYTES: dict[str, float] = {"bf16": 2.0, "fp8": 2.0, "fp32": 4.0}
"""Bytes of a weight of a block, and of a value of the KV cache, the head and what passes between layers."""

LEAST_LAYERS = 2
WEIGHT_SHARE, USED_SHARE = 0.6, 0.9
"""Share of the free memory for weights, and for weights and cache together."""

MOST_TOKENS, MOST_BATCH = 4_000_000, 65_536


@dataclass(frozen=True, slots=True, order=True)
class GpuPoint:
    """One step that is measured.

    Attributes
    ----------
    kind
        "prefill": a prompt; "decode": one token of each request.
    batch
        Requests.
    fresh, cached
        Tokens of a request that are computed, and those in the cache before it [tokens].
    """

    kind: Literal["prefill", "decode"]
    batch: int
    fresh: int
    cached: int

    def __str__(self) -> str:
        """The point in words."""
        if self.kind == "decode":
            return f"decode {self.batch} x (1 token after {self.cached:,})"
        return f"prefill {self.fresh:,} tokens" + (f" after {self.cached:,} cached" if self.cached else "")

    @property
    def tokens(self) -> int:
        """Tokens that one step computes."""
        return self.batch * self.fresh


@dataclass(frozen=True, slots=True)
class GpuPlan:
    """The points of a run and its bounds.

    Attributes
    ----------
    prompt_tokens
        Lengths of prompts that are computed, alone and after each of the contexts.
    batches, context_tokens
        Of decoding: every combination is a point; each context is also a cached prefix.
    answer_tokens
        Of the answer that a row of decoding stands for: its step is measured in the middle of it.
    repeats, seconds_per_point
        So often a point is measured, together so long [s].
    max_seconds
        Bound of the whole run [s].
    layers
        Layers to build; as many as fit where none are given.
    """

    prompt_tokens: Sequence[int] = (256, 2048)
    context_tokens: Sequence[int] = (512, 4096)
    batches: Sequence[int] = (1, 4, 16, 64, 256)
    answer_tokens: int = 128
    repeats: int = 5
    seconds_per_point: float = 3.0
    max_seconds: float = 1800.0
    layers: int | None = None

    def __post_init__(self) -> None:
        lists = {
            "--prompt-tokens": (self.prompt_tokens, MOST_TOKENS),
            "--context-tokens": (self.context_tokens, MOST_TOKENS),
            "--batch": (self.batches, MOST_BATCH),
        }
        for option, (values, most) in lists.items():
            if not values:
                raise InvalidInput(option, "none is given")
            for value in values:
                _check(option, value, 1, most)
        _check("--answer-tokens", self.answer_tokens, 1, MOST_TOKENS)
        _check("--repeats", self.repeats, 2, 1000)
        if self.layers is not None:
            _check("--layers", self.layers, LEAST_LAYERS, 10_000)
        for option, seconds in (("--seconds-per-point", self.seconds_per_point), ("--max-seconds", self.max_seconds)):
            if not (math.isfinite(seconds) and seconds > 0):
                raise InvalidInput(option, f"{seconds:g} is not above 0")

    def points(self) -> list[GpuPoint]:
        """The points in the order in which they are measured: the small ones of each kind first."""
        prompts, contexts = sorted(set(self.prompt_tokens)), sorted(set(self.context_tokens))
        middle = self.answer_tokens // 2
        return [
            *(GpuPoint("prefill", 1, prompt, 0) for prompt in prompts),
            *(
                GpuPoint("decode", batch, 1, context + middle)
                for batch in sorted(set(self.batches))
                for context in contexts
            ),
            *(GpuPoint("prefill", 1, prompt, context) for prompt in prompts for context in contexts),
        ]


def _check(option: str, value: int, least: int, most: int) -> None:
    if not least <= value <= most:
        raise InvalidInput(option, f"{value} is not between {least} and {most:,}")


def layers_that_fit(shape: Shape, precision: str, free_bytes: float, asked: int | None) -> int:
    """Layers to build: those asked for, else as many as leave room for caches.

    Raises
    ------
    InvalidInput
        More are asked for than the model has, or than there is memory for.
    """
    if asked is not None and asked > shape.layers:
        raise InvalidInput("--layers", f"{asked} layers: the model has {shape.layers}")
    layer = shape.block_params * WEIGHT_BYTES[precision]
    head = shape.head_params * VALUE_BYTES[precision]
    fit = int((WEIGHT_SHARE * free_bytes - head) / layer)
    layers = asked or min(shape.layers, max(LEAST_LAYERS, fit))
    if layers * layer + head > free_bytes:
        raise InvalidInput(
            "--layers",
            f"{layers} layers and the output head take {(layers * layer + head) / 1e9:.3g} GB in {precision}, and "
            f"{free_bytes / 1e9:.3g} GB are free",
            hint="Name fewer layers, a smaller model, or a format of fewer bytes.",
        )
    return layers


def layers_for(point: GpuPoint, shape: Shape, precision: str, built: int, free_bytes: float) -> int:
    """Layers whose caches fit beside the weights, of those that are built.

    Raises
    ------
    MemoryError
        Not even two do. A system whose memory is short may end the process in place of refusing it.
    """
    context = point.batch * (point.cached + point.fresh)
    cache = context * shape.kv_elements * VALUE_BYTES[precision]
    fit = int(USED_SHARE * free_bytes / cache)
    if fit < LEAST_LAYERS:
        raise MemoryError(f"{LEAST_LAYERS * cache:.3g} B of cache in {free_bytes:.3g} B")
    return min(built, fit)
