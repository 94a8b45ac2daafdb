"""Paged attention: the cache grows by blocks, where older engines reserved the longest context for each request.

    c_held = c + (block - 1)/2 (blocks),  or  max(n_max, c) (reserved)   [tokens of a request]

It changes how many requests fit, never what a step reads. Source: PagedAttention, arXiv:2309.06180.
"""

from __future__ import annotations

from dataclasses import replace

from inferprint.physics.serving import Serving
from inferprint.techniques.base import Parameter, Technique, Values
from inferprint.techniques.rules import refusal

NAME = "paged-attention"


def _rewrite(serving: Serving, values: Values) -> Serving:
    block, reserved = values["block_tokens"], values["reserved_tokens"]
    if block and reserved:
        raise refusal(NAME, "block_tokens beside reserved_tokens", "State one: blocks, or a reservation.")
    memory = serving.memory
    if block:
        memory = replace(memory, block_tokens=block)
    if reserved:
        memory = replace(memory, reserved_tokens=reserved)
    return replace(serving, memory=memory)


PAGED_ATTENTION = Technique(
    name=NAME,
    meaning="the cache is held in blocks, or reserved for the longest context",
    equation="c_held = c + (block - 1)/2, or max(n_max, c)",
    reference="PagedAttention, arXiv:2309.06180",
    stage="memory",
    parameters=(
        Parameter("block_tokens", "tokens of a block; 0: as the engine has it", 0.0, 0.0, 8192.0, True),
        Parameter("reserved_tokens", "tokens reserved for each request; 0: none", 0.0, 0.0, 1e7, True),
    ),
    rewrite=_rewrite,
)
