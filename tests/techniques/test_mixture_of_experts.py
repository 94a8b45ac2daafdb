"""Routing of a mixture of experts: what a step touches."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from tests.techniques.serve import serve
from tests.techniques.shapes import DENSE, SPARSE

from inferprint.errors import InvalidInput
from inferprint.physics.terms import Replica, routed_experts, shared_step
from inferprint.physics.work import touched_experts
from inferprint.techniques.apply import parse, rewritten_serving
from inferprint.techniques.mixture_of_experts import routing_groups

QWEN = {8: 12.9, 16: 17.6, 32: 22.6, 64: 28.9}
"""Time between tokens of Qwen3-30B-A3B by batch [ms]: H100, bf16, vLLM 0.11.1, chats (ML.ENERGY v3, 2025-12)."""


def token_ms(batch: float, *techniques: str, engine: str = "vllm-0.11") -> float:
    return (
        1e3
        * serve(
            "qwen3-30b-a3b", "h100_80gb_sxm", *techniques, batch=batch, engine=engine, lengths=(300.0, 600.0)
        ).token_seconds
    )


@pytest.mark.parametrize("batch", QWEN)
def test_measured_time_between_tokens(batch):
    # 29, 23, 21 and 13 % high: the fixed time learned for this engine is too long for this model. As a current vLLM,
    # which it was not, within 6 %.
    assert token_ms(batch) == pytest.approx(QWEN[batch], rel=0.30)
    assert token_ms(batch, engine="vllm") == pytest.approx(QWEN[batch], rel=0.06)


@pytest.mark.parametrize("few, many", [(8, 16), (16, 32), (32, 64)])
def test_measured_increments(few, many):
    # 4.7, 5.0 and 6.3 ms; computed 5.0, 5.7 and 5.4. The experts touched explain most of the first two.
    assert token_ms(many) - token_ms(few) == pytest.approx(QWEN[many] - QWEN[few], rel=0.16)


def skewed(skew: float):
    return rewritten_serving(SPARSE, parse([f"mixture-of-experts:skew={skew}"])).shape


def touched_exactly(experts: int, per_token: int, skew: float, tokens: float) -> float:
    """Expert by expert."""
    use = np.arange(1, experts + 1, dtype=float) ** -skew
    chance = per_token * use / use.sum()
    assert np.all(chance <= 1)
    return float(np.mean(1 - (1 - chance) ** tokens))


@pytest.mark.parametrize("skew", [0.2, 0.5, 0.75])
@pytest.mark.parametrize("tokens", [1.0, 4.0, 16.0, 64.0, 256.0])
def test_groups_of_experts_stand_for_single_ones(skew, tokens):
    assert routed_experts(skewed(skew), tokens) == pytest.approx(touched_exactly(128, 4, skew, tokens), rel=2e-3)


@pytest.mark.parametrize("skew", [0.1, 0.5, 1.0, 2.0])
def test_a_token_goes_to_as_many_experts(skew):
    assert routed_experts(skewed(skew), 1.0) == pytest.approx(4 / 128, rel=1e-9)


@pytest.mark.parametrize("experts, per_token", [(128, 8), (8, 2), (256, 8), (64, 6)])
@pytest.mark.parametrize("skew", [0.5, 1.0, 2.0])
def test_no_expert_is_used_more_than_always(experts, per_token, skew):
    groups = routing_groups(experts, per_token, skew)
    assert sum(share for share, _ in groups) == pytest.approx(1)
    assert sum(share * use for share, use in groups) == pytest.approx(1)
    assert max(use for _, use in groups) <= experts / per_token * (1 + 1e-9)


def test_even_routing_is_exactly_the_plain_equation():
    tokens = np.array([1.0, 3.7, 64.0, np.inf])
    assert np.array_equal(routed_experts(SPARSE.shape, tokens), touched_experts(SPARSE.shape.expert_share, tokens))


def test_even_the_busiest_device_reads_its_experts_once():
    replica = Replica(8.0, 1e12, 1.0, 1.0, 1.0)
    even, uneven = (
        shared_step(dataclasses.replace(SPARSE.shape, expert_imbalance=i), replica, 1e6)["expert_weights"]
        for i in (1.0, 2.5)
    )
    assert uneven == even


@pytest.mark.parametrize("rest", ["skew=1", "imbalance=1.5"])
def test_a_dense_model_has_no_routing(rest):
    with pytest.raises(InvalidInput, match="dense"):
        rewritten_serving(DENSE, parse([f"mixture-of-experts:{rest}"]))


def test_a_skew_needs_the_number_of_experts():
    unknown = dataclasses.replace(SPARSE, shape=dataclasses.replace(SPARSE.shape, experts_per_token=0.0))
    with pytest.raises(InvalidInput, match="number of experts"):
        rewritten_serving(unknown, parse(["mixture-of-experts:skew=1"]))
