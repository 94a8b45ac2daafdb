"""Fits again without whole groups of rows, and predicts them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from inferprint.calibration.design import Array, Design
from inferprint.calibration.regression import Fitted, predict
from inferprint.calibration.scores import MIN_ROWS

Fit = Callable[[Design], Fitted]


def left_out(fit: Fit, design: Design, by: str) -> Array:
    """Predictions of every row by a fit that has not seen its group, shape (rows,); NaN where too few rows are left.

    Parameters
    ----------
    by
        What is left out whole: "model", "gpu" or "family".
    """
    labels = design.labels(by)
    predicted = np.full(len(design.points), np.nan)
    for name in np.unique(labels):
        out = labels == name
        if np.sum(~out) < MIN_ROWS:
            continue
        predicted[out] = predict(fit(design.where(~out)), design.where(out))
    return predicted
