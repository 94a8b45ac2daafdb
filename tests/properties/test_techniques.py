"""Bounds that no technique can leave, whatever its parameters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.techniques.shapes import DENSE, SPARSE

from inferprint.modalities.text import TEXT
from inferprint.physics.serving import Serving, batch_that_fits
from inferprint.physics.terms import Replica, Traffic, routed_experts, weighted
from inferprint.techniques.apply import parse, rewritten_serving
from inferprint.techniques.speculative_decoding import accepted_length

STEADY = settings(deadline=None, derandomize=True, max_examples=60)
SERVING = st.sampled_from([DENSE, SPARSE])
SHARE = st.floats(0, 1)
BATCH = st.floats(1, 500)
NAMES = ("dense_weights", "expert_weights", "layers", "expert_layers", "quantised_expert_layers", "dense_arithmetic",
         "expert_arithmetic", "all_reduce", "sequences", "kv_reads")  # fmt: skip
COEFFICIENTS = st.fixed_dictionaries(dict.fromkeys(NAMES, st.floats(1e-6, 10)))
SECONDS = {"layers": 1e-5, "expert_layers": 1e-5, "quantised_expert_layers": 1e-5, "sequences": 1e-5}
"""What scales the coefficients of counts."""


def replica(serving: Serving, **changes: object) -> Replica:
    return Replica(8.0, 3.35e12, 989e12, 989e12, 450e9, ranks=serving.layout.ranks, **changes)  # type: ignore[arg-type]


def token(serving: Serving, batch: float, coefficients: dict[str, float]) -> float:
    """Weighted seconds of a token of the answer that the request sees, at 2,000 tokens of context."""
    scaled = {name: value * SECONDS.get(name, 1.0) for name, value in coefficients.items()}
    traffic = Traffic(batch, 0.0, 100.0, steps=serving.steps)
    ideal = TEXT.seen(serving.shape, replica(serving), traffic)
    counts = {"output_tokens": 1.0, "output_context": 2000.0, "windowed_output_context": 128.0}
    return float(sum(weighted(ideal[name], scaled) * count for name, count in counts.items()))


def using(serving: Serving, *texts: str) -> Serving:
    return rewritten_serving(serving, parse(texts))


@STEADY
@given(g=st.integers(0, 16), acceptance=SHARE, decay=SHARE)
def test_tokens_per_step_lie_between_one_and_all(g, acceptance, decay):
    assert 1 <= accepted_length(g, acceptance, decay) <= g + 1


@STEADY
@given(skew=st.floats(0, 2), tokens=st.floats(1, 1e5), more=st.floats(0, 1e5))
def test_touched_experts(skew, tokens, more):
    shape = using(SPARSE, f"mixture-of-experts:skew={skew}").shape
    few, many = routed_experts(shape, tokens), routed_experts(shape, tokens + more)
    assert shape.expert_share * (1 - 1e-9) <= few <= many * (1 + 1e-12) <= 1 + 1e-12
    assert few <= routed_experts(SPARSE.shape, tokens) * (1 + 1e-9)


@STEADY
@given(
    serving=SERVING,
    memory=st.sampled_from(
        ["paged-attention", "paged-attention:block_tokens=64", "paged-attention:reserved_tokens=4096"]
    ),
    bits=st.floats(2, 16),
    context=st.floats(1, 1e5),
    more=st.floats(0, 1e5),
)
def test_longer_requests_never_fit_more_often(serving, memory, bits, context, more):
    served = using(serving, memory, f"kv-quantisation:bits={bits}")
    few, many = batch_that_fits(served, context + more, 8.0), batch_that_fits(served, context, 8.0)
    assert few <= many * (1 + 1e-12)


@STEADY
@given(serving=SERVING, g=st.integers(1, 16), acceptance=SHARE, decay=SHARE, batch=BATCH)
def test_a_draft_never_saves_more_steps_than_its_tokens(serving, g, acceptance, decay, batch):
    served = using(serving, f"speculative-decoding:draft_tokens={g},acceptance={acceptance},decay={decay}")
    ideal = TEXT.seen(served.shape, replica(served), Traffic(batch, 100.0, 100.0, steps=served.steps))
    assert ideal["output_tokens"]["layers"] >= served.shape.layers / accepted_length(g, acceptance, decay) * (1 - 1e-9)


@STEADY
@given(serving=SERVING, coefficients=COEFFICIENTS, batch=BATCH, g=st.integers(1, 8), cost=SHARE)
def test_a_draft_never_gains_more_than_its_tokens(serving, coefficients, batch, g, cost):
    draft = f"speculative-decoding:draft_tokens={g},acceptance=0.8,draft_cost={cost}"
    gain = token(serving, batch, coefficients) / token(using(serving, draft), batch, coefficients)
    assert gain <= accepted_length(g, 0.8, 1.0) * (1 + 1e-9)


@STEADY
@given(serving=SERVING, coefficients=COEFFICIENTS, batch=BATCH, bits=st.floats(1, 16), unpacking=st.floats(1, 4))
def test_fewer_bits_never_gain_more_than_their_ratio(serving, coefficients, batch, bits, unpacking):
    served = using(serving, f"quantisation:bits={bits},unpacking={unpacking}")
    gain = token(serving, batch, coefficients) / token(served, batch, coefficients)
    assert gain <= max(serving.shape.bytes_per_param / served.shape.bytes_per_param, 1.0) * (1 + 1e-9)


@STEADY
@given(serving=SERVING, coefficients=COEFFICIENTS, batch=BATCH, bits=st.floats(2, 16))
def test_a_smaller_cache_never_gains_more_than_its_ratio(serving, coefficients, batch, bits):
    served = using(serving, f"kv-quantisation:bits={bits}")
    gain = token(serving, batch, coefficients) / token(served, batch, coefficients)
    assert 1 - 1e-9 <= gain <= 16 / bits * (1 + 1e-9)


@STEADY
@given(serving=SERVING, batch=BATCH)
def test_disaggregation_saves_no_work_at_equal_batch_and_hardware(serving, batch):
    here = replica(serving)
    apart = replica(serving, prompts=here, transfer_bandwidth=1e9)
    together, separate = (
        TEXT.share(serving.shape, r, Traffic(batch, 1000.0, 300.0, prompts_per_pass=batch)) for r in (here, apart)
    )
    for feature, costs in together.items():
        assert separate[feature] == pytest.approx(costs, rel=1e-12)


@STEADY
@given(batch=st.floats(1, 1000), spread=SHARE)
def test_places_of_a_static_batch(batch, spread):
    from inferprint.physics.serving import static_fill

    fill = static_fill(batch, spread)
    assert 1 / (1 + spread * np.log(batch) + spread) <= fill <= 1
