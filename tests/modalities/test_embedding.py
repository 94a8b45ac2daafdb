"""Inputs that are read in one pass: features, and what a pass of them costs."""

from __future__ import annotations

import ibis
import numpy as np
import pyarrow as pa
import pytest

from inferprint.modalities.embedding import EMBEDDING
from inferprint.modalities.text import TEXT
from inferprint.physics.terms import ModelShape, Replica, Traffic

REPLICA = Replica(devices=1.0, bandwidth=2.04e12, flops_16=312e12, flops=312e12, link_bandwidth=300e9)
BERT_LARGE = ModelShape(
    total_params=335e6,
    active_params=335e6,
    expert_share=1.0,
    bytes_per_param=2.0,
    layers=24.0,
    moe_layers=0.0,
    state_space_layers=0.0,
    hidden_size=1024.0,
    attention_width=24 * 1024.0,
    windowed_attention_width=0.0,
    kv_bytes_per_token=24 * 2 * 1024 * 2.0,
    windowed_kv_bytes_per_token=0.0,
    window_tokens=0.0,
)
COLUMNS = (
    "input_tokens",
    "cached_input_tokens",
    "output_tokens",
    "n_requests",
    "media_prompts",
    "measured_seconds",
    "media_tokens",
    "cross_tokens",
    "written_tokens",
    "encoder_gflop",
    "encoder_attention_gflop",
    "passes",
)
ROWS = [
    (0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0),
    (1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0),
    (180.0, 0.0, 0.0, 12.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0),
    (512.0, 100.0, 0.0, 3.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0),
    (20.0, 0.0, 0.0, 1.0, 1.0, 0.0, 196.0, 0.0, 0.0, 35.2, 0.9, 1.0),
]


def by_row(window: float) -> np.ndarray:
    return np.array([EMBEDDING.count(dict(zip(COLUMNS, row, strict=True)), window, min) for row in ROWS])


@pytest.mark.parametrize("window", [0.0, 128.0])
def test_numpy_agrees_with_floats(window):
    counted = EMBEDDING.count(dict(zip(COLUMNS, np.array(ROWS).T, strict=True)), window, np.minimum)
    np.testing.assert_allclose(np.stack(counted, axis=1), by_row(window), rtol=1e-12)


@pytest.mark.parametrize("window", [0.0, 128.0])
def test_duckdb_agrees_with_floats(window):
    table = ibis.memtable(pa.table({"row": np.arange(len(ROWS)), **dict(zip(COLUMNS, np.array(ROWS).T, strict=True))}))
    counted = EMBEDDING.count({name: table[name] for name in COLUMNS}, window, ibis.least)
    selected = table.select("row", **{f"f_{n}": c for n, c in zip(EMBEDDING.names, counted, strict=True)})
    found = ibis.duckdb.connect().to_pyarrow(selected.order_by("row")).to_pydict()
    of_table = np.array([found[f"f_{name}"] for name in EMBEDDING.names]).T
    np.testing.assert_allclose(of_table, by_row(window), rtol=1e-12)


def count(n_in: float, window: float = 0.0, n: float = 1.0, **columns: float) -> dict[str, float]:
    work = {
        "input_tokens": n_in,
        "cached_input_tokens": 0.0,
        "output_tokens": 0.0,
        "n_requests": n,
        "media_prompts": 0.0,
        "measured_seconds": 0.0,
        **columns,
    }
    return dict(zip(EMBEDDING.names, EMBEDDING.count(work, window, min), strict=True))


@pytest.mark.parametrize(
    "name, expected",
    [
        ("request", 1),
        ("fresh_input_tokens", 10),
        ("prompt_pairs", 100),  # each of 10 attends to each of 10
        ("windowed_prompt_pairs", 30),  # each of 10 to 3
        ("output_tokens", 0),
        ("output_context", 0),
    ],
)
def test_features_of_one_input(name, expected):
    assert count(10, window=3)[name] == expected


def test_a_picture_of_the_input_attends_to_its_text():
    assert count(10, media_tokens=6.0)["prompt_pairs"] == 256


def test_alike_inputs_do_not_attend_to_each_other():
    assert count(10, n=7)["prompt_pairs"] == 700


def test_a_model_that_writes_computes_half_of_the_pairs():
    # 1 + 2 + ... + 1000 = 500,500, against 1,000,000
    work = {"input_tokens": 1000.0, "cached_input_tokens": 0.0, "output_tokens": 0.0, "n_requests": 1.0}
    causal = TEXT.count({**work, "media_prompts": 0.0, "measured_seconds": 0.0}, 0.0, min)
    assert causal[TEXT.names.index("prompt_pairs")] == 500_500
    assert count(1000)["prompt_pairs"] == 1_000_000


def cost(ideal, features) -> dict[str, float]:
    total: dict[str, float] = {}
    for name, terms in ideal.items():
        for term, value in terms.items():
            total[term] = total.get(term, 0.0) + float(value) * features[name]
    return total


def test_an_input_of_bert_large_by_hand():
    # 2 x 335e6 x 384 / 312e12 = 0.825 ms; 4 x 24 x 1024 x 384^2 / 312e12 = 46.5 us; 670 MB / 2.04 TB/s = 0.328 ms
    found = cost(EMBEDDING.share(BERT_LARGE, REPLICA, Traffic(1.0, 256.0, 0.0)), count(384))
    assert found["prompt_linear"] == pytest.approx(0.8246e-3, rel=1e-3)
    assert found["prompt_attention"] == pytest.approx(46.46e-6, rel=1e-3)
    assert found["dense_weights"] == pytest.approx(0.3284e-3, rel=1e-3)


def test_inputs_of_a_pass_share_its_weights_and_launches():
    one, many = (cost(EMBEDDING.share(BERT_LARGE, REPLICA, Traffic(b, 256.0, 0.0)), count(384)) for b in (1.0, 16.0))
    assert many["dense_weights"] == pytest.approx(one["dense_weights"] / 16, rel=1e-12)
    assert many["layers"] == pytest.approx(one["layers"] / 16, rel=1e-12)
    assert many["prompt_linear"] == one["prompt_linear"]


@pytest.mark.parametrize("batch", [1.0, 16.0, 300.0])
def test_shares_of_a_pass_of_equals_add_up_to_what_each_of_them_sees(batch):
    traffic = Traffic(batch, 384.0, 0.0)
    share, seen = (cost(part(BERT_LARGE, REPLICA, traffic), count(384)) for part in (EMBEDDING.share, EMBEDDING.seen))
    assert {name: batch * value for name, value in share.items()} == pytest.approx(seen, rel=1e-12)


@pytest.mark.parametrize("part", ["share", "seen"])
def test_no_token_is_written(part):
    assert "output_tokens" not in getattr(EMBEDDING, part)(BERT_LARGE, REPLICA, Traffic(4.0, 256.0, 0.0))
