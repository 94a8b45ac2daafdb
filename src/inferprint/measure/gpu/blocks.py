"""A decoder's blocks with random weights, written plainly: what they take does not depend on the weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from inferprint.measure.gpu.attention import Attention
from inferprint.measure.gpu.device import Device
from inferprint.measure.gpu.plan import GpuPoint
from inferprint.measure.gpu.shapes import Shape

DEVIATION = 0.02
"""Standard deviation of weights."""

INPUTS = 8
"""Different inputs that steps take in turn, so that tokens choose other experts from step to step."""

FP8_MOST = 448.0
"""Largest value of the format e4m3."""

ROTARY_BASE = 10_000.0


class _Linear:
    """A matrix in the format of what it multiplies."""

    def __init__(self, device: Device, n_in: int, n_out: int, dtype: Any) -> None:
        torch = device.torch
        self._multiply = torch.nn.functional.linear
        self._weight = torch.empty((n_out, n_in), dtype=dtype, device=device.kind).normal_(0.0, DEVIATION)

    def __call__(self, x: Any) -> Any:
        return self._multiply(x, self._weight)


class _Fp8Linear:
    """A matrix at 8 bit, with one scale; what it multiplies is scaled by its largest value and rounded to 8 bit."""

    def __init__(self, device: Device, n_in: int, n_out: int, dtype: Any) -> None:
        torch = self._torch = device.torch
        self._dtype = dtype
        weight = torch.empty((n_out, n_in), dtype=dtype, device=device.kind).normal_(0.0, DEVIATION)
        self._scale = (weight.abs().amax().float() / FP8_MOST).clamp(min=1e-12)
        self._weight = (weight / self._scale.to(dtype)).to(torch.float8_e4m3fn)

    def __call__(self, x: Any) -> Any:
        rows = x.reshape(-1, x.shape[-1])
        scale = (rows.abs().amax().float() / FP8_MOST).clamp(min=1e-12)
        rounded = (rows / scale.to(rows.dtype)).clamp(-FP8_MOST, FP8_MOST).to(self._torch.float8_e4m3fn)
        product = self._torch._scaled_mm(
            rounded,
            self._weight.t(),
            scale_a=scale,
            scale_b=self._scale,
            out_dtype=self._dtype,
            use_fast_accum=True,
        )
        # Before PyTorch 2.5 the largest value of the product came with it.
        product = product[0] if isinstance(product, tuple) else product
        return product.reshape(*x.shape[:-1], -1)


class _SwiGlu:
    """down(silu(gate x) * up x); gate and up are one matrix."""

    def __init__(self, linear: Callable[[int, int], Any], torch: Any, hidden: int, inner: int) -> None:
        self._silu = torch.nn.functional.silu
        self._inner = inner
        self._both, self._down = linear(hidden, 2 * inner), linear(inner, hidden)

    def __call__(self, x: Any) -> Any:
        both = self._both(x)
        return self._down(self._silu(both[..., : self._inner]) * both[..., self._inner :])


class _Experts:
    """Each token passes the experts that a router chooses; an expert that no token chooses is not touched."""

    def __init__(self, linear: Callable[[int, int], Any], device: Device, shape: Shape, dtype: Any) -> None:
        self._torch, self._used = device.torch, shape.experts_per_token
        # Routers stay at the format of the values in every published 8-bit format.
        self._router = _Linear(device, shape.hidden, shape.experts, dtype)
        self._experts = [_SwiGlu(linear, device.torch, shape.hidden, shape.expert_inner) for _ in range(shape.experts)]
        self.touched: list[int] = []

    def __call__(self, x: Any) -> Any:
        torch = self._torch
        rows = x.reshape(-1, x.shape[-1])
        weights, chosen = torch.topk(self._router(rows), self._used, dim=-1)
        weights = torch.softmax(weights.float(), dim=-1).to(rows.dtype).reshape(-1)
        order = torch.argsort(chosen.reshape(-1))
        counts = torch.bincount(chosen.reshape(-1), minlength=len(self._experts)).tolist()
        out, first = torch.zeros_like(rows), 0
        for expert, count in zip(self._experts, counts, strict=True):
            if not count:
                continue
            picked = order[first : first + count]
            tokens = torch.div(picked, self._used, rounding_mode="floor")
            out.index_add_(0, tokens, expert(rows[tokens]) * weights[picked].unsqueeze(-1))
            first += count
        self.touched.append(sum(count > 0 for count in counts))
        return out.reshape(x.shape)


class _Block:
    """One layer."""

    def __init__(self, linear: Callable[[int, int], Any], device: Device, shape: Shape, dtype: Any) -> None:
        torch = device.torch
        self._torch, self._shape = torch, shape
        heads, groups, size = shape.heads, shape.kv_heads, shape.head_size
        self._norms = [torch.ones(shape.hidden, dtype=dtype, device=device.kind) for _ in range(2)]
        self._qkv = linear(shape.hidden, (heads + 2 * groups) * size)
        self._out = linear(heads * size, shape.hidden)
        self._inner = _SwiGlu(linear, torch, shape.hidden, shape.inner) if shape.inner else None
        self.experts = _Experts(linear, device, shape, dtype) if shape.experts else None

    def __call__(self, x: Any, cache: Any, work: Work) -> Any:
        x = x + self._attention(normed(self._torch, x, self._norms[0]), cache, work)
        y = normed(self._torch, x, self._norms[1])
        if self._inner is not None:
            x = x + self._inner(y)
        return x + self.experts(y) if self.experts is not None else x

    def _attention(self, x: Any, cache: Any, work: Work) -> Any:
        shape = self._shape
        groups, size, cached = shape.kv_heads, shape.head_size, work.point.cached
        batch, fresh = x.shape[:2]
        qkv = self._qkv(x).view(batch, fresh, shape.heads + 2 * groups, size).transpose(1, 2)
        turned = work.turn(qkv[:, : shape.heads + groups])
        keys, values = cache
        keys[:, :, cached:] = turned[:, shape.heads :]
        values[:, :, cached:] = qkv[:, shape.heads + groups :]
        seen = work.attend(turned[:, : shape.heads], keys, values, work.seen)
        return self._out(seen.transpose(1, 2).reshape(batch, fresh, -1))


class Work:
    """What the layers share at a point: positions, what each token sees, and how attention is computed."""

    def __init__(self, device: Device, shape: Shape, point: GpuPoint, dtype: Any, attention: Attention) -> None:
        torch = self._torch = device.torch
        self.point, self.attend = point, attention
        self.seen = attention.seen(point.fresh, point.cached)
        half = shape.head_size // 2
        speeds = ROTARY_BASE ** (-torch.arange(half, device=device.kind, dtype=torch.float32) / half)
        positions = torch.arange(point.cached, point.cached + point.fresh, device=device.kind, dtype=torch.float32)
        angles = positions[:, None] * speeds
        self._cosine, self._sine = angles.cos().to(dtype), angles.sin().to(dtype)

    def turn(self, x: Any) -> Any:
        """Rotary positions: pairs of values are turned by angles that grow with the position."""
        half = x.shape[-1] // 2
        first, second = x[..., :half], x[..., half:]
        turned = (first * self._cosine - second * self._sine, second * self._cosine + first * self._sine)
        return self._torch.cat(turned, dim=-1)


def normed(torch: Any, x: Any, weight: Any) -> Any:
    """RMSNorm."""
    wide = x.float()
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(x.dtype) * weight


class Stack:
    """Layers and output head on a device.

    Parameters
    ----------
    device, shape, precision
        Where, what and in which format; head, router, attention and cache are never at 8 bit.
    layers
        How many to build.

    Attributes
    ----------
    attention
        How they attend.
    """

    def __init__(self, device: Device, shape: Shape, precision: str, layers: int) -> None:
        self.device, self.shape = device, shape
        self._dtype = device.dtype(precision)
        kind = _Fp8Linear if precision == "fp8" else _Linear

        def linear(n_in: int, n_out: int) -> Any:
            return kind(device, n_in, n_out, self._dtype)

        with device.torch.no_grad():
            self.blocks = [_Block(linear, device, shape, self._dtype) for _ in range(layers)]
            self._norm = device.torch.ones(shape.hidden, dtype=self._dtype, device=device.kind)
            self._head = _Linear(device, shape.hidden, shape.vocabulary, self._dtype)
        self.attention = Attention(device, shape, self._dtype)

    def step(self, point: GpuPoint, layers: int) -> Callable[[], object]:
        """What computes a point with the first so many layers; its caches live as long as it does."""
        torch, shape = self.device.torch, self.shape
        with torch.no_grad():
            work = Work(self.device, shape, point, self._dtype, self.attention)
            size = (point.batch, shape.kv_heads, point.cached + point.fresh, shape.head_size)
            caches = [(self._random(size), self._random(size)) for _ in range(layers)]
        next_input = self._inputs((point.batch, point.fresh, shape.hidden))

        def run() -> object:
            with torch.no_grad():
                x = next_input()
                for block, cache in zip(self.blocks, caches, strict=False):
                    x = block(x, cache, work)
            return x

        return run

    def head(self, batch: int) -> Callable[[], object]:
        """What computes the output head for one token of each request."""
        torch = self.device.torch
        next_input = self._inputs((batch, self.shape.hidden))

        def run() -> object:
            with torch.no_grad():
                return self._head(normed(torch, next_input(), self._norm)).argmax(-1)

        return run

    def experts_touched(self) -> float | None:
        """Experts of a layer that a step touched, on average since the last call; None where there are none."""
        counts = [count for block in self.blocks if block.experts is not None for count in block.experts.touched]
        for block in self.blocks:
            if block.experts is not None:
                block.experts.touched.clear()
        return sum(counts) / len(counts) if counts else None

    def _random(self, size: tuple[int, ...]) -> Any:
        return self.device.torch.empty(size, dtype=self._dtype, device=self.device.kind).normal_()

    def _inputs(self, size: tuple[int, ...]) -> Callable[[], Any]:
        count = INPUTS if math.prod(size) < 1 << 24 else 1
        pool, turn = [self._random(size) for _ in range(count)], [0]

        def take() -> Any:
            turn[0] = (turn[0] + 1) % count
            return pool[turn[0]]

        return take
