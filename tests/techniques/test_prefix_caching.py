"""Prefix caching: n_cached = min(h n_in, n_in - 1)."""

from __future__ import annotations

import numpy as np
import pytest

from inferprint.techniques.prefix_caching import PREFIX_CACHING


def cached(n_in, hit_rate, known=0.0, minimum=min):
    rewrite = PREFIX_CACHING.rewrite_work
    assert rewrite is not None
    work = {"input_tokens": n_in, "cached_input_tokens": known}
    return rewrite(work, {"hit_rate": hit_rate}, minimum)["cached_input_tokens"]


@pytest.mark.parametrize(
    "n_in, hit_rate, known, expected",
    [
        (1000.0, 0.5, 0.0, 500.0),
        (1000.0, 0.0, 0.0, 0.0),
        (1000.0, 1.0, 0.0, 999.0),  # the last token is always computed
        (1.0, 1.0, 0.0, 0.0),
        (0.0, 1.0, 0.0, 0.0),
        (1000.0, 0.0, 300.0, 300.0),  # what a log states is kept
        (1000.0, 0.5, 300.0, 650.0),  # half of the 700 that it leaves fresh
        (1000.0, 0.5, 1000.0, 1000.0),
    ],
)
def test_cached_tokens(n_in, hit_rate, known, expected):
    assert cached(n_in, hit_rate, known) == expected


def test_columns():
    found = cached(np.array([1000.0, 1.0]), 1.0, np.zeros(2), np.minimum)
    assert found.tolist() == [999.0, 0.0]
