"""Pipeline parallelism: stages work on different requests, a request passes all of them."""

from __future__ import annotations

import pytest
from tests.techniques.serve import serve

from inferprint.errors import InvalidInput

HOW = {"devices": 8, "lengths": (1000.0, 300.0)}


def served(stages: int, batch: float = 32, **how):
    techniques = (f"pipeline-parallel:stages={stages}", f"tensor-parallel:devices={8 // stages}")
    return serve("llama-3.1-70b", "a100_80gb_sxm", *techniques, batch=batch, **(HOW | how))


def test_each_stage_works_like_a_replica_of_its_share():
    # 2 stages of 4 devices with 16 requests each: a step of a replica of 4 devices with 16, and one hop of 8192 x 2
    # bytes over half of 600 GB/s for each of the 16. No measured step of a pipeline could be found.
    alone = serve("llama-3.1-70b", "a100_80gb_sxm", batch=16, devices=4, lengths=HOW["lengths"])
    hop = 16 * 8192 * 2 / 300e9
    assert served(2).token_seconds == pytest.approx(alone.token_seconds + hop, rel=2e-3)


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_with_fewer_requests_than_stages_some_wait(batch):
    # GPipe (arXiv:1811.06965): of p stages and m requests, 1 - m/p stand still.
    full, waiting = served(4, 4, lengths=(1.0, 300.0)), served(4, batch, lengths=(1.0, 300.0))
    assert waiting.token_joules / full.token_joules == pytest.approx(4 / batch, rel=0.02)


def test_a_request_is_slower_than_with_split_matrices():
    assert served(1).token_seconds < served(2).token_seconds < served(4).token_seconds


def test_more_stages_than_layers():
    with pytest.raises(InvalidInput, match="80 layers"):
        serve("llama-3.1-70b", "a100_80gb_sxm", "pipeline-parallel:stages=128", devices=128)
