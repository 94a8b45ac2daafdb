"""Models on the same work, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from inferprint.estimate.estimate import Estimator
from inferprint.estimate.request import Request
from inferprint.estimate.result import Result
from inferprint.rates import total_draws


def compare(estimator: Estimator, models: Sequence[str], request: Request) -> list[Result]:
    """Estimate the same request for each of `models`."""
    return [estimator.estimate(replace(request, model_id=model)) for model in models]


def chance_of_less(results: Sequence[Result], output: str = "usage_energy_wh") -> list[float]:
    """Share of the draws in which each result has less of `output` than the first.

    Errors that the results share (a PUE, a coefficient, a batch) move all of them alike and do not blur the order.
    """
    draws = [total_draws(result.machine, result.place, result.features)[output][1:] for result in results]
    return [float(np.mean(other < draws[0])) for other in draws]
