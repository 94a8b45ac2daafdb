"""Chunked prefill: a prompt is computed in passes of C tokens, between and beside decode steps.

    passes = n_in / C;  extra = exposed (passes - 1) (weight read + fixed time) + kv pairs / C

Each pass reads the cache of those before it. `exposed` is the share of the further passes that decode steps would not
have paid anyway: 1 where nothing decodes beside them. Arithmetic stays. Source: Sarathi-Serve, arXiv:2403.02310.
"""

from __future__ import annotations

from dataclasses import replace

from inferprint.physics.serving import Prompts, Serving
from inferprint.physics.work import Minimum
from inferprint.techniques.base import Parameter, Technique, Values, Work
from inferprint.techniques.rules import at_least, in_use

NAME = "chunked-prefill"
LEAST_TOKENS = 16.0
PARAMETERS = (
    Parameter("chunk_tokens", "prompt tokens of a pass, from 16; 0: whole prompts", 0.0, 0.0, 1e6, True),
    Parameter("exposed", "share of the further passes that decode steps would not have paid", 1.0),
)


def _used(values: Values) -> bool:
    at_least(NAME, "chunk_tokens", values["chunk_tokens"], LEAST_TOKENS, 1e6)
    return in_use(NAME, "chunk_tokens", PARAMETERS, values)


def _rewrite(serving: Serving, values: Values) -> Serving:
    if not _used(values):
        return serving
    return replace(serving, prompts=Prompts(values["chunk_tokens"], values["exposed"]))


def _rewrite_work(work: Work, values: Values, minimum: Minimum) -> Work:
    """State the chunk, by which the modality counts the tokens of further passes."""
    del minimum
    return {**work, "chunk_tokens": values["chunk_tokens"]} if _used(values) else work


CHUNKED_PREFILL = Technique(
    name=NAME,
    meaning="prompts are computed in passes of a fixed size",
    equation="extra = exposed (n_in/C - 1) pass + kv pairs / C",
    reference="Sarathi-Serve, arXiv:2403.02310",
    stage="prompt",
    parameters=PARAMETERS,
    rewrite=_rewrite,
    rewrite_work=_rewrite_work,
)
