"""Ideal seconds, against arithmetic on published shapes and datasheets."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from inferprint.physics import terms
from inferprint.physics.terms import ModelShape, Replica

H100 = Replica(devices=1.0, bandwidth=3.35e12, flops_16=989.4e12, flops=989.4e12, link_bandwidth=450e9)
"""Datasheet of the H100 SXM: 3.35 TB/s, 989.4 dense TFLOP/s, NVLink 900 GB/s in both directions together."""

B200_BANDWIDTH = 7.7e12


def shape(**changes) -> ModelShape:
    """Llama-3-70B at 16 bit: 80 layers, width 8192, 64 query and 8 key-value heads of 128."""
    base = ModelShape(
        total_params=70.55e9,
        active_params=70.55e9,
        expert_share=1.0,
        bytes_per_param=2.0,
        layers=80.0,
        moe_layers=0.0,
        state_space_layers=0.0,
        hidden_size=8192.0,
        attention_width=80 * 64 * 128.0,
        windowed_attention_width=0.0,
        kv_bytes_per_token=2 * 80 * 8 * 128 * 2.0,
        windowed_kv_bytes_per_token=0.0,
        window_tokens=0.0,
    )
    return dataclasses.replace(base, **changes)


QWEN3_30B_A3B = shape(
    total_params=30.53e9,
    active_params=3.35e9,
    expert_share=8 / 128,
    layers=48.0,
    moe_layers=48.0,
    hidden_size=2048.0,
)


def on(devices: float) -> Replica:
    return dataclasses.replace(H100, devices=devices)


class TestExperts:
    def test_mixtral(self):
        # (46.7 - 12.9) / (1 - 2/8) = 33.8 / 0.75 = 45.0667
        assert terms.expert_params(46.7e9, 12.9e9, 2 / 8) == pytest.approx(45.0667e9, rel=1e-6)

    def test_mixtral_agrees_with_its_matrices(self):
        # 32 layers x 8 experts x 3 matrices of 4096 x 14336
        assert terms.expert_params(46.7e9, 12.9e9, 2 / 8) == pytest.approx(32 * 8 * 3 * 4096 * 14336, rel=1e-3)

    def test_qwen3_30b_a3b_agrees_with_its_matrices(self):
        # 48 layers x 128 experts x 3 matrices of 2048 x 768
        assert terms.expert_params(30.53e9, 3.35e9, 8 / 128) == pytest.approx(48 * 128 * 3 * 2048 * 768, rel=1e-3)

    def test_none_in_a_dense_model(self):
        assert terms.expert_params(70e9, 70e9, 1.0) == 0

    def test_never_more_than_the_whole_model(self):
        assert terms.expert_params(100e9, 5e9, 0.5) == 100e9

    def test_a_column_may_mix_dense_and_sparse(self):
        found = terms.expert_params(np.array([8e9, 46.7e9]), np.array([8e9, 12.9e9]), np.array([1.0, 0.25]))
        assert found == pytest.approx([0.0, 45.0667e9], rel=1e-6)


class TestReads:
    # Llama-3.1-8B, 8.03e9 parameters of which the input embedding, 128,256 x 4,096, is looked up and not read:
    # 15.01 GB at 16 bit, the 4.48 and 1.95 ms published beside measured intercepts of 6.44 and 3.93 ms.
    WEIGHTS = 2 * (8.03e9 - 128256 * 4096)

    def test_weights_of_llama_8b_on_h100(self):
        assert terms.read_seconds(self.WEIGHTS, H100) == pytest.approx(4.48e-3, abs=5e-6)

    def test_weights_of_llama_8b_on_b200(self):
        b200 = dataclasses.replace(H100, bandwidth=B200_BANDWIDTH)
        assert terms.read_seconds(self.WEIGHTS, b200) == pytest.approx(1.95e-3, abs=5e-6)

    def test_eight_devices_read_eight_times_as_fast(self):
        assert terms.read_seconds(8e12, on(8.0)) == pytest.approx(1 / 3.35, rel=1e-12)

    def test_cache_of_one_token_of_llama_70b(self):
        # 327,680 bytes / (8 x 3.35e12 bytes/s) = 12.227 ns
        full, _ = terms.cache_reads(shape(), on(8.0))
        assert full == pytest.approx(12.227e-9, rel=1e-4)

    def test_cache_of_windowed_layers_is_read_apart(self):
        # 3350 bytes / 3.35e12 bytes/s = 1 ns
        _, windowed = terms.cache_reads(shape(windowed_kv_bytes_per_token=3350.0), H100)
        assert windowed == pytest.approx(1e-9, rel=1e-12)


@pytest.mark.parametrize(
    "devices, ranks, heads, copies",
    [
        (1.0, 1.0, 8.0, 1.0),
        (8.0, 1.0, 8.0, 1.0),  # a head for each device
        (16.0, 1.0, 8.0, 2.0),  # two devices to a head
        (8.0, 1.0, 1.0, 8.0),  # one latent vector for all
        (8.0, 8.0, 1.0, 1.0),  # each rank keeps sequences of its own
        (16.0, 4.0, 1.0, 4.0),  # four ranks of four devices
        (8.0, 1.0, np.inf, 1.0),  # heads unknown
    ],
)
def test_a_cache_is_copied_where_devices_exceed_heads(devices, ranks, heads, copies):
    replica = dataclasses.replace(on(devices), ranks=ranks)
    assert terms.cache_copies(shape(kv_heads=heads), replica) == copies
    # 327,680 bytes from the memories of all devices, once for each copy
    full, _ = terms.cache_reads(shape(kv_heads=heads), replica)
    assert full == pytest.approx(copies * 327_680 / (devices * 3.35e12), rel=1e-12)


@pytest.mark.parametrize("batch, milliseconds", [(8, 7.9), (16, 12.1), (32, 16.0), (64, 18.0)])
def test_ideal_weight_read_of_a_mixture_of_experts_grows_with_the_batch(batch, milliseconds):
    # Qwen3-30B-A3B on H100, published beside measured 12.9, 17.6, 22.6, 28.9 ms. Batch 8 by hand:
    # (1.538 + 28.992 x (1 - 0.9375^8 = 0.40328)) x 2 bytes / 3350 GB/s = 7.90 ms
    step = terms.shared_step(QWEN3_30B_A3B, H100, batch)
    assert (step["dense_weights"] + step["expert_weights"]) * 1e3 == pytest.approx(milliseconds, abs=0.06)


def test_a_dense_step_reads_all_weights_once():
    # 141.1 GB / (8 x 3350 GB/s) = 5.2649 ms
    step = terms.shared_step(shape(), on(8.0), 64.0)
    assert step["dense_weights"] == pytest.approx(5.2649e-3, rel=1e-4)


def test_a_dense_step_reads_no_experts():
    assert terms.shared_step(shape(), on(8.0), 64.0)["expert_weights"] == 0


def test_a_step_counts_layers():
    step = terms.shared_step(QWEN3_30B_A3B, H100, 4.0)
    assert (step["layers"], step["expert_layers"]) == (48.0, 48.0)


def test_arithmetic_of_a_step_is_two_operations_a_parameter():
    # 2 x 70.55e9 / (8 x 989.4e12) = 17.827 us
    assert terms.own_step(shape(), on(8.0))["dense_arithmetic"] == pytest.approx(17.827e-6, rel=1e-4)


def test_arithmetic_of_a_mixture_is_that_of_its_active_parameters():
    # dense 1.538 + experts 28.992 x 1/16 = 3.35 billion: 2 x 3.35e9 / 989.4e12 = 6.7718 us
    step = terms.own_step(QWEN3_30B_A3B, H100)
    assert step["dense_arithmetic"] + step["expert_arithmetic"] == pytest.approx(6.7718e-6, rel=1e-4)


def test_arithmetic_follows_the_executed_format():
    replica = dataclasses.replace(H100, flops=2 * H100.flops)
    ratio = terms.own_step(shape(), replica)["dense_arithmetic"] / terms.own_step(shape(), H100)["dense_arithmetic"]
    assert ratio == pytest.approx(0.5, rel=1e-12)


def test_layers_that_quantise_activations_are_counted_apart():
    assert terms.shared_step(shape(quantised_moe_layers=48.0), H100, 4.0)["quantised_expert_layers"] == 48.0


def test_each_request_is_one_sequence():
    assert terms.own_step(shape(), H100)["sequences"] == 1.0


def test_a_rank_handles_its_own_sequences_only():
    # Eight ranks: one in eight
    assert terms.own_step(shape(), dataclasses.replace(on(8.0), ranks=8.0))["sequences"] == 0.125


def test_state_space_layers_are_counted():
    assert terms.own_step(shape(state_space_layers=24.0), H100)["state_space_layers"] == 24.0


def test_devices_exchange_activations_twice_a_layer():
    # 2 x 80 layers x 8192 values x 2 bytes / 450 GB/s = 5.8254 us, of which 7/8 comes from the others: 5.0972 us
    assert terms.all_reduce_seconds(shape(), on(8.0)) == pytest.approx(5.0972e-6, rel=1e-4)


def test_two_devices_have_half_of_the_sum_already():
    # 5.8254 us / 2
    assert terms.all_reduce_seconds(shape(), on(2.0)) == pytest.approx(2.9127e-6, rel=1e-4)


def test_one_device_exchanges_nothing():
    assert terms.all_reduce_seconds(shape(), on(1.0)) == 0


def test_prompt_token():
    # 2 x 70.55e9 / (8 x 989.4e12) = 17.827 us
    assert terms.prompt_linear_seconds(shape(), on(8.0)) == pytest.approx(17.827e-6, rel=1e-4)


def test_prompt_token_of_a_mixture_computes_active_parameters_only():
    # 2 x 3.35e9 / 989.4e12 = 6.7718 us
    assert terms.prompt_linear_seconds(QWEN3_30B_A3B, H100) == pytest.approx(6.7718e-6, rel=1e-4)


def test_attention_pair():
    # 4 x 80 x 64 x 128 / (8 x 989.4e12) = 0.33119 ns
    width = 80 * 64 * 128.0
    assert terms.prompt_attention_seconds(width, on(8.0)) == pytest.approx(0.33119e-9, rel=1e-4)


def test_attention_stays_at_16_bit():
    fp8 = dataclasses.replace(H100, flops=2 * H100.flops)
    assert terms.prompt_attention_seconds(1e6, fp8) == terms.prompt_attention_seconds(1e6, H100)


def test_two_term_prefill():
    # All parameters, active or not: 2 x 30.53e9 / 989.4e12 = 61.714 us
    assert terms.two_term_prefill_seconds(QWEN3_30B_A3B, H100) == pytest.approx(61.714e-6, rel=1e-4)


def test_two_term_decode():
    # 61.06 GB / 3350 GB/s = 18.227 ms
    assert terms.two_term_decode_seconds(QWEN3_30B_A3B, H100) == pytest.approx(18.227e-3, rel=1e-4)


def test_terms_are_weighted_and_added():
    # 0.83 x 2 + 41.8e-6 x 80 = 1.663344
    found = terms.weighted({"dense_weights": 2.0, "layers": 80.0}, {"dense_weights": 0.83, "layers": 41.8e-6})
    assert found == pytest.approx(1.663344, rel=1e-12)


def test_a_term_without_coefficient_counts_nothing():
    assert terms.weighted({"all_reduce": 5.0}, {"layers": 1.0}) == 0
