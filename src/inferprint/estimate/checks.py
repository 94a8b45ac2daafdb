"""Checks of single values: a number, a whole number, or an error that names the field."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from inferprint.errors import InvalidInput

MAX_EXACT = 2**53
"""Whole numbers up to this one are floats without loss."""


def number(name: str, value: Any) -> float:
    """A finite number, or an error that names the field."""
    if value is None:
        raise InvalidInput(name, "is missing")
    plain = type(value) is int or type(value) is float
    # Slower, and rarer: NumPy's numbers and others that are registered as real.
    if not plain and (isinstance(value, bool) or not isinstance(value, Real)):
        raise InvalidInput(name, f"{value!r} is not a number")
    try:
        finite = math.isfinite(value)
    except OverflowError:
        finite = False
    if not finite:
        raise InvalidInput(name, f"{value!r:.40} is not a number of anything")
    return float(value)


def whole(name: str, value: Any, *, minimum: int = 0) -> float:
    """A whole number from `minimum` up, or an error that names the field."""
    # Nearly every count is a plain one: it needs no further look.
    if type(value) is int and minimum <= value <= MAX_EXACT:
        return value
    number(name, value)
    if value < minimum:
        raise InvalidInput(name, f"{value:g} is below {minimum}")
    if value != int(value):
        raise InvalidInput(name, f"{value:g} is not a whole number")
    return float(value)
