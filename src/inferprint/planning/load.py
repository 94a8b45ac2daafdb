"""What a fleet has to serve: requests per second hour by hour, and how long they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from inferprint.catalogue import Catalogue
from inferprint.errors import InvalidInput
from inferprint.units import SECONDS_PER_HOUR

Array = NDArray[np.float64]

HOURS = 24
PEAK_HOUR = 14
"""Hour of the day at which a stated load peaks: early afternoon, as in public traces."""

LEVELS = 48
"""Levels of load that the hours of a log are gathered into."""

SAMPLE = 256
"""Requests that stand for a stated distribution of lengths."""

MAX_RATE = 1e7
"""Requests per second above this are taken for a mistake."""

LENGTHS = ("input_tokens", "cached_input_tokens", "output_tokens")


@dataclass(frozen=True, slots=True)
class Load:
    """A load, as levels: each holds for a number of hours.

    Attributes
    ----------
    requests_per_second
        Mean rate of each level, shape (levels,), rising.
    hours
        Hours that each level holds for, shape (levels,).
    lengths
        input_tokens, cached_input_tokens, output_tokens of requests that stand for all, shape (requests,).
    peak_assumed
        True where nobody stated how the load varies over the day.
    """

    requests_per_second: Array
    hours: Array
    lengths: Mapping[str, Array]
    peak_assumed: bool = False

    @property
    def days(self) -> float:
        """Days that the load covers."""
        return float(self.hours.sum()) / HOURS

    @property
    def requests(self) -> float:
        """Requests in all."""
        return float(self.requests_per_second @ self.hours) * SECONDS_PER_HOUR

    def mean(self, name: str) -> float:
        """Mean of a length [tokens]."""
        return float(self.lengths[name].mean())


def stated_load(
    catalogue: Catalogue,
    requests_per_second: float,
    lengths: Mapping[str, float],
    *,
    peak_requests_per_second: float | None = None,
    spread: float = 0.0,
) -> Load:
    """A load of a stated mean rate, whose day is a sine about it.

    Parameters
    ----------
    lengths
        Means of `LENGTHS` [tokens]; what is missing is 0.
    peak_requests_per_second
        Rate of the busiest hour; the mean over what operators publish (prior "load.mean-over-peak") by default.
    spread
        Standard deviation of prompt and answer lengths over their mean; log-normal, independent of each other.

    Raises
    ------
    InvalidInput
        A rate or length that cannot be.
    """
    mean = _rate("requests_per_second", requests_per_second)
    assumed = peak_requests_per_second is None
    share = catalogue.priors["load.mean-over-peak"].value.value
    peak = _rate("peak_requests_per_second", mean / share if assumed else peak_requests_per_second)
    if not mean <= peak <= 2 * mean:
        message = f"{peak:g} per second at a mean of {mean:g}"
        hint = f"{mean:g} to {2 * mean:g}; for steeper loads give a log with --log."
        raise InvalidInput("peak_requests_per_second", message, hint=hint)
    if not 0 <= spread <= 5:
        raise InvalidInput("length_spread", f"{spread:g} times the mean", hint="0 to 5.")
    day = mean + (peak - mean) * np.cos(2 * np.pi * (np.arange(HOURS) - PEAK_HOUR) / HOURS)
    rates, hours = np.unique(day.round(12), return_counts=True)
    return Load(rates, hours.astype(float), _sampled(lengths, spread), assumed)


def _rate(name: str, value: float | None) -> float:
    if value is None or not 0 < value <= MAX_RATE:
        raise InvalidInput(name, f"{value} requests per second", hint=f"Above 0, at most {MAX_RATE:g}.")
    return float(value)


def _sampled(lengths: Mapping[str, float], spread: float) -> dict[str, Array]:
    """Lengths of requests that stand for a distribution: log-normal strata, prompts and answers uncorrelated."""
    from statistics import NormalDist

    sigma = float(np.sqrt(np.log1p(spread**2)))
    strata = np.array([NormalDist().inv_cdf((i + 0.5) / SAMPLE) for i in range(SAMPLE)]) if spread else np.zeros(1)
    factors = np.exp(sigma * strata)
    factors /= factors.mean()
    # A stride coprime with the number of strata pairs long prompts with answers of all lengths.
    orders = {"input_tokens": factors, "output_tokens": factors[np.arange(factors.size) * 101 % factors.size]}
    n_in, n_out = (lengths.get(name, 0.0) * orders[name] for name in ("input_tokens", "output_tokens"))
    share = lengths.get("cached_input_tokens", 0.0) / lengths["input_tokens"] if lengths.get("input_tokens") else 0.0
    for name, value in lengths.items():
        if not 0 <= value < np.inf:
            raise InvalidInput(name, f"{value:g} tokens", hint="0 or more.")
    if share > 1:
        raise InvalidInput("cached_input_tokens", "exceed input_tokens", hint="They are a part of the prompt.")
    if not n_in.sum() + n_out.sum():
        raise InvalidInput("input_tokens", "requests without tokens", hint="Give --input-tokens and --output-tokens.")
    return {"input_tokens": n_in, "cached_input_tokens": share * n_in, "output_tokens": n_out}


def logged_load(seconds: Array, lengths: Mapping[str, Array]) -> Load:
    """The load that a log shows: requests counted by the hour, hours of like load gathered into levels.

    Parameters
    ----------
    seconds
        Time of each request [s], from any origin, shape (requests,).
    lengths
        `LENGTHS` of each request [tokens], shape (requests,).

    Raises
    ------
    InvalidInput
        A log without requests.
    """
    if not seconds.size:
        raise InvalidInput("log", "holds no request", hint="Give a log with at least one row that can be estimated.")
    hour = np.floor((seconds - seconds.min()) / SECONDS_PER_HOUR).astype(int)
    counts = np.bincount(hour).astype(float)
    last = float(seconds.max() - seconds.min()) / SECONDS_PER_HOUR - (len(counts) - 1)
    length = np.ones(len(counts))
    # The last hour of a log is cut off where the log ends; a log of less than a minute is taken as one.
    length[-1] = max(last, 1 / 60)
    rates = counts / (length * SECONDS_PER_HOUR)
    order = np.argsort(rates, kind="stable")
    # Hours without a request join the quietest level: what the fleet draws in them is that of the requests around.
    empty = int(np.sum(counts == 0))
    levels = np.array_split(order[empty:], min(LEVELS, len(order) - empty))
    levels[0] = np.concatenate([order[:empty], levels[0]])
    hours = np.array([length[level].sum() for level in levels])
    requests = np.array([counts[level].sum() for level in levels])
    return Load(requests / (hours * SECONDS_PER_HOUR), hours, {name: lengths[name] for name in LENGTHS})
