"""How much work a request is: token pairs, cache reads, experts touched.

Every function takes floats, NumPy arrays or columns of a table engine; `minimum` is the element-wise minimum of
whichever it is (`min`, `numpy.minimum`, `ibis.least`). No function branches on a value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from inferprint.quantities import equation

Minimum = Callable[[Any, Any], Any]


@equation("pairs = n_fresh n_cached + n_fresh (n_fresh + 1) / 2", "docs/method.md#work")
def causal_pairs(n_fresh: Any, n_cached: Any) -> Any:
    """(query, key) pairs of causal attention over the fresh tokens of a prompt.

    Parameters
    ----------
    n_fresh, n_cached
        Prompt tokens that are computed, and that a cache holds already [tokens].
    """
    return n_fresh * n_cached + n_fresh * (n_fresh + 1) / 2


@equation("pairs_W = sum over fresh tokens i of min(n_cached + i, W)", "docs/method.md#work")
def windowed_causal_pairs(n_fresh: Any, n_cached: Any, window: Any, minimum: Minimum) -> Any:
    """Pairs of causal attention when a layer sees at most `window` tokens.

    Parameters
    ----------
    n_fresh, n_cached, window
        Fresh and cached prompt tokens, attention window [tokens].
    """
    last = n_cached + n_fresh
    growing_from = minimum(n_cached, window)
    growing_to = minimum(last, window)
    growing = (growing_to * (growing_to + 1) - growing_from * (growing_from + 1)) / 2
    full = (last - growing_to) - (n_cached - growing_from)
    return growing + full * window


@equation("reads = n_out (n_in + n_out / 2)", "docs/method.md#work")
def context_reads(n_in: Any, n_out: Any) -> Any:
    """Cached tokens read over a whole answer: the context grows by one with each output token [token reads]."""
    return n_out * (n_in + n_out / 2)


@equation("reads_W = integral from n_in to n_in + n_out of min(x, W) dx", "docs/method.md#work")
def windowed_context_reads(n_in: Any, n_out: Any, window: Any, minimum: Minimum) -> Any:
    """Cached tokens read over an answer when a layer reads at most `window` tokens [token reads]."""
    start = minimum(n_in, window)
    end = minimum(n_in + n_out, window)
    growing = (end * end - start * start) / 2
    full = (n_in + n_out - end) - (n_in - start)
    return growing + full * window


@equation("touched(T) = 1 - (1 - k/E)^T", "docs/method.md#mixture-of-experts")
def touched_experts(expert_share: Any, tokens: Any) -> Any:
    """Share of the experts that a step reads when each token picks k of E at random.

    Parameters
    ----------
    expert_share
        k / E; 1 for a dense model.
    tokens
        Tokens in the step.
    """
    return 1 - (1 - expert_share) ** tokens
