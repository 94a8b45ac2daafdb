"""How good predictions are: errors, bias, and whether the intervals hold what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from inferprint.calibration.design import Array
from inferprint.quantities import Range

Form = Literal["default", "two-term", "ecologits"]
FORMS: tuple[Form, ...] = ("default", "two-term", "ecologits")

MIN_ROWS, MIN_MODELS = 40, 2
"""Fewest rows, and models among them, from which a kind of case gets an interval of its own."""

TAIL = 0.025
FEW_MODELS_TAIL = 0.0125
"""Tail where rows are many but models few: rows of one model err alike, and a new model is none of them."""


@dataclass(frozen=True, slots=True)
class Score:
    """Errors of one form on rows of one quantity; None where there is no row, or no interval.

    Attributes
    ----------
    mdape_pct, p90_ape_pct
        Median and 90th percentile of |predicted / measured - 1|, in percent.
    bias_pct
        Median of predicted / measured - 1, in percent.
    r2_log
        1 - sum of squared log errors / sum of squares of ln(measured) about its mean.
    coverage95_pct
        Share of rows within their 95 % interval, in percent.
    """

    rows: int
    mdape_pct: float | None
    p90_ape_pct: float | None
    bias_pct: float | None
    r2_log: float | None
    coverage95_pct: float | None


def score(measured: Array, predicted: Array, low: Array | None = None, high: Array | None = None) -> Score:
    """Score predictions; all in one unit, shape (rows,)."""
    rows = len(measured)
    if rows == 0:
        return Score(0, None, None, None, None, None)
    signed = predicted / measured - 1.0
    errors = np.abs(signed)
    logs = np.log(measured)
    spread = float(np.sum((logs - logs.mean()) ** 2))
    covered = None
    if low is not None and high is not None:
        covered = 100.0 * float(np.mean((low <= measured) & (measured <= high)))
    return Score(
        rows=rows,
        mdape_pct=100.0 * float(np.median(errors)),
        p90_ape_pct=100.0 * float(np.quantile(errors, 0.9)),
        bias_pct=100.0 * float(np.median(signed)),
        r2_log=1.0 - float(np.sum((np.log(predicted) - logs) ** 2)) / spread if spread > 0 else None,
        coverage95_pct=covered,
    )


def conformal_bounds(residuals: Array, tail: float = TAIL) -> Range:
    """95 % bounds of ln(measured / predicted) from left-out residuals, by split conformal prediction.

    Each tail takes the order statistic ceil((n + 1)(1 - tail)) of n, so that a new row from the same source lies
    within with a probability of at least 95 %; where n is too small for that, the most extreme residual.
    """
    ordered = np.sort(residuals)
    n = len(ordered)
    index = min(math.ceil((n + 1) * (1 - tail)), n) - 1
    return Range(0.0, min(float(ordered[n - 1 - index]), 0.0), max(float(ordered[index]), 0.0))


def bounds_by_kind(
    residuals: Array, kinds: Sequence[str], models: Sequence[str], tail: float = TAIL
) -> dict[str, Range]:
    """Bounds of all rows ("all"), and of each kind of case that has enough rows and models; others use the pooled."""
    found = {"all": conformal_bounds(residuals, tail)}
    for kind in sorted(set(kinds)):
        mask = np.array([k == kind for k in kinds])
        distinct = {model for model, inside in zip(models, mask, strict=True) if inside}
        if mask.sum() >= MIN_ROWS and len(distinct) >= MIN_MODELS:
            found[kind] = conformal_bounds(residuals[mask], tail)
    return found


def inside(residuals: Array, kinds: Sequence[str], bounds: Mapping[str, Range]) -> Array:
    """1 where ln(measured / predicted) lies within the bounds of the row's kind, else 0."""
    return np.array(
        [
            float(bounds.get(kind, bounds["all"]).low <= r <= bounds.get(kind, bounds["all"]).high)
            for r, kind in zip(residuals, kinds, strict=True)
        ]
    )
