"""What fits on a replica, and how many requests share it."""

from __future__ import annotations

from typing import Any

import numpy as np

from inferprint.physics.terms import ModelShape
from inferprint.quantities import equation

REPLICA_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
"""Device counts of a replica: powers of two, because heads and matrices are split evenly."""


@equation("M = b P (1 + o) + B (kv ctx + kv_W min(ctx, W)) + G M_work", "docs/method.md#memory")
def memory_needed(shape: ModelShape, batch: Any, context: Any, devices: Any, overhead: Any, work_bytes: Any) -> Any:
    """Memory that a replica needs [bytes].

    Parameters
    ----------
    batch, context
        Requests in flight; tokens that each keeps in the cache.
    devices
        Devices of the replica.
    overhead
        Share added to the weights for what is replicated.
    work_bytes
        Activations, graphs and communication buffers of one device [bytes].
    """
    weights = shape.total_params * shape.bytes_per_param * (1 + overhead)
    return weights + batch * cache_bytes(shape, context) + devices * work_bytes


@equation("kv ctx + kv_W min(ctx, W)", "docs/method.md#memory")
def cache_bytes(shape: ModelShape, context: Any) -> Any:
    """Cache of one request of `context` tokens [bytes]."""
    windowed = shape.windowed_kv_bytes_per_token * np.minimum(context, shape.window_tokens)
    return shape.kv_bytes_per_token * context + windowed


@equation("B_fit = (u M G - b P (1 + o) - G M_work) / cache", "docs/method.md#memory")
def batch_that_fits(
    shape: ModelShape, context: Any, devices: Any, device_bytes: Any, usable: Any, overhead: Any, work_bytes: Any
) -> Any:
    """Requests of `context` tokens that fit beside the weights; below 1 where not even one does."""
    free = usable * device_bytes * devices - memory_needed(shape, 0.0, context, devices, overhead, work_bytes)
    return free / np.maximum(cache_bytes(shape, context), 1.0)


def smallest_replica(
    shape: ModelShape, batch: Any, context: Any, device_bytes: Any, usable: Any, overhead: Any, work_bytes: Any
) -> Any:
    """Fewest devices (a power of two) that hold weights, cache and work space; infinity where none in the list does."""
    fewest: Any = np.inf
    for size in reversed(REPLICA_SIZES):
        room = batch_that_fits(shape, context, float(size), device_bytes, usable, overhead, work_bytes)
        fewest = np.where(room >= batch, float(size), fewest)
    return fewest
