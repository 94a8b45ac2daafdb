"""What a modality is: a request as features, and the ideal cost of each feature."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from inferprint.physics.terms import Replica, Traffic
from inferprint.physics.work import Minimum

Part = Literal["prefill", "decode", "measured"]
Ideal = Mapping[str, Mapping[str, Any]]
"""Ideal cost by feature, then by term."""


def whole_pass(share: Ideal, batch: Any) -> Ideal:
    """What a request sees where a pass ends for all `batch` of its inputs or pictures together: their shares."""
    return {feature: {term: cost * batch for term, cost in costs.items()} for feature, costs in share.items()}


@dataclass(frozen=True)
class Feature:
    """A count that costs are linear in, its unit and the part of the request that it belongs to."""

    name: str
    unit: str
    part: Part


@dataclass(frozen=True)
class Modality:
    """One way of asking a model: its features and what one unit of each ideally costs.

    Attributes
    ----------
    features
        Names in the order of the columns that `count` returns.
    count
        (work columns, window in tokens, element-wise minimum) -> feature columns. The same expression runs on floats,
        NumPy arrays and table columns.
    share, seen
        (shape or denoiser, replica, traffic) -> ideal cost by feature and term, of the request's share and of what it
        sees.
    alone
        The same of one request on an engine that serves one at a time, whose devices take turns.
    by_denoiser
        Whether a denoiser makes what is asked for; else the model reads, and perhaps writes, tokens.
    """

    name: str
    features: tuple[Feature, ...]
    count: Callable[[Mapping[str, Any], Any, Minimum], tuple[Any, ...]]
    share: Callable[[Any, Replica, Traffic], Ideal]
    seen: Callable[[Any, Replica, Traffic], Ideal]
    alone: Callable[[Any, Replica, Traffic], Ideal]
    by_denoiser: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features, in their order."""
        return tuple(feature.name for feature in self.features)
