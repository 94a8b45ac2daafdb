"""Embedding, reranking, classification: an input is read in one pass, and no token is written.

Features are those of text; every token attends to every other one, which is twice the pairs of a model that attends to
earlier tokens alone. The passes of models that are made from such a one are counted alike: an upper bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from inferprint.modalities.base import Ideal, whole_pass
from inferprint.modalities.text import TEXT
from inferprint.physics import work
from inferprint.physics.terms import ModelShape, Replica, Traffic

_PAIRS, _WINDOWED_PAIRS, _TOKENS = (
    TEXT.names.index(name) for name in ("prompt_pairs", "windowed_prompt_pairs", "fresh_input_tokens")
)


def count(columns: Mapping[str, Any], window: Any, minimum: work.Minimum) -> tuple[Any, ...]:
    """Features of inputs that are read in one pass, in the order of `TEXT.features`: see `text.count`."""
    found = list(TEXT.count(columns, window, minimum))
    each = columns["input_tokens"] + columns.get("media_tokens", 0.0)
    found[_PAIRS] = found[_TOKENS] * each
    found[_WINDOWED_PAIRS] = found[_TOKENS] * minimum(each, window)
    return tuple(found)


def seen(shape: ModelShape, replica: Replica, traffic: Traffic) -> Ideal:
    """Ideal time that a request sees: the pass ends for all of its inputs together, the others like its own."""
    return whole_pass(share(shape, replica, traffic), traffic.batch)


def share(shape: ModelShape, replica: Replica, traffic: Traffic) -> Ideal:
    """Ideal cost of the request's share of a pass."""
    return {name: costs for name, costs in TEXT.share(shape, replica, traffic).items() if name != "output_tokens"}


EMBEDDING = replace(TEXT, name="embedding", count=count, share=share, seen=seen)
