"""Seeded draws of what is uncertain.

One stratified standard-normal sample per named source, the same wherever that name occurs: cards that share a PUE, a
grid or a coefficient share its error. Element 0 is the central case, so that one pass through the equations gives the
value and its spread.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from inferprint.quantities import Z95, Range

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[np.float64]
    Indices = NDArray[np.intp]
else:  # numpy.typing costs start-up time
    Array = Indices = np.ndarray

Sources = Mapping[str, "Array | Indices"]
"""Draws of uncertain inputs by "what:which": standard-normal, or indices of a choice."""

N_DRAWS = 512
SIZE = N_DRAWS + 1


@lru_cache(maxsize=1)
def _strata() -> Array:
    """Midpoints of N_DRAWS equally likely strata of the standard normal distribution, to 1e-5.

    Its distribution function, tabulated, is read backwards: `statistics.NormalDist` would do the same more exactly, but
    its import costs a fortieth of the time of one estimate from a cold start.
    """
    grid = np.linspace(-4.0, 4.0, 2001)
    cumulative = [(1.0 + math.erf(z / math.sqrt(2.0))) / 2.0 for z in grid.tolist()]
    return np.interp((np.arange(N_DRAWS) + 0.5) / N_DRAWS, cumulative, grid)


@lru_cache(maxsize=4096)
def _order(source: str) -> Indices:
    """The order in which a source runs through the strata: fixed by its name, on every platform and NumPy version."""
    keys = np.frombuffer(hashlib.shake_256(source.encode()).digest(8 * N_DRAWS), dtype="<u8")
    return np.argsort(keys, kind="stable")


def _uniform(source: str) -> Array:
    """The same draws as `normal`, on (0, 1)."""
    return np.concatenate([[0.5], np.add(_order(source), 0.5) / N_DRAWS])


@lru_cache(maxsize=4096)
def normal(source: str) -> Array:
    """Standard-normal draws of a source: shape (SIZE,), element 0 central. Read-only, fixed by the name."""
    z = np.concatenate([[0.0], _strata()[_order(source)]])
    z.setflags(write=False)
    return z


def _split_normal(z: Array, interval: Range) -> Array:
    """Draws from standard-normal ones, each side of the value with its own width; in logs where all is positive."""
    value, low, high = interval
    if low <= 0:
        linear: Array = value + np.where(z < 0, value - low, high - value) * z / Z95
        return linear
    below, above = math.log(value / low), math.log(high / value)
    logs: Array = value * np.exp(np.where(z < 0, below, above) * z / Z95)
    return logs


MAIN_SHARE = 0.99
"""Share of a covariance's variance that its main axes hold."""


@lru_cache(maxsize=32)
def _main_axes(covariance: tuple[float, ...], share: float) -> Array:
    """Scaled main axes of a covariance, given as its lower triangle: shape (values, axes).

    Axes that together hold less than 1 - `share` of the variance are left out: every source of draws costs time.
    """
    size = math.isqrt(2 * len(covariance))
    matrix = np.zeros((size, size))
    matrix[np.tril_indices(size)] = covariance
    variances, vectors = np.linalg.eigh(matrix + np.tril(matrix, -1).T)
    order = np.argsort(variances)[::-1]
    variances, vectors = np.maximum(variances[order], 0.0), vectors[:, order]
    kept = int(np.searchsorted(np.cumsum(variances), share * np.sum(variances))) + 1
    axes: Array = vectors[:, :kept] * np.sqrt(variances[:kept])
    return axes


class Sampler:
    """Draws values and remembers from which sources, so that a card can say what its spread comes from.

    A source is named "what:which", for example "PUE:aws"; "what" is how results name it. `central_only` gives the
    central case instead of draws.
    """

    def __init__(self, *, central_only: bool = False) -> None:
        self.central_only = central_only
        self.sources: dict[str, Array | Indices] = {}
        self._drawn: dict[tuple[str, Range, float, float], Array] = {}

    def _normal(self, source: str) -> Array:
        self.sources[source] = z = normal(source)
        return z

    def spread(self, source: str, interval: Range, *, minimum: float = 0.0, maximum: float = float("inf")) -> Any:
        """Draws of a value from its 95 % bounds: shape (SIZE,), or a float where the bounds do not differ.

        Each side of the value has its own width: in logs where all three numbers are positive, else linear. The draws
        are clipped to [minimum, maximum], the physical limits.
        """
        if self.central_only or interval.low == interval.high:
            return interval.value
        key = (source, interval, minimum, maximum)
        if key not in self._drawn:
            self._drawn[key] = np.clip(_split_normal(self._normal(source), interval), minimum, maximum)
        return self._drawn[key]

    def joint(
        self, label: str, means: tuple[float, ...], covariance: tuple[float, ...], *, share: float = MAIN_SHARE
    ) -> Array:
        """Draws of several values with common errors: shape (values, SIZE).

        Parameters
        ----------
        covariance
            Its lower triangle, row by row.
        share
            Least share of the variance that is drawn.
        """
        axes = _main_axes(covariance, share)
        z = np.stack([self._normal(f"{label}:{index}") for index in range(axes.shape[1])])
        drawn: Array = np.asarray(means)[:, None] + axes @ z
        return drawn

    def weighted(self, source: str, values: Array, weights: Array) -> Array:
        """Draws of values in rising order by weight; element 0 is left to the caller."""
        self._normal(source)
        reached = np.cumsum(weights) - weights / 2
        draws: Array = np.interp(_uniform(source), reached / np.sum(weights), values)
        return draws

    def choice(self, source: str, weights: Array, central: int) -> Indices:
        """Draws of one of several cases by weight: indices, shape (SIZE,); element 0 is `central`."""
        if len(weights) == 1:
            return np.zeros(SIZE, dtype=np.intp)
        picked = np.searchsorted(np.cumsum(weights) / np.sum(weights), _uniform(source), side="right")
        picked = np.minimum(picked, len(weights) - 1)
        picked[0] = central
        self.sources[source] = picked
        return picked


def full(value: Any) -> Array:
    """A float or an array of draws as an array of shape (SIZE,)."""
    if isinstance(value, np.ndarray) and value.shape == (SIZE,):
        return value
    return np.full(SIZE, value, dtype=float)


def central(value: Any) -> float:
    """The central case of a float or an array of draws."""
    return float(value[0]) if isinstance(value, np.ndarray) and value.ndim else float(value)


_TAILS = np.array([0.025, 0.975]) * (N_DRAWS - 1)
_BELOW = np.floor(_TAILS).astype(int)


def bounds(draws: Array) -> tuple[Array, Array, Array]:
    """Value, low and high of draws along axis 0: the central case and the 95 % interval, which contains it.

    The quantiles are interpolated between order statistics as `numpy.quantile` does, which costs a program that
    makes one estimate a tenth of its start-up.
    """
    ordered = np.sort(draws[1:], axis=0)
    weight = (_TAILS - _BELOW).reshape(2, *[1] * (draws.ndim - 1))
    low, high = ordered[_BELOW] * (1 - weight) + ordered[_BELOW + 1] * weight
    return draws[0], np.minimum(low, draws[0]), np.maximum(high, draws[0])
