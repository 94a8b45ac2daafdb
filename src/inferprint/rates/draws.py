"""Seeded draws of what is uncertain.

One stratified standard-normal sample per named source, the same wherever that name occurs: cards that share a PUE, a
grid or a coefficient share its error. Element 0 is the central case, so that one pass through the equations gives the
value and its spread.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from inferprint.quantities import Z95, Range

Array = NDArray[np.float64]

N_DRAWS = 512
SIZE = N_DRAWS + 1


@lru_cache(maxsize=1)
def _strata() -> Array:
    """Midpoints of N_DRAWS equally likely strata of the standard normal distribution."""
    from statistics import NormalDist  # costs start-up time that reading a packaged card would not need

    normal = NormalDist()
    return np.array([normal.inv_cdf((i + 0.5) / N_DRAWS) for i in range(N_DRAWS)])


@lru_cache(maxsize=4096)
def _order(source: str) -> NDArray[np.intp]:
    """The order in which a source runs through the strata, fixed by its name."""
    seed = int.from_bytes(hashlib.blake2b(source.encode(), digest_size=8).digest(), "little")
    return np.random.Generator(np.random.PCG64(seed)).permutation(N_DRAWS)


@lru_cache(maxsize=4096)
def normal(source: str) -> Array:
    """Standard-normal draws of a source: shape (SIZE,), element 0 central. Read-only, fixed by the name."""
    z = np.concatenate([[0.0], _strata()[_order(source)]])
    z.setflags(write=False)
    return z


class Sampler:
    """Draws values and remembers from which sources, so that a card can say what its spread comes from.

    A source is named "what:which", for example "PUE:aws"; "what" is how results name it.
    """

    def __init__(self) -> None:
        self.sources: dict[str, Array] = {}

    def _normal(self, source: str) -> Array:
        self.sources[source] = normal(source)
        return self.sources[source]

    def spread(self, source: str, bounds: Range, *, minimum: float = 0.0, maximum: float = float("inf")) -> Any:
        """Draws of a value from its 95 % bounds: shape (SIZE,), or a float where the bounds do not differ.

        Each side of the value has its own width: in logs where all three numbers are positive, else linear. The draws
        are clipped to [minimum, maximum], the physical limits.
        """
        value, low, high = bounds
        if low == high:
            return value
        z = self._normal(source)
        if low > 0:
            below, above = np.log(value / low), np.log(high / value)
            draws = value * np.exp(np.where(z < 0, below, above) * z / Z95)
        else:
            draws = value + np.where(z < 0, value - low, high - value) * z / Z95
        return np.clip(draws, minimum, maximum)

    def residual(self, source: str, sigma: float) -> Any:
        """Log-normal factors with median 1 and log standard deviation `sigma`; element 0 is 1."""
        return np.exp(sigma * self._normal(source)) if sigma else 1.0

    def choice(self, source: str, weights: Array, central: int) -> NDArray[np.intp]:
        """Draws of one of several cases by weight: indices, shape (SIZE,); element 0 is `central`."""
        if len(weights) == 1:
            return np.zeros(SIZE, dtype=np.intp)
        self._normal(source)
        uniform = np.concatenate([[0.5], (_order(source) + 0.5) / N_DRAWS])
        picked = np.searchsorted(np.cumsum(weights) / np.sum(weights), uniform, side="right")
        picked = np.minimum(picked, len(weights) - 1)
        picked[0] = central
        return picked


def full(value: Any) -> Array:
    """A float or an array of draws as an array of shape (SIZE,)."""
    return np.broadcast_to(np.asarray(value, dtype=float), (SIZE,))


def bounds(draws: Array) -> tuple[Array, Array, Array]:
    """Value, low and high of draws along axis 0: the central case and the 95 % interval, which contains it."""
    low, high = np.quantile(draws[1:], [0.025, 0.975], axis=0)
    return draws[0], np.minimum(low, draws[0]), np.maximum(high, draws[0])
