"""Draws: stratified, fixed by the name of their source, with the stated bounds at their quantiles."""

from __future__ import annotations

import numpy as np
import pytest

from inferprint.quantities import Range
from inferprint.rates.draws import N_DRAWS, SIZE, Sampler, bounds, full, normal


def quantiles(draws) -> list[float]:
    return np.quantile(draws[1:], [0.025, 0.975]).tolist()


def test_a_source_has_one_draw_in_every_stratum():
    # Equally likely strata of the standard normal: the share below the k-th smallest is (k + 1/2) / N.
    from statistics import NormalDist

    below = [NormalDist().cdf(z) for z in np.sort(normal("PUE:any")[1:])]
    assert below == pytest.approx([(k + 0.5) / N_DRAWS for k in range(N_DRAWS)], abs=1e-5)


def test_the_first_element_is_central():
    assert normal("PUE:any")[0] == 0


def test_a_name_fixes_its_draws():
    normal.cache_clear()
    first = normal("PUE:aws").copy()
    normal.cache_clear()
    assert np.array_equal(normal("PUE:aws"), first)


def test_two_sources_are_unrelated():
    # Two random orders of 512 strata: the correlation has a standard deviation of 1/sqrt(511) = 0.044.
    assert abs(np.corrcoef(normal("PUE:aws")[1:], normal("PUE:gcp")[1:])[0, 1]) < 4 * 0.044


def test_draws_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        normal("PUE:aws")[0] = 1


def test_two_samplers_share_a_source():
    one, other = (Sampler().spread("PUE:aws", Range(1.2, 1.08, 1.5)) for _ in range(2))
    assert np.array_equal(one, other)


def test_a_sampler_remembers_its_sources():
    sampler = Sampler()
    sampler.spread("PUE:aws", Range(1.2, 1.08, 1.5))
    assert set(sampler.sources) == {"PUE:aws"}


def test_the_value_is_the_central_draw():
    assert Sampler().spread("a:b", Range(1.2, 1.08, 1.5))[0] == 1.2


@pytest.mark.parametrize(
    "stated",
    [
        Range(64.0, 16.0, 256.0),
        Range(1.2, 1.08, 1.5),
        Range(0.7, 0.55, 0.82),
        Range(1.0, 1.0, 1.35),
        Range(164.0, 164.0, 575.2),
        Range(0.3, 0.0, 1.8),
        Range(0.0, -0.5, 2.0),
    ],
    ids=str,
)
def test_the_bounds_are_the_quantiles(stated):
    draws = Sampler().spread("a:b", stated, minimum=-10)
    # Within two hundredths of the value or of the width, whichever is wider.
    slack = 0.02 * max(abs(stated.value), stated.high - stated.low)
    assert quantiles(draws) == pytest.approx([stated.low, stated.high], abs=slack)


def test_log_bounds_are_symmetric_in_logs():
    draws = Sampler().spread("a:b", Range(64.0, 16.0, 256.0))
    assert np.mean(np.log(draws[1:])) == pytest.approx(np.log(64.0), abs=1e-9)


def test_no_spread_is_a_plain_number():
    sampler = Sampler()
    assert sampler.spread("a:b", Range.exact(1.5)) == 1.5


def test_no_spread_is_no_source():
    sampler = Sampler()
    sampler.spread("a:b", Range.exact(1.5))
    assert sampler.sources == {}


def test_draws_are_clipped_from_below():
    assert Sampler().spread("a:b", Range(1.1, 1.0, 1.5), minimum=1.0).min() == 1.0


def test_draws_are_clipped_from_above():
    assert Sampler().spread("a:b", Range(0.7, 0.4, 0.95), maximum=1.0).max() == 1.0


def test_draws_never_fall_below_zero_unless_allowed():
    assert Sampler().spread("a:b", Range(0.3, 0.0, 1.8)).min() >= 0


class TestJoint:
    """Several values with common errors: 0.2 and 0.3, correlated by -0.5, and one that is exact."""

    # Lower triangle, row by row: 0.2 x 0.2; -0.5 x 0.2 x 0.3, 0.3 x 0.3; 0, 0, 0
    COVARIANCE = (0.04, -0.03, 0.09, 0.0, 0.0, 0.0)
    MEANS = (1.0, -2.0, 5.0)

    @pytest.fixture
    def drawn(self):
        return Sampler().joint("form", self.MEANS, self.COVARIANCE)

    def test_the_first_draw_is_central(self, drawn):
        assert drawn[:, 0].tolist() == list(self.MEANS)

    def test_draws_have_the_covariance(self, drawn):
        # Two independent orders of 512 strata are correlated by 0.044, one standard deviation.
        found = np.cov(drawn[:2, 1:])
        assert np.sqrt(np.diag(found)) == pytest.approx([0.2, 0.3], rel=0.1)
        assert found[0, 1] / np.sqrt(found[0, 0] * found[1, 1]) == pytest.approx(-0.5, abs=4 * 0.044)

    def test_what_is_exact_does_not_move(self, drawn):
        assert drawn[2] == pytest.approx(np.full(SIZE, 5.0), rel=1e-12)

    def test_a_label_fixes_the_draws(self, drawn):
        assert np.array_equal(drawn, Sampler().joint("form", self.MEANS, self.COVARIANCE))
        assert not np.array_equal(drawn, Sampler().joint("other", self.MEANS, self.COVARIANCE))

    def test_every_axis_is_a_source(self):
        sampler = Sampler()
        sampler.joint("form", self.MEANS, self.COVARIANCE)
        assert set(sampler.sources) == {"form:0", "form:1"}


def test_a_choice_follows_its_weights():
    # Weights 1, 1, 1/4 of 2.25
    picked = Sampler().choice("a:b", np.array([1.0, 1.0, 0.25]), 0)[1:]
    shares = np.bincount(picked, minlength=3) / N_DRAWS
    assert shares == pytest.approx([1 / 2.25, 1 / 2.25, 0.25 / 2.25], abs=1 / N_DRAWS)


def test_a_choice_has_the_stated_central_case():
    assert Sampler().choice("a:b", np.array([1.0, 1.0, 0.25]), 2)[0] == 2


def test_one_case_is_no_choice():
    sampler = Sampler()
    assert (not sampler.choice("a:b", np.array([3.0]), 0).any(), sampler.sources) == (True, {})


def test_a_number_fills_all_draws():
    assert full(2.5).tolist() == [2.5] * SIZE


def test_bounds_contain_a_central_value_outside_the_draws():
    draws = np.concatenate([[100.0], np.linspace(1.0, 2.0, N_DRAWS)])
    value, low, high = bounds(draws)
    assert (value, low <= value <= high) == (100.0, True)


def test_bounds_are_quantiles_by_column():
    column = np.concatenate([[0.5], np.linspace(0.0, 1.0, N_DRAWS)])
    _, low, high = bounds(np.stack([column, 10 * column], axis=1))
    assert np.stack([low, high]).tolist() == [
        pytest.approx([0.025, 0.25], rel=1e-9),
        pytest.approx([0.975, 9.75], rel=1e-9),
    ]
