"""From the text of a request ("prefix-caching:hit_rate=0.5") to the techniques that it asks for, in their order."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import Any

from inferprint.discovery import members
from inferprint.errors import InvalidInput, UnknownName
from inferprint.physics.serving import Serving
from inferprint.physics.work import Minimum
from inferprint.techniques.base import STAGES, Parameter, Technique, Values, Work

PACKAGE = "inferprint.techniques"

Use = tuple[Technique, Values]


def available() -> dict[str, Technique]:
    """All techniques by name, those of other packages included."""
    return members(PACKAGE, Technique)


def parse(texts: Iterable[str]) -> tuple[Use, ...]:
    """Techniques with their parameters, in the order in which they are applied.

    Raises
    ------
    UnknownName
        A technique that does not exist.
    InvalidInput
        A parameter that does not exist or cannot have its value; a technique named twice.
    """
    uses: dict[str, Use] = {}
    for text in texts:
        name, _, rest = text.partition(":")
        known = available()
        if name not in known:
            nearest = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
            raise UnknownName("technique", name, nearest or sorted(known), "inferprint catalog techniques")
        if name in uses:
            raise InvalidInput("techniques", f"'{name}' is given twice", hint="Give all its parameters at once.")
        uses[name] = (known[name], _values(known[name], rest))
    return tuple(sorted(uses.values(), key=lambda use: (STAGES.index(use[0].stage), use[0].name)))


def _values(technique: Technique, text: str) -> Values:
    """Parameter values: the defaults, with what the text states."""
    values: dict[str, Any] = {parameter.name: parameter.default for parameter in technique.parameters}
    allowed = {parameter.name: parameter for parameter in technique.parameters}
    given: set[str] = set()
    for part in filter(None, text.split(",")):
        key, _, value = part.partition("=")
        if key in given:
            raise InvalidInput("techniques", f"{technique.name}: '{key}' is given twice", hint="Give it once.")
        given.add(key)
        if key not in allowed:
            raise InvalidInput(
                "techniques", f"{technique.name} has no parameter '{key}'", hint=f"It has: {_described(technique)}."
            )
        values[key] = _value(technique, allowed[key], value)
    return values


def _described(technique: Technique) -> str:
    """The parameters of a technique with what they may be."""
    return "; ".join(f"{p.name} ({p.allowed})" if p.allowed else p.name for p in technique.parameters)


def _value(technique: Technique, parameter: Parameter, text: str) -> float | str:
    hint = f"{parameter.allowed}: {parameter.meaning}."
    message = f"{technique.name}: {parameter.name} = '{text}' is out of range"
    if isinstance(parameter.default, str):
        if parameter.choices and text not in parameter.choices:
            raise InvalidInput("techniques", message, hint=hint)
        return text
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not parameter.low <= value <= parameter.high or (parameter.whole and value != int(value)):
        raise InvalidInput("techniques", message, hint=hint)
    return value


def rewritten_serving(serving: Serving, uses: Iterable[Use]) -> Serving:
    """How a model is served with techniques in use.

    Raises
    ------
    InvalidInput
        Techniques that cannot go together, or not with this model.
    """
    for technique, values in uses:
        if technique.rewrite is not None:
            serving = technique.rewrite(serving, values)
    return serving


def rewritten_work(work: Work, uses: Iterable[Use], minimum: Minimum) -> Work:
    """Work columns with techniques in use: see `Technique.rewrite_work`."""
    for technique, values in uses:
        if technique.rewrite_work is not None:
            work = technique.rewrite_work(work, values, minimum)
    return work


def stated_precision(uses: Iterable[Use]) -> str | None:
    """Number format of the weights that a technique asks for."""
    for technique, values in uses:
        if technique.precision is not None and (found := technique.precision(values)):
            return found
    return None
