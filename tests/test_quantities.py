from __future__ import annotations

from statistics import NormalDist

from inferprint.quantities import Z95, Range


def test_z95():
    assert abs(Z95 - NormalDist().inv_cdf(0.975)) < 1e-12


def test_an_exact_range_has_no_width():
    assert Range.exact(2.0) == (2.0, 2.0, 2.0)


def test_a_scaled_range():
    assert Range(2.0, 1.0, 4.0).scaled(0.5) == (1.0, 0.5, 2.0)
