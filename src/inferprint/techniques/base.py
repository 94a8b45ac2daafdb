"""What a technique is: it rewrites the work of a request or the way the model is served; one file each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from inferprint.physics.work import Minimum

Values = Mapping[str, Any]
Work = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a technique: its default changes nothing.

    `low` and `high` bound a number; a text parameter has none.
    """

    name: str
    meaning: str
    default: float | str
    low: float = 0.0
    high: float = 1.0


@dataclass(frozen=True, slots=True)
class Technique:
    """One serving technique.

    Attributes
    ----------
    rewrite_work
        (work columns, parameter values, element-wise minimum) -> work columns; None where the work stays.
    precision
        (parameter values) -> number format of the weights, or None; None where the format stays.
    """

    name: str
    meaning: str
    equation: str
    reference: str
    parameters: tuple[Parameter, ...]
    rewrite_work: Callable[[Work, Values, Minimum], Work] | None = None
    precision: Callable[[Values], str | None] | None = None
