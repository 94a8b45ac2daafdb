"""What an encoder of text, pictures or sound computes before another network reads its output."""

from __future__ import annotations

from typing import Any

from inferprint.quantities import equation


@equation("F_enc = 2 P_enc n", "docs/method.md#pictures-and-sound-read")
def encoder_linear_flop(params: Any, positions: Any) -> Any:
    """FLOP of the products with weights over `positions`: those before neighbours are merged into tokens."""
    return 2 * params * positions


@equation("F_enc,att = 4 d N pairs", "docs/method.md#pictures-and-sound-read")
def encoder_attention_flop(width: Any, pairs: Any) -> Any:
    """FLOP of the products of attention over pairs of positions; `width` is that of the layers, summed up."""
    return 4 * width * pairs
