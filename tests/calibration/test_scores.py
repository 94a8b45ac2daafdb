"""Scores against NumPy and arithmetic by hand; intervals against draws of a known distribution."""

from __future__ import annotations

import numpy as np
import pytest

from inferprint.calibration.scores import MIN_ROWS, bounds_by_kind, conformal_bounds, inside, score

MEASURED = np.array([1.0, 2.0, 4.0, 8.0])
PREDICTED = np.array([1.1, 1.6, 4.0, 16.0])
"""Errors of +10, -20, 0 and +100 %."""


class TestScore:
    FOUND = score(MEASURED, PREDICTED)

    def test_rows(self):
        assert self.FOUND.rows == 4

    def test_median_of_the_absolute_errors(self):
        # 0, 10, 20, 100: between 10 and 20
        assert self.FOUND.mdape_pct == pytest.approx(15.0, rel=1e-9)

    def test_ninth_decile_of_the_absolute_errors(self):
        # 0.9 of 3 steps lies 0.7 of the way from 20 to 100
        assert self.FOUND.p90_ape_pct == pytest.approx(76.0, rel=1e-9)

    def test_bias_is_the_median_with_its_sign(self):
        # -20, 0, 10, 100: between 0 and 10
        assert self.FOUND.bias_pct == pytest.approx(5.0, rel=1e-9)

    def test_r2_of_the_logarithms(self):
        # Logs of 1, 2, 4, 8 lie 1.5, 0.5, 0.5, 1.5 ln 2 from their mean: 5 ln^2 2
        errors = np.log(1.1) ** 2 + np.log(0.8) ** 2 + np.log(2.0) ** 2
        assert self.FOUND.r2_log == pytest.approx(1 - errors / (5 * np.log(2.0) ** 2), rel=1e-12)

    def test_without_an_interval_there_is_no_coverage(self):
        assert self.FOUND.coverage95_pct is None

    def test_coverage_counts_the_bounds_themselves(self):
        low, high = np.array([1.0, 2.1, 0.0, 9.0]), np.array([1.0, 3.0, 4.0, 10.0])
        assert score(MEASURED, PREDICTED, low, high).coverage95_pct == 50.0

    def test_of_many_rows_is_that_of_numpy(self):
        random = np.random.default_rng(3)
        measured, predicted = np.exp(random.standard_normal((2, 999)))
        found, errors = score(measured, predicted), predicted / measured - 1
        assert found.mdape_pct == pytest.approx(100 * np.median(np.abs(errors)), rel=1e-12)
        assert found.p90_ape_pct == pytest.approx(100 * np.percentile(np.abs(errors), 90), rel=1e-12)
        assert found.bias_pct == pytest.approx(100 * np.median(errors), rel=1e-12)
        residual = np.var(np.log(predicted / measured)) + np.mean(np.log(predicted / measured)) ** 2
        assert found.r2_log == pytest.approx(1 - residual / np.var(np.log(measured)), rel=1e-9)


def test_no_rows_no_numbers():
    found = score(np.zeros(0), np.zeros(0))
    assert (found.rows, found.mdape_pct, found.p90_ape_pct, found.bias_pct, found.r2_log) == (0, None, None, None, None)


def test_rows_that_are_all_alike_have_no_r2():
    assert score(np.full(3, 2.0), np.array([1.0, 2.0, 3.0])).r2_log is None


class TestConformalBounds:
    def test_each_tail_takes_its_order_statistic(self):
        # 199 residuals -99 ... 99: ceil(200 x 0.975) = 195th, which is 95
        assert conformal_bounds(np.arange(-99.0, 100.0)) == (0.0, -95.0, 95.0)

    def test_of_few_residuals_takes_the_most_extreme(self):
        # 10 residuals: ceil(11 x 0.975) = 11 > 10
        assert conformal_bounds(np.arange(-4.0, 6.0)) == (0.0, -4.0, 5.0)

    def test_sides_differ_where_the_errors_do(self):
        random = np.random.default_rng(5)
        found = conformal_bounds(random.exponential(1.0, 4000) - np.log(2))
        # Quantiles of an exponential distribution: -ln(0.975) and -ln(0.025), less ln 2
        assert found.low == pytest.approx(-np.log(0.975) - np.log(2), abs=0.02)
        assert found.high == pytest.approx(-np.log(0.025) - np.log(2), abs=0.35)

    def test_contain_no_error_at_all(self):
        # Where every prediction is too low, the value stays within.
        found = conformal_bounds(np.linspace(0.1, 0.5, 100))
        assert found.low == 0.0

    @pytest.mark.parametrize("n", [39, 79, 300])
    @pytest.mark.parametrize("draw", ["standard_normal", "standard_exponential", "standard_cauchy"])
    def test_hold_a_new_row_of_the_same_kind(self, n, draw):
        # 3000 calibrations, one new row in each: 95 % or more, within three standard errors of a share of 95 %.
        random = np.random.default_rng(11)
        rows = getattr(random, draw)((3000, n + 1))
        held = []
        for row in rows:
            bounds = conformal_bounds(row[:-1])
            held.append(bounds.low <= row[-1] <= bounds.high)
        # An order statistic of each tail needs 39 rows: (n + 1) 0.025 >= 1.
        assert np.mean(held) >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 3000)


class TestByKind:
    RESIDUALS = np.concatenate([np.linspace(-1, 1, 100), np.linspace(-0.1, 0.1, MIN_ROWS), np.linspace(-9, 9, 10)])
    KINDS = ("wide",) * 100 + ("narrow",) * MIN_ROWS + ("rare",) * 10

    def bounds(self, models=None):
        return bounds_by_kind(self.RESIDUALS, self.KINDS, models or [f"m{i % 7}" for i in range(len(self.KINDS))])

    def test_a_kind_with_enough_rows_has_its_own(self):
        assert self.bounds()["narrow"] == conformal_bounds(np.linspace(-0.1, 0.1, MIN_ROWS))

    def test_a_small_kind_has_none(self):
        assert set(self.bounds()) == {"all", "wide", "narrow"}

    def test_a_kind_of_one_model_has_none(self):
        assert set(self.bounds(["m"] * len(self.KINDS))) == {"all"}

    def test_all_rows_together_are_pooled(self):
        assert self.bounds()["all"] == conformal_bounds(self.RESIDUALS)

    def test_a_kind_without_its_own_is_judged_by_the_pooled(self):
        found = self.bounds()
        limit = found["all"].high
        assert inside(
            np.array([0.5, 0.5, limit, limit + 0.1]), ["wide", "narrow", "rare", "never seen"], found
        ).tolist() == [
            1.0,
            0.0,
            1.0,
            0.0,
        ]
