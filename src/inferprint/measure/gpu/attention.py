"""How blocks attend: prompts by one kernel, whole or after a prefix, so that their difference is the prefix alone."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from typing import Any

from inferprint.measure.gpu.device import Device
from inferprint.measure.gpu.shapes import Shape

BY_BIAS = "attention of prompts by a causal bias, with and without a prefix alike"
BY_MASK = "attention of prompts by a dense mask, with and without a prefix alike"

TRIAL_FRESH, TRIAL_CACHED = 16, (0, 32)
"""Tokens of the prompts on which the causal bias is tried [tokens]."""

TRIAL_TOLERANCE = 0.05
"""Difference that the rounding of bf16 may make there; a mask in the wrong place makes ten times as much."""


class Attention:
    """softmax(q k / sqrt(d)) v for heads in groups; fused where PyTorch has it.

    Parameters
    ----------
    device, shape, dtype
        Where, of what heads, and in which number format.
    """

    def __init__(self, device: Device, shape: Shape, dtype: Any) -> None:
        self._torch, self._device, self._groups = device.torch, device.kind, shape.kv_heads
        self._each = shape.heads // shape.kv_heads
        self._fused = getattr(device.torch.nn.functional, "scaled_dot_product_attention", None)
        self._bias: Callable[[int, int], Any] | None = None
        if self._fused is not None and device.fuses_causal:
            self._bias = self._bias_that_works(shape, dtype)

    @property
    def said(self) -> str:
        """How prompts attend, for the notes of their rows."""
        return BY_MASK if self._bias is None else BY_BIAS

    def seen(self, fresh: int, cached: int) -> Any:
        """What each of the fresh tokens sees; None where it is everything."""
        if fresh == 1:
            return None
        return self._mask(fresh, cached) if self._bias is None else self._bias(fresh, cached + fresh)

    def __call__(self, queries: Any, keys: Any, values: Any, seen: Any) -> Any:
        """What the heads give.

        Parameters
        ----------
        queries
            (requests, heads, fresh tokens, size).
        keys, values
            (requests, groups, all tokens, size).
        seen
            See `seen`.
        """
        if seen is None or self._bias is None:
            return self._in_rows(queries, keys, values, seen)
        return self._by_head(queries, keys, values, seen)

    def _mask(self, fresh: int, cached: int) -> Any:
        at = self._torch.arange(cached + fresh, device=self._device)
        return (at[None, :] <= at[cached:, None]).repeat(self._each, 1)

    def _in_rows(self, queries: Any, keys: Any, values: Any, mask: Any) -> Any:
        """The heads of a group stand in a row before its keys, which are read once."""
        batch, heads, fresh, size = queries.shape
        rows = queries.reshape(batch, self._groups, self._each * fresh, size)
        if self._fused is not None:
            return self._fused(rows, keys, values, attn_mask=mask).reshape(batch, heads, fresh, size)
        scores = self._torch.matmul(rows, keys.transpose(-1, -2)) / math.sqrt(size)
        if mask is not None:
            scores = scores.masked_fill(~mask, -math.inf)
        return self._torch.matmul(self._torch.softmax(scores, dim=-1), values).reshape(batch, heads, fresh, size)

    def _by_head(self, queries: Any, keys: Any, values: Any, bias: Any) -> Any:
        """Each group is a request of its own, whose heads share its keys without a copy of them for each."""
        batch, heads, fresh, size = queries.shape
        alone = batch * self._groups
        shared = (part.reshape(alone, 1, -1, size).expand(-1, self._each, -1, -1) for part in (keys, values))
        assert self._fused is not None
        seen = self._fused(queries.reshape(alone, self._each, fresh, size), *shared, attn_mask=bias)
        return seen.reshape(batch, heads, fresh, size)

    def _bias_that_works(self, shape: Shape, dtype: Any) -> Callable[[int, int], Any] | None:
        """PyTorch's causal bias (2.3 and later) where it gives what the mask gives: it is a prototype there."""
        torch = self._torch
        try:
            bias: Callable[[int, int], Any] = importlib.import_module("torch.nn.attention.bias").causal_lower_right
            # A whole prompt might go to the kernel of cuDNN otherwise, and one after a prefix never does.
            getattr(torch.backends.cuda, "enable_cudnn_sdp", lambda _: None)(False)
            with torch.no_grad():
                works = all(self._same(bias, shape, dtype, cached) for cached in TRIAL_CACHED)
        except (ImportError, AttributeError, TypeError, ValueError, RuntimeError):
            return None
        return bias if works else None

    def _same(self, bias: Callable[[int, int], Any], shape: Shape, dtype: Any, cached: int) -> bool:
        """Whether the bias and the mask give the same for a small prompt."""
        fresh, torch = TRIAL_FRESH, self._torch
        heads = (shape.heads, shape.kv_heads, shape.kv_heads)
        lengths = (fresh, cached + fresh, cached + fresh)
        queries, keys, values = (
            torch.empty((1, count, length, shape.head_size), dtype=dtype, device=self._device).normal_()
            for count, length in zip(heads, lengths, strict=True)
        )
        one = self._by_head(queries, keys, values, bias(fresh, cached + fresh))
        other = self._in_rows(queries, keys, values, self._mask(fresh, cached))
        return bool(torch.allclose(one.float(), other.float(), atol=TRIAL_TOLERANCE))
