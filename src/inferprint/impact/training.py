"""Share of what was spent once, before the first request."""

from __future__ import annotations

from typing import Any

from inferprint.quantities import equation


@equation("S = T / (D N)", "ISO/IEC 21031:2024, a request as the functional unit")
def training_share(total: Any, use_life_days: Any, requests_per_day: Any) -> Any:
    """Part of a training that a request uses up, in the unit of the total.

    Parameters
    ----------
    total
        What the training cost in all: energy, greenhouse gas or water, of its electricity or of its hardware; a scalar
        or an array.
    use_life_days
        Days for which the model is in use, above 0 [d].
    requests_per_day
        Mean requests that it answers in one of them, above 0 [1/d].
    """
    return total / (use_life_days * requests_per_day)
