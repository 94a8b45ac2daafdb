"""Prompt compression: a part of the fresh prompt is dropped before it is computed."""

from __future__ import annotations

from dataclasses import replace

from inferprint.physics.serving import Serving
from inferprint.physics.work import Minimum
from inferprint.techniques.base import Parameter, Technique, Values, Work


def _rewrite_work(work: Work, values: Values, minimum: Minimum) -> Work:
    """Shorten the prompt; what a cache holds stays. Arithmetic and `minimum` only: a table's columns come here too."""
    fresh = work["input_tokens"] - work["cached_input_tokens"]
    dropped = fresh - minimum(fresh, fresh * (1 - values["share"]))
    return {**work, "input_tokens": work["input_tokens"] - dropped}


def _rewrite(serving: Serving, values: Values) -> Serving:
    """The model that chooses what to drop takes memory beside the other one."""
    memory = replace(serving.memory, draft_share=serving.memory.draft_share + values["chooser_share"])
    return replace(serving, memory=memory)


PROMPT_COMPRESSION = Technique(
    name="prompt-compression",
    meaning="a share of the fresh prompt is dropped before it is computed",
    equation="n_in' = n_in - s (n_in - n_cached)",
    reference="LLMLingua, arXiv:2310.05736",
    stage="prompt",
    parameters=(
        Parameter("share", "share of the fresh prompt that is dropped", 0.0, 0.0, 0.95),
        Parameter("chooser_share", "weights of the model that chooses, over those of the model", 0.0, 0.0, 1.0),
    ),
    rewrite=_rewrite,
    rewrite_work=_rewrite_work,
)
