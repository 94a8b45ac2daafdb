from __future__ import annotations

import pytest

from inferprint.sizing.shape import predict


def test_prediction():
    # exp(1 + 0.5 ln 100 + 0.25 ln 16) = e x 10 x 2 = 54.36564
    assert predict((1.0, 0.5, 0.25), 0.2, 100.0, 16.0).value == pytest.approx(54.36564, rel=1e-6)


def test_bounds():
    # exp(+-1.959964 x 0.2) = 1.479927
    found = predict((0.0, 0.0, 0.0), 0.2, 100.0, 16.0)
    assert (found.low, found.high) == pytest.approx((1 / 1.479927, 1.479927), rel=1e-6)
