"""The front against the definition, spelled out row by row."""

from __future__ import annotations

import time

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from inferprint.planning.front import BLOCK, pareto_front


def brute_force(values: np.ndarray) -> list[int]:
    kept = []
    for i, row in enumerate(values):
        beaten = any(np.all(other <= row) and np.any(other < row) for other in values)
        repeated = any(np.array_equal(other, row) for other in values[:i])
        if not beaten and not repeated:
            kept.append(i)
    return kept


TABLES = st.tuples(st.integers(1, 40), st.integers(1, 5)).flatmap(
    lambda shape: arrays.arrays(float, shape, elements=st.integers(-3, 3).map(float))
)


@given(values=TABLES)
@settings(max_examples=200, deadline=None)
def test_the_front_is_that_of_the_definition(values):
    assert pareto_front(values).tolist() == brute_force(values)


def test_more_rows_than_a_block():
    values = np.random.default_rng(1).random((3 * BLOCK, 3)).round(2)
    assert pareto_front(values).tolist() == brute_force(values)


def test_equal_rows_are_kept_once():
    assert pareto_front(np.array([[1.0, 2.0], [1.0, 2.0], [0.0, -0.0], [-0.0, 0.0]])).tolist() == [2]


def test_one_objective_has_one_best():
    assert pareto_front(np.array([[3.0], [1.0], [1.0], [2.0]])).tolist() == [1]


def test_ten_thousand_rows_are_fast():
    angles = np.random.default_rng(2).random((10_000, 3))
    sphere = -angles / np.linalg.norm(angles, axis=1)[:, None]
    start = time.perf_counter()
    found = pareto_front(sphere)
    assert len(found) == 10_000
    assert time.perf_counter() - start < 10
