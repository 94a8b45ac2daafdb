"""Prefix caching: n_cached = min(h n_in, n_in - 1)."""

from __future__ import annotations

import numpy as np
import pytest
from tests.techniques.serve import serve

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


MEASURED = [(12035, 0.40, 0.64), (8596, 0.59, 0.47), (15325, 0.66, 0.36), (128_000, 0.95, 0.08)]
"""Mean prompt, share found, GPU time of prompts over that without a cache: a model of the shape of Llama-3-70B on
8 A800; Mooncake, FAST 2025 (Mooncake-FAST25.pdf@3b5a5941)."""


@pytest.mark.parametrize("n_in, hit_rate, measured", MEASURED)
def test_measured_time_of_prompts(n_in, hit_rate, measured):
    # Within 3 % on two traces and 8 % at 128k; the synthetic trace is 13 % too high. One prompt of the
    # mean length stands for a trace.
    before, after = (
        serve("llama-3-70b", "a100_80gb_sxm", t, devices=8, lengths=(float(n_in), 300.0)).prompt_seconds(float(n_in))
        for t in ("prefix-caching", f"prefix-caching:hit_rate={hit_rate}")
    )
    assert after / before == pytest.approx(measured, rel=0.13)
