"""Prefix caching: part of the prompt is found in a cache and not computed again."""

from __future__ import annotations

from inferprint.physics.work import Minimum
from inferprint.techniques.base import Parameter, Technique, Values, Work


def _rewrite(work: Work, values: Values, minimum: Minimum) -> Work:
    """Move tokens from fresh to cached; the last token of a prompt is always computed."""
    n_in, known = work["input_tokens"], work["cached_input_tokens"]
    # A log that states its cache hits knows better: the rate applies to what it leaves fresh.
    hits = known + values["hit_rate"] * (n_in - known)
    most = n_in - minimum(n_in, 1.0)
    floor = most - minimum(most, known)
    # min(hits, n_in - 1), but never below what the log states.
    return {**work, "cached_input_tokens": known + minimum(floor, hits - known)}


PREFIX_CACHING = Technique(
    name="prefix-caching",
    meaning="a share of each prompt is read from the cache",
    equation="n_cached = min(h n_in, n_in - 1)",
    reference="RadixAttention, arXiv:2312.07104",
    stage="prompt",
    parameters=(Parameter("hit_rate", "share of the prompt's fresh tokens found in the cache", 0.0),),
    rewrite_work=_rewrite,
)
