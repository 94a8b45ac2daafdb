"""The size of a model from what hosts ask for it.

At every host with enough models of known size, ln(size) is regressed on the logs of its prices. Predictions at several
hosts are combined with weights 1/SE^2; their errors share what is special about the model, so the variance of the
combination counts their correlation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from inferprint.quantities import Z95, Range

EPOCH = 2025.0
"""Year from which release dates are counted in the regressions."""

ANY_HOST = "*"
"""Stands for every host in a form that makes no difference between them."""


@dataclass(frozen=True, slots=True)
class HostFit:
    """A host's regression: coefficients of (1, inputs ...), (X'X)^-1 as lower triangle, residual deviation, prices."""

    host: str
    coefficients: Sequence[float]
    covariance: Sequence[float]
    sigma: float
    models: int
    least_usd: float
    most_usd: float


@dataclass(frozen=True, slots=True)
class Offer:
    """What a host asks for a model [USD per million tokens], and the day from which it does."""

    host: str
    input_usd: float
    output_usd: float
    since: str = ""


@dataclass(frozen=True, slots=True)
class HostPrediction:
    """What one host's price says: ln(size in billions), its standard error, and the weight in the combination.

    `extrapolated` is True where the price lies outside those of the models that the host's regression was fitted on.
    """

    offer: Offer
    log_size: float
    standard_error: float
    weight: float
    extrapolated: bool

    @property
    def size_b(self) -> float:
        """The prediction [1e9 parameters]."""
        return math.exp(self.log_size)


@dataclass(frozen=True, slots=True)
class SizePrediction:
    """The combination of all hosts.

    Attributes
    ----------
    size_b
        Point and 95 % interval [1e9 parameters].
    seed_b
        What the seed's method says: the weighted mean of the sizes themselves, and its own 95 % interval.
    """

    form: str
    hosts: tuple[HostPrediction, ...]
    size_b: Range
    seed_b: Range

    @property
    def upper_b(self) -> float:
        """Conservative bound [1e9 parameters]: the upper end of the interval."""
        return self.size_b.high

    @property
    def extrapolated(self) -> bool:
        """True where every host's price lies outside those of its regression."""
        return all(host.extrapolated for host in self.hosts)


def row(inputs: Sequence[str], offer: Offer, year: float | None) -> list[float] | None:
    """The regression's row of an offer: 1 and its inputs; None where it lacks the date."""
    if "date" in inputs and year is None:
        return None
    values = {"output": math.log(offer.output_usd), "input": math.log(offer.input_usd), "date": (year or EPOCH) - EPOCH}
    return [1.0, *(values[name] for name in inputs)]


def at_host(fit: HostFit, inputs: Sequence[str], offer: Offer, year: float | None) -> tuple[float, float] | None:
    """ln(size) and the standard error of a single prediction, SE = s sqrt(1 + x'(X'X)^-1 x)."""
    x = row(inputs, offer, year)
    if x is None:
        return None
    log_size = sum(c * v for c, v in zip(fit.coefficients, x, strict=True))
    spread, index = 0.0, 0
    for i, value in enumerate(x):
        for j in range(i + 1):
            spread += fit.covariance[index] * value * x[j] * (1.0 if i == j else 2.0)
            index += 1
    return log_size, fit.sigma * math.sqrt(1.0 + spread)


def combine(logs: Sequence[float], errors: Sequence[float], correlation: float) -> tuple[float, float]:
    """Weighted mean of ln(size) and its standard error, with errors of two hosts correlated by `correlation`.

    Var = sum a_p^2 SE_p^2 + rho sum_{p != q} a_p a_q SE_p SE_q,  a = w / sum w,  w = 1 / SE^2
    """
    weights = [1.0 / error**2 for error in errors]
    total = sum(weights)
    shares = [weight / total for weight in weights]
    parts = [share * error for share, error in zip(shares, errors, strict=True)]
    own = sum(part**2 for part in parts)
    variance = own + correlation * (sum(parts) ** 2 - own)
    return sum(s * v for s, v in zip(shares, logs, strict=True)), math.sqrt(variance)


def seed_combination(logs: Sequence[float], errors: Sequence[float]) -> Range:
    """The seed's combination: mean of the sizes weighted by 1/SE^2, and its interval from the errors alone."""
    weights = [1.0 / error**2 for error in errors]
    mean = sum(w * math.exp(v) for w, v in zip(weights, logs, strict=True)) / sum(weights)
    width = math.exp(Z95 / math.sqrt(sum(weights)))
    return Range(mean, mean / width, mean * width)


def predict_size(
    form: str,
    inputs: Sequence[str],
    fits: Mapping[str, HostFit],
    offers: Sequence[Offer],
    year: float | None,
    accuracy: tuple[float, float],
) -> SizePrediction | None:
    """The size that a model's offers lead to; None where no host with a regression sells it.

    Parameters
    ----------
    year
        Release date in years; None where it is not known.
    accuracy
        rho and q of the form.
    """
    correlation, quantile = accuracy
    found = []
    for offer in offers:
        fit = fits.get(offer.host, fits.get(ANY_HOST))
        guess = at_host(fit, inputs, offer, year) if fit is not None else None
        if fit is not None and guess is not None:
            outside = not fit.least_usd <= offer.output_usd <= fit.most_usd
            found.append((offer, *guess, outside))
    if not found:
        return None
    logs, errors = [item[1] for item in found], [item[2] for item in found]
    centre, error = combine(logs, errors, correlation)
    total = sum(1.0 / e**2 for e in errors)
    hosts = tuple(HostPrediction(o, v, e, 1.0 / e**2 / total, out) for o, v, e, out in found)
    width = quantile * error
    size = Range(math.exp(centre), math.exp(centre - width), math.exp(centre + width))
    return SizePrediction(form, hosts, size, seed_combination(logs, errors))
