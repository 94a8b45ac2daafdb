"""Fits positive coefficients and effects to relative errors; and the two-term form by ordinary least squares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from inferprint.calibration.design import Array, Design, View
from inferprint.rates.ideal import GROUPS

ROBUST_SCALE = 0.15
"""Log error beyond which a row counts by its size, no longer by its square: repeats of one configuration differ by 0.11
at the median.
"""

EFFECT_SHRINK = 0.15
"""Weight of the pull of an effect towards none, in log errors: a factor e of an effect costs as much as one row that is
off by `ROBUST_SCALE`.
"""

TERM_SHRINK = 0.02
"""The same of a coefficient towards where it starts; it only settles what the rows do not."""


class Bound(NamedTuple):
    """Least and most that physics allows a coefficient, and where the search starts."""

    low: float
    start: float
    high: float


@dataclass(frozen=True, slots=True)
class Spec:
    """A form to fit.

    Attributes
    ----------
    terms
        Coefficients by term.
    effects
        "group:name", see `inferprint.catalogue.Form`.
    view
        Whether the terms are those of the request's share or of what it sees.
    """

    id: str
    quantity: str
    view: View
    terms: Mapping[str, Bound]
    effects: tuple[str, ...] = ()
    centres: Mapping[str, float] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """Terms, then effects, each in alphabetical order: the order of a form's covariance."""
        return (*sorted(self.terms), *sorted(self.effects))


@dataclass(frozen=True, slots=True)
class Fitted:
    """Logarithms of the coefficients and the effects, in the order of `Spec.names`, and their covariance."""

    spec: Spec
    values: Array
    covariance: Array

    @property
    def deviations(self) -> Array:
        """Standard deviation of each value."""
        return np.sqrt(np.diag(self.covariance))


class _Problem:
    """One fit as arrays: residuals of rows and of the pulls, with their derivatives."""

    def __init__(self, spec: Spec, design: Design) -> None:
        self.terms, self.effects = sorted(spec.terms), sorted(spec.effects)
        self.ideal = design.terms(self.terms, spec.view)
        self.tags = design.tagged(name.partition(":")[2] for name in self.effects)
        groups = [name.partition(":")[0] for name in self.effects]
        self.mask = np.array([[g == "all" or term in GROUPS.get(g, ()) for term in self.terms] for g in groups])
        self.mask = self.mask.reshape(len(groups), len(self.terms)).astype(float)

    def predict(self, values: Array) -> tuple[Array, Array]:
        """Logarithm of the sum of the terms, and its derivatives: shapes (rows,), (rows, values)."""
        count = len(self.terms)
        logs = values[:count] + (self.tags * values[count:]) @ self.mask
        costs = self.ideal * np.exp(logs)
        total = costs.sum(axis=1)
        by_term = costs / total[:, None]
        by_effect = self.tags * (by_term @ self.mask.T)
        return np.log(total), np.hstack([by_term, by_effect])


def predict(fitted: Fitted, design: Design) -> Array:
    """What a fitted form says of each row of a design [s]."""
    if not design.points:
        return np.zeros(0)
    predicted: Array = np.exp(_Problem(fitted.spec, design).predict(fitted.values)[0])
    return predicted


def fit(spec: Spec, design: Design, start: Fitted | None = None) -> Fitted:
    """Fit a form to the rows of a design that have a weight, on the logarithm of the ratio to what was measured.

    Bounded robust least squares (soft L1), by `scipy.optimize.least_squares`. Errors of rows of one model are taken to
    be related: the covariance is the sandwich over models.

    Parameters
    ----------
    start
        An earlier fit of the same form, from which to start.
    """
    from scipy.optimize import least_squares

    used = design.where(design.weight > 0)
    problem = _Problem(spec, used)
    measured, weight = np.log(used.target), np.sqrt(used.weight)
    bounds = [spec.terms[name] for name in problem.terms]
    centre = np.array([np.log(b.start) for b in bounds] + [spec.centres.get(name, 0.0) for name in problem.effects])
    low = np.array([np.log(b.low) for b in bounds] + [-LARGEST_EFFECT] * len(problem.effects))
    high = np.array([np.log(b.high) for b in bounds] + [LARGEST_EFFECT] * len(problem.effects))
    pull = np.array([TERM_SHRINK] * len(bounds) + [EFFECT_SHRINK] * len(problem.effects))

    def residuals(values: Array) -> Array:
        return np.concatenate([weight * (problem.predict(values)[0] - measured), pull * (values - centre)])

    def jacobian(values: Array) -> Array:
        return np.vstack([weight[:, None] * problem.predict(values)[1], np.diag(pull)])

    first = centre if start is None else np.clip(start.values, low + 1e-9, high - 1e-9)
    found = least_squares(
        residuals, first, jac=jacobian, bounds=(low - 1e-9, high), loss="soft_l1", f_scale=ROBUST_SCALE, max_nfev=200
    )
    # What lies at a bound is held by physics, not by the rows: it has no spread of its own.
    free = found.active_mask == 0
    covariance = np.zeros((len(first), len(first)))
    jac = jacobian(found.x)[:, free]
    covariance[np.ix_(free, free)] = _sandwich(jac, residuals(found.x), used.labels("model").tolist())
    return Fitted(spec, found.x, covariance)


LARGEST_EFFECT = 3.0
"""Effects lie within factors of 1/20 and 20."""


def _sandwich(jacobian: Array, residuals: Array, clusters: Sequence[str]) -> Array:
    """Covariance of robust estimates whose rows are related within clusters; the rows after them are pulls."""
    # Derivatives of soft L1: w r with w = (1 + (r / s)^2)^(-1/2), and w^3.
    weights = 1.0 / np.sqrt(1.0 + (residuals / ROBUST_SCALE) ** 2)
    bread = np.linalg.inv((jacobian * weights[:, None] ** 3).T @ jacobian)
    scores = jacobian[: len(clusters)] * (weights * residuals)[: len(clusters), None]
    labels = np.array(clusters)
    sums = np.array([scores[labels == name].sum(axis=0) for name in np.unique(labels)])
    covariance: Array = bread @ (sums.T @ sums) @ bread
    return covariance


def ordinary_least_squares(spec: Spec, design: Design) -> Fitted:
    """The betas of the two-term form: durations [s] on ideal seconds, without intercept, by statsmodels' OLS.

    Returns logarithms, with the covariance of the betas carried over to them.
    """
    import statsmodels.api as sm

    used = design.where(design.weight > 0)
    result = sm.OLS(used.target, used.terms(sorted(spec.terms), spec.view)).fit()
    betas = np.asarray(result.params)
    if np.any(betas <= 0):
        raise ValueError(f"a beta of the two-term form is not positive: {betas}")
    return Fitted(spec, np.log(betas), np.asarray(result.cov_params()) / np.outer(betas, betas))
