"""The configurations that nothing else beats in every respect."""

from __future__ import annotations

from typing import Any

import numpy as np

from inferprint.rates.draws import Array, Indices

BLOCK = 512
"""Rows that are compared at a time: bounds the memory."""


def pareto_front(values: Array) -> Indices:
    """Rows that no other row dominates: at most as large everywhere, and smaller somewhere.

    Rows that are equal everywhere are kept once, the first of them.

    Parameters
    ----------
    values
        Every objective as something to make small, shape (rows, objectives), without NaN.

    Returns
    -------
    Row numbers, rising.
    """
    # In lexicographic order no row is dominated by a later one.
    distinct, first = np.unique(values + 0.0, axis=0, return_index=True)
    kept: Indices = np.empty(0, dtype=np.intp)
    for start in range(0, len(distinct), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(distinct)))
        rows = rows[~_dominated(distinct[rows], distinct[kept])]
        block = distinct[rows]
        within = _at_most(block, block)
        np.fill_diagonal(within, val=False)
        kept = np.concatenate([kept, rows[~within.any(axis=0)]])
    return np.sort(first[kept])


def _dominated(rows: Array, others: Array) -> Any:
    """Which of `rows` are dominated by one of `others`; no row is equal to another."""
    return _at_most(others, rows).any(axis=0)


def _at_most(these: Array, those: Array) -> Any:
    """Whether each of `these` is nowhere larger than each of `those`: shape (these, those)."""
    result = np.ones((len(these), len(those)), dtype=bool)
    for column in range(these.shape[1]):
        result &= these[:, None, column] <= those[None, :, column]
    return result
