"""Machine cards: methods beside each other, manufacture and idle time, names of what is uncertain."""

from __future__ import annotations

import numpy as np
import pytest
from tests.setups import ESTIMATOR, NAMES, request

from inferprint import Request
from inferprint.estimate.explain import explain
from inferprint.quantities import METHODS

EIGHT_H100 = {"model_id": "llama-2-70b", "node_id": "generic:hgx-h100-8", "replica_gpu_count": 8, "batch_size": 16}


def estimate(n_in=1000, n_out=200, **changes):
    return ESTIMATOR.estimate(Request(input_tokens=n_in, output_tokens=n_out, **{**EIGHT_H100, **changes}))


class TestTwoTerm:
    """Llama-2-70B, 68.98 billion at 16 bit, on eight H100: 2.10 x prefill + 1.35 x decode, no intercept."""

    # 2 x 68.98e9 x 1000 / (8 x 989.4e12) = 0.0174298 s; 137.96e9 x 200 / (8 x 3.35e12) = 1.0295522 s
    # 2.10 x 0.0174298 + 1.35 x 1.0295522 = 1.4264981 s
    SECONDS = 1.4264981

    def test_duration(self):
        assert estimate(method="two-term").duration_ms.value == pytest.approx(1000 * self.SECONDS, rel=1e-6)

    def test_duration_does_not_know_the_batch(self):
        one, other = (estimate(method="two-term", batch_size=b).duration_ms.value for b in (1, 64))
        assert one == other

    def test_energy_is_board_power_times_time_over_the_batch(self):
        # 8 x 700 W x 1.4264981 s / 16 / 3600 = 0.138688 Wh
        found = estimate(method="two-term").breakdown["accelerator_energy_wh"]
        assert found.value == pytest.approx(0.1386873, rel=1e-5)

    def test_stands_beside_the_default(self):
        assert estimate().two_term["two_term_duration_ms"].value == pytest.approx(1000 * self.SECONDS, rel=1e-6)

    def test_beside_the_default_is_what_the_method_gives(self):
        beside = estimate().two_term["two_term_usage_energy_wh"]
        assert estimate(method="two-term").usage_energy_wh.value == pytest.approx(beside.value, rel=1e-12)

    def test_the_executed_format_computes(self):
        # fp8 on H100: 1978.9 TFLOP/s: 2.10 x 2 x 68.98e9 x 1000 / (8 x 1978.9e12) = 18.3003 ms
        assert estimate(n_out=0, method="two-term", precision="fp8").duration_ms.value == pytest.approx(
            18.3003, rel=1e-5
        )

    def test_no_token_no_time(self):
        assert estimate(0, 0, method="two-term").duration_ms.value == 0


SERVICE = {"model_id": "llama-3.1-70b", "managed_service_id": "together"}


class TestMethods:
    def idle(self, method: str) -> float:
        found = ESTIMATOR.estimate(Request(input_tokens=1000, output_tokens=200, method=method, **SERVICE))
        return found.breakdown["idle_energy_wh"].value

    @pytest.mark.parametrize("method", ["default", "two-term"])
    def test_idle_time_is_charged(self, method):
        assert self.idle(method) > 0

    def test_the_seed_charges_no_idle_time(self):
        assert self.idle("seed") == 0

    def test_the_seed_takes_the_two_term_duration(self):
        assert estimate(method="seed").duration_ms == estimate(method="two-term").duration_ms

    def test_the_seed_amortises_over_all_of_the_life(self):
        # Active share 1 against 0.7 of a public service
        seed, two = (
            ESTIMATOR.estimate(
                Request(input_tokens=1000, output_tokens=200, method=m, gpu_id="h100_80gb_sxm", **SERVICE)
            )
            for m in ("seed", "two-term")
        )
        ratio = two.embodied_emissions_gco2e.value / seed.embodied_emissions_gco2e.value
        assert ratio == pytest.approx(1 / 0.7, rel=1e-9)

    @pytest.mark.parametrize("method", METHODS)
    def test_the_method_is_named_among_the_versions(self, method):
        assert estimate(method=method).versions["method"] == method


def test_default_energy_by_hand():
    # Llama-3.1-8B, 8.03 billion, bf16, one H100, batch 16, 100 tokens in, 10 out; coefficients 0.83 weights, 1.00
    # cache, 2.72 arithmetic, 41.8 us a layer, 26.2 us a sequence, 1.8 prompt; exp(-0.09 Hopper - 0.02 bf16) = 0.895834.
    weights = 16.06e9 / 3.35e12  # 4.794030 ms
    token = 2 * 8.03e9 / 989.4e12  # 16.23206 us
    pair = 4 * 32 * 32 * 128 / 989.4e12
    shared = 0.83 * weights + 41.8e-6 * 32
    step = shared / 16 + 2.72 * token + 26.2e-6
    prompt = shared / 16 + 1.8 * (100 * token + 5050 * pair)
    cache = 1.0 * 131072 / 3.35e12 * 10 * (100 + 5)
    joules = 0.895834 * 700 * (prompt + 10 * step + cache)
    found = estimate(100, 10, model_id="llama-3.1-8b", node_id=None, gpu_id="h100_80gb_sxm", replica_gpu_count=1)
    assert found.breakdown["accelerator_energy_wh"].value == pytest.approx(joules / 3600, rel=1e-5)


def test_default_duration_by_hand():
    # As above with the coefficients of the duration: 1.27 weights and arithmetic, 1.12 cache, 55 us a layer, 50 us a
    # sequence, 2.5 and 8.9 of the prompt; the others of a batch of 2 take 1200 tokens in and 300 out.
    weights, token, pair = 16.06e9 / 3.35e12, 2 * 8.03e9 / 989.4e12, 4 * 32 * 32 * 128 / 989.4e12
    read = 131072 / 3.35e12
    shared = 1.27 * weights + 55e-6 * 32
    own = 1.27 * token + 50e-6
    other = 1.12 * read * 1350 + (2.5 * 1200 * token + 8.9 * 720_600 * pair) / 300
    prompt = shared + 2.5 * 100 * token + 8.9 * 5050 * pair
    seconds = prompt + 10 * (shared + 2 * own + other) + 1.12 * read * 10 * 105
    found = estimate(
        100, 10, model_id="llama-3.1-8b", node_id=None, gpu_id="h100_80gb_sxm", replica_gpu_count=1, batch_size=2
    )
    assert found.duration_ms.value == pytest.approx(1000 * seconds, rel=1e-6)


def test_links_are_published_in_both_directions_together():
    # 2 x 80 layers x 8192 values x 2 bytes / 450 GB/s, half of 900: 5.825422 us a token; 16 requests x 200 steps x 15.5
    exchange = next(step for step in explain(estimate()).terms if step.name.startswith("duration.default all_reduce"))
    assert exchange.value == pytest.approx(5.825422e-6 * 16 * 200 * 15.5, rel=1e-6)


def test_host_power_follows_device_time():
    # Device time = energy / (0.7 x 8 x 700 W); host 1520 W of the whole node: ratio 1520 / 3920
    found = estimate().breakdown
    ratio = found["host_energy_wh"].value / found["accelerator_energy_wh"].value
    assert ratio == pytest.approx(1520 / 3920, rel=1e-9)


def test_idle_power_of_a_cloud_instance():
    # (8 x 108 W + 776 W) x 0.8 / 0.2 over 0.7 x 8 x 700 W
    found = estimate(node_id=None, cloud_id="aws", cloud_instance_id="p5.48xlarge").breakdown
    ratio = found["idle_energy_wh"].value / found["accelerator_energy_wh"].value
    assert ratio == pytest.approx((8 * 108 + 776) * 4 / 3920, rel=1e-9)


def test_manufacture_follows_device_time():
    # (8 x 164 + 4720) kg / 157,788,000 s / (0.7 x 8 x 700 W), busy all of its life
    found = estimate()
    joules = found.breakdown["accelerator_energy_wh"].value * 3600
    grams = joules / 3920 * 6032e3 / 157_788_000
    assert found.embodied_emissions_gco2e.value == pytest.approx(grams, rel=1e-9)


@pytest.mark.parametrize("setup", NAMES)
def test_every_rate_is_a_number_and_none_is_negative(setup):
    table = ESTIMATOR.cards(request(setup))[0].table
    assert np.isfinite(table).all()
    assert (table >= 0).all()


@pytest.mark.parametrize("setup", NAMES)
def test_central_rates_lie_within_their_bounds(setup):
    value, low, high = ESTIMATOR.cards(request(setup))[0].table
    assert ((low <= value) & (value <= high)).all()


@pytest.mark.parametrize("setup", NAMES)
def test_every_number_has_an_origin_and_a_reason(setup):
    entries = ESTIMATOR.cards(request(setup))[0].trail.entries
    assert [e.field for e in entries if not (e.source and e.reason)] == []


def test_the_value_of_a_service_is_the_median_of_its_draws():
    # Per feature, so for a feature by itself exactly.
    card = ESTIMATOR.cards(request("service, windowed attention"))[0]
    energy = card.draws.energy
    assert np.allclose(energy[0], np.median(energy[1:], axis=0), rtol=1e-12)


def test_hardware_of_a_service_is_a_source_of_uncertainty():
    card = ESTIMATOR.cards(request("service, windowed attention"))[0]
    assert "hardware:together" in card.sources


def test_two_models_on_one_gpu_share_its_manufacture():
    one, other = (ESTIMATOR.cards(request("own GPU, dense", model_id=m))[0] for m in ("llama-3.1-8b", "llama-2-7b"))
    assert np.array_equal(one.draws.embodied_g, other.draws.embodied_g)


def test_fewer_bits_cost_less_memory_traffic():
    table = [
        ESTIMATOR.estimate(request("own GPU, dense", 0, 300, batch_size=1, precision=p)).duration_ms.value
        for p in ("q4_k_m", "bf16")
    ]
    assert table[0] < table[1]


def test_prefix_caching_at_its_default_changes_nothing():
    plain, cached = (
        ESTIMATOR.estimate(request("node, dense", techniques=t)).usage_energy_wh for t in ((), ("prefix-caching",))
    )
    assert plain == cached


def test_prefix_caching_is_the_same_as_cached_tokens():
    by_rate = ESTIMATOR.estimate(request("node, dense", 1000, techniques=("prefix-caching:hit_rate=0.5",)))
    by_log = ESTIMATOR.estimate(request("node, dense", 1000, cached_input_tokens=500))
    assert by_rate.usage_energy_wh.value == pytest.approx(by_log.usage_energy_wh.value, rel=1e-12)
