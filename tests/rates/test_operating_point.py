"""The batch: given, solved from a measured time, or a prior of the host."""

from __future__ import annotations

import pytest
from tests.setups import ESTIMATOR

from inferprint import Request

H100 = {"gpu_id": "h100_80gb_sxm", "gpu_count": 1}
WORK = {"input_tokens": 1200, "output_tokens": 300}


def card(model_id: str = "llama-3.1-8b", **setup):
    return ESTIMATOR.cards(Request(model_id=model_id, **{**WORK, **setup}))[0]


def estimate(model_id: str = "llama-3.1-8b", **setup):
    return ESTIMATOR.estimate(Request(model_id=model_id, **{**WORK, **setup}))


def entry(found, field: str):
    return next(e for e in found.trail.entries if e.field == field)


def test_a_given_batch_is_used():
    assert set(card(batch_size=32, **H100).draws.batch) == {32.0}


def test_a_given_batch_is_recorded_as_given():
    assert entry(card(batch_size=32, **H100), "batch_size").how == "given"


def test_a_given_replica_is_recorded_as_given():
    assert entry(card(replica_gpu_count=1, **H100), "replica_gpu_count").how == "given"


def test_a_batch_beyond_the_memory_is_a_warning():
    # (72 - 16.5 - 2) GB / (1,500 tokens x 131,072 bytes) = 272 requests
    assert any("exceed the memory" in text for text in card(batch_size=1000, **H100).trail.warnings)


@pytest.mark.parametrize(
    "setup, batch",
    [
        ({"gpu_id": "h100_80gb_sxm"}, 8),
        ({"node_id": "generic:hgx-h100-8"}, 8),
        ({"cloud_id": "aws", "cloud_instance_id": "p5.48xlarge"}, 8),
        ({"gpu_id": "rtx_4090", "precision": "q4_k_m"}, 1),
        ({"managed_service_id": "deepinfra"}, 64),
        ({"managed_service_id": "together"}, 16),
        ({"managed_service_id": "mistral"}, 48),
    ],
    ids=str,
)
def test_the_prior_of_a_host(setup, batch):
    # Self-hosted 8, local 1, economy host 64, speed host 16, closed service with a small model 48.
    # The value of several likely accelerators is the median of draws, which the strata meet to their width.
    assert card(**setup).draws.batch[0] == pytest.approx(batch, rel=0.01)


def test_the_prior_of_a_closed_service_with_a_large_model():
    assert card("claude-opus-4-5", total_params_b=400.0, active_params_b=40.0).draws.batch[0] == pytest.approx(
        64, rel=0.01
    )


def test_a_prior_never_exceeds_the_memory():
    # (72 - 16.5 - 2) GB / (1,500 tokens x 131,072 bytes) = 272 requests
    assert card(managed_service_id="deepinfra", precision="bf16", **H100).draws.batch.max() <= 273


def test_a_prior_is_an_assumption():
    assert entry(card(**H100), "batch_size").how == "assumed"


@pytest.mark.parametrize("batch", [4, 32, 200])
def test_a_measured_duration_gives_its_batch_back(batch):
    duration = estimate(batch_size=batch, **H100).duration_ms.value
    solved = card(request_duration_ms=duration, **H100)
    assert solved.draws.batch[0] == pytest.approx(batch, rel=0.02)


@pytest.mark.parametrize("batch", [4, 32, 200])
def test_a_measured_time_per_token_gives_its_batch_back(batch):
    # Decode alone: one more output token than 299, at the usual context.
    at = {"batch_size": batch, **H100}
    whole, prompt = (estimate(**{**at, "output_tokens": n}).duration_ms.value for n in (300, 0))
    solved = card(time_per_output_token_ms=(whole - prompt) / 300, **H100)
    assert solved.draws.batch[0] == pytest.approx(batch, rel=0.02)


def test_a_measured_duration_gives_its_energy_back():
    known = estimate(batch_size=32, **H100)
    solved = estimate(request_duration_ms=known.duration_ms.value, **H100)
    assert solved.usage_energy_wh.value == pytest.approx(known.usage_energy_wh.value, rel=0.02)


def test_a_solved_batch_is_recorded_as_derived():
    assert entry(card(time_per_output_token_ms=12.0, **H100), "batch_size").how == "derived"


def test_slower_answers_mean_a_larger_batch():
    fast, slow = (card(time_per_output_token_ms=t, **H100).draws.batch[0] for t in (10.0, 20.0))
    assert slow > fast


def test_a_time_that_one_request_alone_does_not_reach_is_a_warning():
    assert any("one request alone takes" in w for w in card(time_per_output_token_ms=0.5, **H100).trail.warnings)


def test_a_time_that_one_request_alone_does_not_reach_gives_a_batch_near_one():
    assert 1 <= card(time_per_output_token_ms=0.5, **H100).draws.batch[0] < 3


class TestDeviceTime:
    """A measured duration with a known batch is device time itself."""

    def test_energy_is_power_times_time_over_the_batch(self):
        # 0.7 x 700 W x 10 s / 8 = 612.5 J = 0.170139 Wh
        found = estimate(batch_size=8, request_duration_ms=10_000, **H100)
        assert found.breakdown["accelerator_energy_wh"].value == pytest.approx(0.170139, rel=1e-5)

    def test_host_energy_is_its_share_of_the_time(self):
        # 1/8 x 1520 W x 10 s / 8 = 237.5 J = 0.0659722 Wh
        found = estimate(batch_size=8, request_duration_ms=10_000, **H100)
        assert found.breakdown["host_energy_wh"].value == pytest.approx(0.0659722, rel=1e-5)

    def test_embodied_is_its_share_of_the_life(self):
        # (164 + 4720 / 8) kg x 1000 x 10 s / 8 / 157,788,000 s = 0.00597321 g
        found = estimate(batch_size=8, request_duration_ms=10_000, **H100)
        assert found.embodied_emissions_gco2e.value == pytest.approx(0.00597321, rel=1e-5)

    def test_duration_is_the_measured_one(self):
        found = estimate(batch_size=8, request_duration_ms=10_000, **H100)
        assert found.duration_ms == pytest.approx((10_000, 10_000, 10_000), rel=1e-9)

    def test_prompt_and_answer_are_not_told_apart(self):
        found = estimate(batch_size=8, request_duration_ms=10_000, **H100)
        assert (found.breakdown["prefill_energy_wh"], found.breakdown["decode_energy_wh"]) == (None, None)

    def test_quality_is_measured(self):
        assert estimate(batch_size=8, request_duration_ms=10_000, **H100).quality == "measured"

    def test_a_desk_needs_no_batch(self):
        # 0.7 x 450 W x 10 s = 3150 J = 0.875 Wh
        found = estimate(gpu_id="rtx_4090", precision="q4_k_m", request_duration_ms=10_000)
        assert found.breakdown["accelerator_energy_wh"].value == pytest.approx(0.875, rel=1e-6)


@pytest.mark.parametrize(
    "setup, quality",
    [
        ({**H100, "batch_size": 8}, "specified"),
        ({**H100, "time_per_output_token_ms": 12.0}, "specified"),
        (H100, "assumed"),
        ({"gpu_id": "rtx_4090", "precision": "q4_k_m", "gpu_count": 1}, "specified"),
        ({"gpu_id": "rtx_4090", "precision": "q4_k_m"}, "assumed"),  # how many there are, nobody said
        ({"managed_service_id": "together"}, "assumed"),
    ],
    ids=str,
)
def test_quality(setup, quality):
    assert estimate(**setup).quality == quality
