"""Fits positive coefficients and effects to relative errors; and the two-term form by ordinary least squares."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from inferprint.calibration.design import Array, Design, Point, View
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
    used = design.where(design.weight > 0)
    problem = _Problem(spec, used)
    pull = np.array([TERM_SHRINK] * len(problem.terms) + [EFFECT_SHRINK] * len(problem.effects))
    found = _solve(problem, spec, used, pull, None if start is None else start.values)
    # What lies at a bound is held by physics, not by the rows: it has no spread of its own.
    free = found.free
    covariance = np.zeros((len(free), len(free)))
    jac = found.jacobian[:, free]
    covariance[np.ix_(free, free)] = _sandwich(jac, found.residuals, used.labels("model").tolist())
    return Fitted(spec, found.values, covariance)


class _Solved(NamedTuple):
    """A minimum: values, residuals of rows and pulls with their derivatives, which values are at no bound, the cost."""

    values: Array
    residuals: Array
    jacobian: Array
    free: NDArray[np.bool_]
    cost: float


def _solve(problem: _Problem, spec: Spec, used: Design, pull: Array, start: Array | None) -> _Solved:
    """Bounded robust least squares of a problem.

    `pull` holds the weight of each value's pull to its centre, or a matrix that weighs and mixes the distances from it.
    """
    from scipy.optimize import least_squares

    measured, weight = np.log(used.target), np.sqrt(used.weight)
    bounds = [spec.terms[name] for name in problem.terms]
    centre = np.array([np.log(b.start) for b in bounds] + [spec.centres.get(name, 0.0) for name in problem.effects])
    low = np.array([np.log(b.low) for b in bounds] + [-LARGEST_EFFECT] * len(problem.effects))
    high = np.array([np.log(b.high) for b in bounds] + [LARGEST_EFFECT] * len(problem.effects))

    mixed = pull.ndim == 2  # a product of each with its own weight keeps a fit as it was to the last bit

    def residuals(values: Array) -> Array:
        away = values - centre
        return np.concatenate([weight * (problem.predict(values)[0] - measured), pull @ away if mixed else pull * away])

    def jacobian(values: Array) -> Array:
        return np.vstack([weight[:, None] * problem.predict(values)[1], pull if mixed else np.diag(pull)])

    first = centre if start is None else np.clip(start, low + 1e-9, high - 1e-9)
    found = least_squares(
        residuals, first, jac=jacobian, bounds=(low - 1e-9, high), loss="soft_l1", f_scale=ROBUST_SCALE, max_nfev=200
    )
    free = found.active_mask == 0
    return _Solved(found.x, residuals(found.x), jacobian(found.x), free, float(found.cost))


OWN_SPREAD = 0.5
"""How far a coefficient of one machine may lie from that of all, beside what they share, as a standard deviation of
logs: the machines of `data/benchmarks` differ from the general forms by a factor of 1.3, and in a term by more.
"""

OWN_LEVEL = 1.5
"""The same of what all coefficients of a machine share: a chip whose record is only roughly known, or overheads of a
processor, are off by factors.
"""

LEAST_NOISE = 0.01
"""Error of a single row below which no machine is believed to repeat itself, in logs."""


def fit_own(spec: Spec, design: Design) -> Fitted:
    """Fit the form of one machine: as `fit`, from and towards the centres of the spec, for few rows.

    The terms have a prior about their centres: a level that they share, of standard deviation `OWN_LEVEL`, and their
    own deviations of `OWN_SPREAD`; with the tails of the robust loss, so that rows which disagree can move them any
    far. The search starts at the centres and at the centres times the
    median ratio of measured to predicted, and the lower minimum counts. The covariance is the inverse of the curvature
    of rows and prior there (Laplace's approximation; a sandwich needs many clusters): what rows do not tell keeps
    the spread of the prior. Rows of one configuration count as one.
    """
    used = design.where(design.weight > 0)
    problem = _Problem(spec, used)
    count = len(problem.terms)
    spreads = OWN_SPREAD**2 * np.eye(len(spec.names))
    spreads[:count, :count] += OWN_LEVEL**2
    prior = np.linalg.inv(np.linalg.cholesky(spreads))
    centre = np.log([spec.terms[name].start for name in problem.terms])
    effects = np.array([spec.centres.get(name, 0.0) for name in problem.effects])
    level = float(np.median(np.log(used.target) - problem.predict(np.concatenate([centre, effects]))[0]))
    starts = [np.concatenate([centre + shift, effects]) for shift in (0.0, level)]
    # The weight of the prior beside the rows hangs on their noise, which a first fit tells.
    noise = ROBUST_SCALE
    for _ in range(NOISE_PASSES):
        found = min((_solve(problem, spec, used, noise * prior, start) for start in starts), key=lambda s: s.cost)
        of_rows, of_prior = _curvatures(found, len(used.points))
        told = float(np.trace(np.linalg.solve(of_rows + of_prior, of_rows)))
        noise, assumed, starts = _noise(found.residuals[: len(used.points)], told), noise, [found.values]
    alike = len(used.points) / len({configuration(point) for point in used.points})
    covariance = np.zeros((len(spec.names),) * 2)
    curvature = of_rows / noise**2 / alike + of_prior / assumed**2
    covariance[np.ix_(found.free, found.free)] = np.linalg.inv(curvature)
    return Fitted(spec, found.values, covariance)


NOISE_PASSES = 3
"""Fits of one form of one's own, each with the noise that the one before showed."""


def _curvatures(found: _Solved, rows: int) -> tuple[Array, Array]:
    """Curvature of the cost at a minimum over the values at no bound: of the rows, and of the pulls after them."""
    weights = (1.0 + (found.residuals / ROBUST_SCALE) ** 2) ** -1.5
    # A value keeps at least some of its prior, however far the rows moved it.
    weights[rows:] = np.maximum(weights[rows:], 1.0 / rows)
    jac = found.jacobian[:, found.free]
    weighted = jac * weights[:, None]
    return weighted[:rows].T @ jac[:rows], weighted[rows:].T @ jac[rows:]


def _noise(residuals: Array, told: float) -> float:
    """Error of a row, in logs; `told` is the number of values that the rows tell."""
    spread = float(np.sqrt(np.sum(residuals**2) / max(len(residuals) - told, 1.0)))
    return max(spread, LEAST_NOISE)


def configuration(point: Point) -> tuple[object, ...]:
    """What repeats of a row have in common: model, format, devices, techniques, lengths and the rounded batch."""
    item = point.observation
    batch = round(4 * math.log2(point.ideal.batch))
    alike = replace(item.setup, batch_size=None, traffic=None, techniques=())
    lengths = tuple(round(n) for n in (*item.tokens, item.cached))
    return (alike, batch, *lengths)


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
