"""Text requests as features, and what a batch of them costs together."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from inferprint.modalities.text import TEXT
from inferprint.physics.terms import ModelShape, Replica, Traffic

NAMES = [feature.name for feature in TEXT.features]
REPLICA = Replica(devices=8.0, bandwidth=3.35e12, flops_16=989.4e12, flops=989.4e12, link_bandwidth=450e9)
SHAPE = ModelShape(
    total_params=116.8e9,
    active_params=5.1e9,
    expert_share=4 / 128,
    bytes_per_param=0.53,
    layers=36.0,
    moe_layers=36.0,
    state_space_layers=3.0,
    hidden_size=2880.0,
    attention_width=18 * 4096.0,
    windowed_attention_width=18 * 4096.0,
    kv_bytes_per_token=36864.0,
    windowed_kv_bytes_per_token=36864.0,
    window_tokens=128.0,
)


def count(n_in, n_out, cached=0.0, n=1.0, seconds=0.0, window=128.0, media=0.0) -> dict[str, float]:
    work = {
        "input_tokens": n_in,
        "cached_input_tokens": cached,
        "output_tokens": n_out,
        "n_requests": n,
        "media_prompts": media,
        "measured_seconds": seconds,
    }
    return dict(zip(NAMES, TEXT.count(work, window, min), strict=True))


def cost(ideal, features) -> dict[str, float]:
    """Ideal cost of a request by term."""
    total: dict[str, float] = {}
    for name, of_terms in ideal.items():
        for term, value in of_terms.items():
            total[term] = total.get(term, 0.0) + float(value) * features[name]
    return total


@pytest.mark.parametrize(
    "name, expected",
    [
        ("request", 1),
        ("media_prompts", 1),
        ("fresh_input_tokens", 6),  # 10 - 4
        ("first_chunk_tokens", 6),  # fewer than a chunk of 512
        ("prompt_pairs", 45),  # 5 + 6 + 7 + 8 + 9 + 10
        ("windowed_prompt_pairs", 18),  # 6 x 3
        ("cached_input_tokens", 4),
        ("windowed_cached_tokens", 3),
        ("output_tokens", 2),
        ("output_context", 22),  # 10.5 + 11.5
        ("windowed_output_context", 6),  # 2 x 3
        ("measured_seconds", 0.5),
    ],
)
def test_features_of_one_request(name, expected):
    assert count(10, 2, cached=4, window=3, seconds=0.5, media=1.0)[name] == expected


def test_the_first_chunk_of_a_long_prompt_has_512_tokens():
    # 2,000 tokens of which 700 are cached: 1,300 fresh
    assert count(2000, 10, cached=700)["first_chunk_tokens"] == 512


@pytest.mark.parametrize("name", NAMES)
def test_a_row_of_three_alike_counts_three_times(name):
    one, three = (count(10, 2, cached=4, seconds=0.5, media=1.0, n=n) for n in (1, 3))
    assert three[name] == pytest.approx(3 * one[name], rel=1e-12)


@pytest.mark.parametrize("part", ["share", "seen"])
def test_every_costed_feature_is_declared(part):
    ideal = getattr(TEXT, part)(SHAPE, REPLICA, Traffic(8.0, 1200.0, 300.0))
    assert set(ideal) <= set(NAMES)


def test_alone_a_request_sees_what_it_costs():
    traffic, features = Traffic(1.0, 500.0, 90.0), count(700, 40, cached=10)
    shared, seen = (cost(part(SHAPE, REPLICA, traffic), features) for part in (TEXT.share, TEXT.seen))
    assert {name: seen[name] for name in shared} == pytest.approx(shared, rel=1e-12)


@pytest.mark.parametrize("media", [0.0, 1.0])
@pytest.mark.parametrize("batch", [1.0, 2.0, 16.0, 300.0])
def test_shares_of_a_batch_of_equals_add_up_to_what_each_of_them_sees(batch, media):
    # Prompts longer than the window: the others' mean context then reads the same windowed cache.
    traffic, features = Traffic(batch, 700.0, 40.0, media), count(700, 40, media=media)
    shared, seen = (cost(part(SHAPE, REPLICA, traffic), features) for part in (TEXT.share, TEXT.seen))
    assert {name: batch * value for name, value in shared.items()} == pytest.approx(seen, rel=1e-12)


def test_shares_of_unequal_requests_add_up_to_the_shared_weight_reads():
    # Two requests in a batch of two, 40 answer tokens each: one prompt pass and 40 steps of the dense weights.
    traffic = Traffic(2.0, 700.0, 40.0)
    ideal = TEXT.share(SHAPE, REPLICA, traffic)
    both = sum(cost(ideal, count(n_in, 40))["dense_weights"] for n_in in (200, 3000))
    # P_exp = 111.7 / (1 - 1/32) = 115.303; dense 1.4968 billion x 0.53 bytes / (8 x 3.35e12) = 29.600 us, 41 times
    assert both == pytest.approx(41 * 29.600e-6, rel=1e-3)


def test_a_step_of_a_larger_batch_shares_the_weights_among_more():
    dense = dataclasses.replace(SHAPE, expert_share=1.0, active_params=SHAPE.total_params)
    one, many = (TEXT.share(dense, REPLICA, Traffic(b, 700.0, 40.0))["output_tokens"] for b in (1.0, 10.0))
    assert one["dense_weights"] == pytest.approx(10 * many["dense_weights"], rel=1e-12)


@pytest.mark.parametrize("name", ["cached_input_tokens", "windowed_cached_tokens", "output_context"])
def test_a_cached_token_costs_its_read(name):
    # 36,864 bytes / (8 x 3.35e12 bytes/s) = 1.37552 ns
    ideal = TEXT.share(SHAPE, REPLICA, Traffic(4.0, 700.0, 40.0))[name]
    assert ideal == {"kv_reads": pytest.approx(1.37552e-9, rel=1e-5)}


def test_a_prompt_pass_reads_every_expert():
    # 116.8e9 x 0.53 bytes / (8 x 3.35e12) = 2.30985 ms
    pass_ = TEXT.share(SHAPE, REPLICA, Traffic(1.0, 700.0, 40.0))["request"]
    assert pass_["dense_weights"] + pass_["expert_weights"] == pytest.approx(2.30985e-3, rel=1e-5)


class TestAlone:
    """One request on an engine that holds the layers on one device after the other."""

    # Eight devices that take turns: each step is that of one device.
    TURNS = dataclasses.replace(REPLICA, devices=1.0, stages=8.0)
    TOKEN = 2 * 5.1e9 / 989.4e12
    PAIR = 4 * 18 * 4096 / 989.4e12

    def cost(self, features, replica=TURNS) -> dict[str, float]:
        return cost(TEXT.alone(SHAPE, replica, Traffic(1.0, 1.0, 1.0)), features)

    def test_a_prompt_of_one_chunk_waits_for_every_device(self):
        # (400 + 7 x 400) / 8 = 400 token times
        found = self.cost(count(400, 0))
        assert found["prompt_linear"] == pytest.approx(400 * self.TOKEN, rel=1e-12)
        assert found["prompt_pipelined"] == pytest.approx(400 * self.TOKEN, rel=1e-12)

    def test_a_long_prompt_follows_itself(self):
        # (8192 + 7 x 512) / 8 = 1472 token times, of 8192 that one device would take
        assert self.cost(count(8192, 0))["prompt_pipelined"] == pytest.approx(1472 * self.TOKEN, rel=1e-12)

    def test_attention_of_a_prompt_is_shared(self):
        # 400 x 401 / 2 full pairs; of the windowed ones 128 queries see 1 to 128 and 272 see 128: an eighth of all
        pairs = 400 * 401 / 2 + (128 * 129 / 2 + 272 * 128)
        assert self.cost(count(400, 0))["prompt_attention"] == pytest.approx(pairs * self.PAIR / 8, rel=1e-12)

    def test_an_answer_reads_all_weights_at_the_speed_of_one_device(self):
        # One prompt pass over all weights, then 40 steps of the active ones; 5.1 billion parameters x 0.53 bytes
        found, prompt = self.cost(count(100, 40)), self.cost(count(100, 0))
        weights = sum(found[name] - prompt[name] for name in ("dense_weights", "expert_weights"))
        assert weights == pytest.approx(40 * 5.1e9 * 0.53 / 3.35e12, rel=1e-9)

    def test_devices_that_take_turns_meet_in_no_layer(self):
        assert self.cost(count(100, 40))["layer_exchanges"] == 0

    def test_devices_that_share_layers_meet_in_each(self):
        # 40 steps x 36 layers x 7 others
        assert self.cost(count(100, 40), REPLICA)["layer_exchanges"] == 40 * 36 * 7

    def test_on_one_device_it_is_what_a_request_sees_alone(self):
        one = dataclasses.replace(REPLICA, devices=1.0)
        features = count(700, 40)
        seen = cost(TEXT.seen(SHAPE, one, Traffic(1.0, 1.0, 1.0)), features)
        found = self.cost(features, one)
        assert {name: found[name] for name in seen} == pytest.approx(seen, rel=1e-12)


def test_features_of_columns_are_those_of_their_rows():
    n_in, n_out = np.array([10.0, 500.0]), np.array([0.0, 700.0])
    work = {
        "input_tokens": n_in,
        "cached_input_tokens": np.array([0.0, 100.0]),
        "output_tokens": n_out,
        "n_requests": np.ones(2),
        "media_prompts": np.zeros(2),
        "measured_seconds": np.zeros(2),
    }
    second = np.stack(TEXT.count(work, 128.0, np.minimum))[:, 1]
    assert second.tolist() == list(count(500.0, 700.0, cached=100.0).values())
