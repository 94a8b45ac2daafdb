"""How much work a request is, against sums done one token at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inferprint.physics.work import (
    causal_pairs,
    context_reads,
    touched_experts,
    windowed_causal_pairs,
    windowed_context_reads,
)

TOKENS = st.integers(0, 300)
WINDOW = st.integers(1, 200)


@given(fresh=TOKENS, cached=TOKENS)
def test_each_fresh_token_attends_to_all_before_it_and_to_itself(fresh, cached):
    assert causal_pairs(fresh, cached) == sum(cached + i for i in range(1, fresh + 1))


@given(fresh=TOKENS, cached=TOKENS, window=WINDOW)
def test_a_window_limits_what_each_fresh_token_attends_to(fresh, cached, window):
    expected = sum(min(cached + i, window) for i in range(1, fresh + 1))
    assert windowed_causal_pairs(fresh, cached, window, min) == expected


@given(n_in=TOKENS, n_out=TOKENS)
def test_an_answer_reads_the_context_as_it_grows(n_in, n_out):
    # The context grows from n_in to n_in + n_out; each unit of a straight line has the area of its middle.
    assert context_reads(n_in, n_out) == sum(n_in + i + 0.5 for i in range(n_out))


@given(n_in=TOKENS, n_out=TOKENS, window=WINDOW)
def test_a_window_limits_what_an_answer_reads(n_in, n_out, window):
    expected = sum(min(n_in + i + 0.5, window) for i in range(n_out))
    assert windowed_context_reads(n_in, n_out, window, min) == expected


def test_no_window_no_pairs():
    assert windowed_causal_pairs(100.0, 20.0, 0.0, min) == 0


def test_a_column_may_mix_prompts_shorter_and_longer_than_the_window():
    # Window 4: 3 tokens give 1+2+3; 6 tokens 1+2+3+4+4+4; 2 tokens after 9 cached ones 4+4.
    pairs = windowed_causal_pairs(np.array([3.0, 6.0, 2.0]), np.array([0.0, 0.0, 9.0]), 4.0, np.minimum)
    assert pairs.tolist() == [6.0, 18.0, 8.0]


def test_one_token_touches_its_own_experts():
    # 8 of 128
    assert touched_experts(8 / 128, 1) == pytest.approx(0.0625, rel=1e-12)


def test_64_tokens_touch_nearly_all_of_128_experts():
    # (1 - 1/16)^64 = exp(64 ln 0.9375) = exp(64 x -0.0645385) = exp(-4.130465) = 0.016075
    assert touched_experts(8 / 128, 64) == pytest.approx(1 - 0.016075, abs=1e-6)


def test_two_tokens_with_two_of_eight_experts_touch_seven_sixteenths():
    # 1 - (3/4)^2 = 7/16
    assert touched_experts(0.25, 2) == 0.4375


def test_a_dense_model_reads_everything_at_any_batch():
    assert np.all(touched_experts(1.0, np.array([1.0, 8.0, np.inf])) == 1.0)


def test_a_prompt_touches_every_expert():
    assert touched_experts(0.0625, np.inf) == 1.0


@given(share=st.floats(0.01, 1.0), tokens=st.floats(1, 1000))
def test_touched_experts_lie_between_one_tokens_and_all(share, tokens):
    touched = touched_experts(share, tokens)
    assert share * (1 - 1e-12) <= touched <= 1.0
