"""The shape of a model whose configuration is not published, from its total and active size."""

from __future__ import annotations

import math

from inferprint.quantities import Z95, Range


def predict(coefficients: tuple[float, float, float], residual_sigma: float, total_b: float, active_b: float) -> Range:
    """Prediction of a shape fact with its 95 % bounds, by a log-log regression over open models.

    ln(fact) = c0 + c1 ln(total) + c2 ln(active), bounds at the residual's 95 %.

    Parameters
    ----------
    coefficients
        c0, c1, c2.
    residual_sigma
        Standard deviation of ln(true / predicted).
    total_b, active_b
        Size [1e9 parameters].
    """
    constant, total_slope, active_slope = coefficients
    centre = math.exp(constant + total_slope * math.log(total_b) + active_slope * math.log(active_b))
    width = math.exp(Z95 * residual_sigma)
    return Range(centre, centre / width, centre * width)
