"""Quantisation of the cache: fewer bytes per cached token to read and to hold.

    kv' = kv (bits / 16) (1 + overhead)   [bytes per token];   a read takes delta kv' / bandwidth

The cache is held at 16 bits without it. Windowed layers hold few tokens, so engines may leave them as they are. Weights
and their reads stay. Sources: KIVI, arXiv:2402.02750; KVQuant, arXiv:2401.18079.
"""

from __future__ import annotations

from dataclasses import replace

from inferprint.physics.serving import Serving
from inferprint.techniques.base import Parameter, Technique, Values

BASE_BITS = 16.0


def _rewrite(serving: Serving, values: Values) -> Serving:
    factor = values["bits"] / BASE_BITS * (1 + values["overhead"])
    shape, delta = serving.shape, values["read_factor"]
    shape = replace(
        shape,
        kv_bytes_per_token=shape.kv_bytes_per_token * factor,
        cache_unpacking=shape.cache_unpacking * delta,
    )
    if values["windowed"] == "yes":
        shape = replace(
            shape,
            windowed_kv_bytes_per_token=shape.windowed_kv_bytes_per_token * factor,
            windowed_cache_unpacking=shape.windowed_cache_unpacking * delta,
        )
    return replace(serving, shape=shape)


KV_QUANTISATION = Technique(
    name="kv-quantisation",
    meaning="keys and values are held in a smaller number format",
    equation="kv' = kv (bits/16) (1 + overhead);  read time x delta",
    reference="KIVI, arXiv:2402.02750; KVQuant, arXiv:2401.18079",
    stage="formats",
    parameters=(
        Parameter("bits", "bits of a cached value", 16.0, 2.0, 16.0),
        Parameter("overhead", "bytes of the scales over those of the values", 0.0),
        Parameter("read_factor", "time to read and unpack the cache over the time to read its bytes", 1.0, 1.0, 3.0),
        Parameter("windowed", "whether windowed layers are quantised too", "yes", choices=("yes", "no")),
    ),
    rewrite=_rewrite,
)
