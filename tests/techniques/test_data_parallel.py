"""Data-parallel attention: copies of what is no expert, sequences and cache of one's own."""

from __future__ import annotations

import pytest
from tests.techniques.serve import fits, serve, serving

WHERE = ("deepseek-v3", "h200_141gb_sxm")
LATENT = 61 * 576 * 2.0
"""Cached bytes per token at 16 bits; 35,140 at 8 measured on 4 GB200 (TensorRT-LLM blog 20@baf363e5)."""


def test_measured_cache_of_a_token():
    found = serving(*WHERE, "kv-quantisation:bits=8").shape.kv_bytes_per_token
    assert found == pytest.approx(35140, rel=1e-3)


def test_measured_gain_of_a_cache_that_is_not_copied():
    # Kimi-K2.6, 8 B200: splitting the latent cache gives 3.27 x the throughput of copies on 8 devices, from up to 8 x
    # the room (2026-08-07-decode-context-parallelism.md@c3a01c4a). Ranks do the same to the room.
    where = ("kimi-k2.6", "b200_180gb_sxm")
    copies = fits(*where, "tensor-parallel:devices=8", "quantisation:format=nvfp4", context=64000.0, devices=8)
    ranks = fits(
        *where, "data-parallel:ranks=8", "expert-parallel:devices=8", "quantisation:format=nvfp4",
        context=64000.0, devices=8,
    )  # fmt: skip
    assert 3.27 < ranks / copies < 8


def test_ranks_hold_copies_of_what_is_no_expert():
    one, eight = (fits(*WHERE, f"data-parallel:ranks={n}", context=4000.0, devices=8) for n in (1, 8))
    assert eight < one


def test_ranks_exchange_less_and_read_more():
    details = [serve(*WHERE, f"data-parallel:ranks={n}", devices=8, batch=64).card.draws.details for n in (1, 8)]
    term = {
        name: [next(d.ideal for d in found if (d.feature, d.term) == ("output_tokens", name)) for found in details]
        for name in ("all_reduce", "dense_weights")
    }
    assert term["all_reduce"][1] < term["all_reduce"][0]
    assert term["dense_weights"][1] == pytest.approx(8 * term["dense_weights"][0])
