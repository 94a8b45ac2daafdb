"""Shares of a batch add up to what the replica spends, and shares of a node to what the node draws."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inferprint.modalities.text import TEXT
from inferprint.physics import terms
from inferprint.physics.node import host_energy, host_share, idle_energy
from inferprint.physics.terms import ModelShape, Replica, Traffic
from inferprint.physics.work import context_reads

STEADY = settings(deadline=None, derandomize=True, max_examples=60)
POSITIVE = st.floats(0.01, 10)
TERMS = (
    *("dense_weights", "expert_weights", "layers", "expert_layers", "quantised_expert_layers"),
    *("dense_arithmetic", "expert_arithmetic", "all_reduce", "state_space_layers", "sequences", "kv_reads"),
    *("prompt_linear", "prompt_attention", "media_prompts"),
)
COEFFICIENTS = st.fixed_dictionaries(dict.fromkeys(TERMS, POSITIVE))
REPLICA = Replica(devices=4.0, bandwidth=3.35e12, flops_16=989.4e12, flops=1978.9e12, link_bandwidth=450e9)
SHAPES = [
    ModelShape(
        total_params=70.55e9, active_params=70.55e9, expert_share=1.0, bytes_per_param=2.0, layers=80.0, moe_layers=0.0,
        state_space_layers=0.0, hidden_size=8192.0, attention_width=80 * 8192.0, windowed_attention_width=0.0,
        kv_bytes_per_token=327680.0, windowed_kv_bytes_per_token=0.0, window_tokens=0.0,
    ),
    ModelShape(
        total_params=116.8e9, active_params=5.1e9, expert_share=4 / 128, bytes_per_param=0.53, layers=36.0,
        moe_layers=36.0, state_space_layers=6.0, hidden_size=2880.0, attention_width=18 * 4096.0,
        windowed_attention_width=18 * 4096.0, kv_bytes_per_token=36864.0, windowed_kv_bytes_per_token=36864.0,
        window_tokens=128.0, quantised_moe_layers=36.0, kv_heads=2.0,
    ),
]  # fmt: skip


def weighed(ideal, coefficients, n_in: float, n_out: float, window: float) -> float:
    """Weighted cost of one request."""
    work = {
        "input_tokens": n_in,
        "cached_input_tokens": 0.0,
        "output_tokens": n_out,
        "n_requests": 1.0,
        "media_prompts": 0.0,
        "measured_seconds": 0.0,
    }
    features = TEXT.count(work, window, min)
    rates = (terms.weighted(ideal.get(f.name, {}), coefficients) for f in TEXT.features)
    return sum(float(rate) * feature for rate, feature in zip(rates, features, strict=True))


@STEADY
@given(
    shape=st.sampled_from(SHAPES),
    coefficients=COEFFICIENTS,
    batch=st.integers(1, 500),
    n_in=st.integers(128, 10_000),
    n_out=st.integers(1, 2000),
)
def test_equal_requests_together_cost_what_the_replica_spends(shape, coefficients, batch, n_in, n_out):
    traffic = Traffic(float(batch), float(n_in), float(n_out))
    one = weighed(TEXT.share(shape, REPLICA, traffic), coefficients, n_in, n_out, shape.window_tokens)
    replica = weighed(TEXT.seen(shape, REPLICA, traffic), coefficients, n_in, n_out, shape.window_tokens)
    assert batch * one == pytest.approx(replica, rel=1e-10)


@STEADY
@given(
    coefficients=COEFFICIENTS,
    prompts=st.lists(st.integers(0, 5000), min_size=1, max_size=20),
    n_out=st.integers(1, 500),
)
def test_unequal_requests_together_cost_the_steps_of_their_batch(coefficients, prompts, n_out):
    shape, batch = SHAPES[0], float(len(prompts))
    ideal = TEXT.share(shape, REPLICA, Traffic(batch, 1200.0, 300.0))
    shares = sum(weighed(ideal, coefficients, n_in, n_out, 0.0) for n_in in prompts)
    # One prompt pass and n_out steps of the shared weights; every sequence's own part; each prompt; each cache.
    weights = 2 * 70.55e9 / (4 * 3.35e12)
    step = coefficients["dense_weights"] * weights + coefficients["layers"] * 80
    arithmetic = 2 * 70.55e9 / (4 * 1978.9e12)
    own = (
        coefficients["dense_arithmetic"] * arithmetic
        + coefficients["all_reduce"] * 2 * 80 * 8192 * 2 * (3 / 4) / 450e9
        + coefficients["sequences"]
    )
    pair = coefficients["prompt_attention"] * 4 * 80 * 8192 / (4 * 989.4e12)
    token = coefficients["prompt_linear"] * arithmetic
    read = coefficients["kv_reads"] * 327680 / (4 * 3.35e12)
    each = sum(token * n + pair * n * (n + 1) / 2 + read * context_reads(n, n_out) for n in prompts)
    assert shares == pytest.approx((1 + n_out) * step + batch * n_out * own + each, rel=1e-10)


@STEADY
@given(
    replicas=st.sampled_from([1, 2, 4, 8]),
    batch=st.integers(1, 100),
    busy=st.floats(1, 1e4),
    active=st.floats(0.05, 1),
)
def test_host_and_idle_shares_of_a_node_add_up_to_what_it_draws(replicas, batch, busy, active):
    devices = 8 / replicas
    share, own = host_share(devices, 8.0), busy / batch
    attributed = (
        replicas * batch * (host_energy(own, share, 1520.0) + idle_energy(own, devices, 108.0, share, 929.0, active))
    )
    idle_time = busy / active - busy
    drawn = 1520.0 * busy + (929.0 + 8 * 108.0) * idle_time
    assert attributed == pytest.approx(drawn, rel=1e-9)
