"""What a technique is: it rewrites the work of a request or the way the model is served; one file each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from inferprint.physics.serving import Serving
from inferprint.physics.work import Minimum

Values = Mapping[str, Any]
Work = Mapping[str, Any]

Stage = Literal["formats", "layout", "prompt", "steps", "memory", "batching"]
STAGES: tuple[Stage, ...] = ("formats", "layout", "prompt", "steps", "memory", "batching")
"""The order in which techniques are applied, whatever the order in which they are named: each sees what the ones before
it left."""


@dataclass(frozen=True)
class Parameter:
    """A parameter of a technique: its default changes nothing.

    `low` and `high` bound a number, `whole` asks for an integer; a text parameter has `choices`, or takes any text.
    """

    name: str
    meaning: str
    default: float | str
    low: float = 0.0
    high: float = 1.0
    whole: bool = False
    choices: tuple[str, ...] = ()

    @property
    def allowed(self) -> str:
        """What the parameter may be, in words."""
        if isinstance(self.default, str):
            return ", ".join(self.choices)
        return f"{'a whole number, ' if self.whole else ''}{self.low:g} to {self.high:g}"


@dataclass(frozen=True)
class Technique:
    """One serving technique.

    Attributes
    ----------
    stage
        When it is applied: see `STAGES`.
    rewrite
        (how the model is served, parameter values) -> how it is served with the technique; None where that stays.
        Raises `InvalidInput` on the field "techniques" where the two cannot go together.
    rewrite_work
        (work columns, parameter values, element-wise minimum) -> work columns; None where the work stays.
    precision
        (parameter values) -> number format of the weights, or None; None where the format stays.
    """

    name: str
    meaning: str
    equation: str
    reference: str
    stage: Stage
    parameters: tuple[Parameter, ...]
    rewrite: Callable[[Serving, Values], Serving] | None = None
    rewrite_work: Callable[[Work, Values, Minimum], Work] | None = None
    precision: Callable[[Values], str | None] | None = None
