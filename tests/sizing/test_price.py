"""Sizes from prices, against the formulas worked by hand."""

from __future__ import annotations

import math

import pytest

from inferprint.sizing.price import HostFit, Offer, at_host, combine, predict_size, seed_combination

# y = x on x = 0, 1, 2, 3 (n = 4): (X'X)^-1 = [[0.7, -0.3], [-0.3, 0.2]]
FIT = HostFit("a", (1.0, 2.0), (0.7, -0.3, 0.2), 0.5, 4, 1.0, math.exp(3))


def test_the_error_is_that_of_a_single_prediction():
    # x = 1: s sqrt(1 + 1/n + (x - mean)^2 / Sxx) = 0.5 sqrt(1 + 1/4 + 0.25/5)
    log_size, error = at_host(FIT, ("output",), Offer("a", 1.0, math.e), None)
    assert log_size == pytest.approx(3.0)
    assert error == pytest.approx(0.5 * math.sqrt(1 + 1 / 4 + 0.25 / 5))


def test_a_form_with_dates_says_nothing_without_one():
    fit = HostFit("a", (1.0, 2.0, 0.1), (1.0, 0.0, 1.0, 0.0, 0.0, 1.0), 0.5, 4, 1.0, 9.0)
    assert at_host(fit, ("output", "date"), Offer("a", 1.0, 2.0), None) is None
    assert at_host(fit, ("output", "date"), Offer("a", 1.0, 1.0), 2026.0)[0] == pytest.approx(1.1)


def test_weights_are_inverse_squares():
    # SE 1 and 2: weights 1 and 1/4, shares 0.8 and 0.2
    assert combine([0.0, 5.0], [1.0, 2.0], 0.0)[0] == pytest.approx(1.0)


@pytest.mark.parametrize(
    "rho, variance",
    [(0.0, 0.8), (1.0, 1.44), (0.58, 0.8 + 0.58 * 2 * 0.8 * 1.0 * 0.2 * 2.0)],  # (0.8 x 1)^2 + (0.2 x 2)^2 = 0.8
)
def test_shared_errors_widen_the_combination(rho, variance):
    assert combine([0.0, 5.0], [1.0, 2.0], rho)[1] == pytest.approx(math.sqrt(variance))


def test_the_seed_averages_the_sizes_themselves():
    # Sizes 10 and 100 with weights 1 and 1/4; interval by 1/sum w = 0.8
    mean, low, high = seed_combination([math.log(10), math.log(100)], [1.0, 2.0])
    assert mean == pytest.approx((10 + 25) / 1.25)
    assert high / mean == pytest.approx(mean / low) == pytest.approx(math.exp(1.959964 * math.sqrt(0.8)))


def test_the_interval_is_the_quantile_times_the_error():
    found = predict_size("output", ("output",), {"a": FIT}, [Offer("a", 1.0, math.e)], None, (0.5, 2.3))
    width = math.exp(2.3 * 0.5 * math.sqrt(1.3))
    assert found.size_b == pytest.approx((math.exp(3), math.exp(3) / width, math.exp(3) * width))
    assert found.upper_b == found.size_b.high


@pytest.mark.parametrize("usd, outside", [(0.5, True), (1.0, False), (20.0, False), (21.0, True)])
def test_a_price_outside_those_fitted_is_extrapolated(usd, outside):
    found = predict_size("output", ("output",), {"a": FIT}, [Offer("a", 1.0, usd)], None, (0.5, 2.0))
    assert found.hosts[0].extrapolated is outside
    assert found.extrapolated is outside


def test_one_host_within_its_prices_is_no_extrapolation():
    other = HostFit("b", FIT.coefficients, FIT.covariance, 0.5, 4, 0.1, 0.9)
    offers = [Offer("a", 1.0, 0.5), Offer("b", 1.0, 0.5)]
    found = predict_size("output", ("output",), {"a": FIT, "b": other}, offers, None, (0.5, 2.0))
    assert [host.extrapolated for host in found.hosts] == [True, False]
    assert not found.extrapolated


def test_a_host_without_a_regression_says_nothing():
    assert predict_size("output", ("output",), {"a": FIT}, [Offer("c", 1.0, 2.0)], None, (0.5, 2.0)) is None


def test_a_pooled_regression_serves_any_host():
    found = predict_size("pooled", ("output",), {"*": FIT}, [Offer("c", 1.0, math.e)], None, (0.5, 2.0))
    assert found.size_b.value == pytest.approx(math.exp(3))
