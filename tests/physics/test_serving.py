"""What fits on a replica, against published engine logs and datasheets."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from inferprint.physics import serving
from inferprint.physics.terms import ModelShape

GIB = 2.0**30
H100 = serving.Memory(device_bytes=80e9, usable=0.9, overhead=0.025, work_bytes=2e9)

LLAMA_2_7B = ModelShape(
    total_params=6.74e9,
    active_params=6.74e9,
    expert_share=1.0,
    bytes_per_param=2.0,
    layers=32.0,
    moe_layers=0.0,
    state_space_layers=0.0,
    hidden_size=4096.0,
    attention_width=32 * 4096.0,
    windowed_attention_width=0.0,
    kv_bytes_per_token=2 * 32 * 32 * 128 * 2.0,
    windowed_kv_bytes_per_token=0.0,
    window_tokens=0.0,
)
LLAMA_31_405B = dataclasses.replace(
    LLAMA_2_7B, total_params=405.85e9, active_params=405.85e9, kv_bytes_per_token=2 * 126 * 8 * 128 * 2.0
)


def on(shape, memory=H100, **layout):
    return serving.Serving(shape, memory, layout=serving.Layout(**layout))


def test_memory_of_weights_cache_and_work_space():
    # 13.48e9 x 1.025 + 4 x 1000 x 524,288 + 2 x 2e9 = 13.817e9 + 2.097152e9 + 4e9
    needed = serving.memory_needed(on(LLAMA_2_7B), 4.0, 1000.0, 2.0)
    assert needed == pytest.approx(19.914152e9, rel=1e-9)


def test_memory_that_an_engine_logged():
    # vLLM, Llama-2-7B on an A100 of 79.15 GiB: 7,351 blocks of 16 tokens, 1.26 GiB for everything else at 0.9 use.
    memory = dataclasses.replace(H100, overhead=0.0, work_bytes=1.26 * GIB)
    needed = serving.memory_needed(on(LLAMA_2_7B, memory), 1.0, 7351 * 16.0, 1.0)
    assert needed == pytest.approx(0.9 * 79.15 * GIB, rel=1e-3)


def test_tokens_that_fit_agree_with_the_engine_within_a_quarter():
    # The same log: 117,616 tokens. Engines differ by a quarter in work space.
    assert serving.batch_that_fits(on(LLAMA_2_7B), 1.0, 1.0) == pytest.approx(117616, rel=0.25)


def test_batch_that_fits():
    # (0.9 x 80e9 - 13.817e9 - 2e9) / (1000 x 524,288) = 56.183e9 / 524.288e6 = 107.16
    assert serving.batch_that_fits(on(LLAMA_2_7B), 1000.0, 1.0) == pytest.approx(107.16, abs=0.005)


def test_weights_beyond_the_memory_leave_less_than_nothing():
    assert serving.batch_that_fits(on(LLAMA_31_405B), 1000.0, 1.0) < 0


def test_cache_of_windowed_layers_stops_growing():
    # 10 x 1000 + 10 x min(1000, 128) = 11,280
    windowed = dataclasses.replace(
        LLAMA_2_7B, kv_bytes_per_token=10.0, windowed_kv_bytes_per_token=10.0, window_tokens=128.0
    )
    assert serving.cache_bytes(on(windowed), 1000.0) == 11280.0


def test_cache_of_windowed_layers_below_the_window():
    windowed = dataclasses.replace(
        LLAMA_2_7B, kv_bytes_per_token=10.0, windowed_kv_bytes_per_token=10.0, window_tokens=128.0
    )
    assert serving.cache_bytes(on(windowed), 100.0) == 2000.0


def test_405b_at_16_bit_needs_two_nodes_of_h100():
    # 811.7 GB x 1.025 = 832 GB; 8 x (72 - 2) GB = 560 GB, 16 x 70 GB = 1,120 GB
    assert serving.smallest_replica(on(LLAMA_31_405B), 1.0, 1000.0) == 16.0


def test_405b_at_8_bit_fits_on_one_node_of_h100():
    # 405.85 GB x 1.025 = 416 GB; 4 x 70 GB = 280 GB, 8 x 70 GB = 560 GB
    fp8 = dataclasses.replace(LLAMA_31_405B, bytes_per_param=1.0)
    assert serving.smallest_replica(on(fp8), 1.0, 1000.0) == 8.0


def test_a_small_model_takes_one_device():
    assert serving.smallest_replica(on(LLAMA_2_7B), 1.0, 1000.0) == 1.0


def test_a_larger_batch_takes_more_devices():
    # 300 x 0.524288 GB = 157.3 GB of cache + 13.8 GB: 2 x 70 GB is too little, 4 x 70 GB is enough
    assert serving.smallest_replica(on(LLAMA_2_7B), 300.0, 1000.0) == 4.0


def test_no_replica_holds_a_model_of_a_quadrillion():
    vast = dataclasses.replace(LLAMA_2_7B, total_params=1e15)
    assert serving.smallest_replica(on(vast), 1.0, 1000.0) == np.inf


def test_draws_of_the_batch_each_get_their_replica():
    found = serving.smallest_replica(on(LLAMA_2_7B), np.array([1.0, 300.0]), 1000.0)
    assert found.tolist() == [1.0, 4.0]
