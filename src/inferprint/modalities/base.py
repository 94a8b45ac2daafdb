"""What a modality is: a request as features, and the ideal cost of each feature."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from inferprint.physics.terms import ModelShape, Replica, Traffic
from inferprint.physics.work import Minimum

Part = Literal["prefill", "decode", "measured"]
Ideal = Mapping[str, Mapping[str, Any]]
"""Ideal cost by feature, then by term."""


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
        (shape, replica, traffic) -> ideal cost by feature and term, of the request's share and of what it sees.
    alone
        The same of one request on an engine that serves one at a time, whose devices take turns.
    """

    name: str
    features: tuple[Feature, ...]
    count: Callable[[Mapping[str, Any], Any, Minimum], tuple[Any, ...]]
    share: Callable[[ModelShape, Replica, Traffic], Ideal]
    seen: Callable[[ModelShape, Replica, Traffic], Ideal]
    alone: Callable[[ModelShape, Replica, Traffic], Ideal]
