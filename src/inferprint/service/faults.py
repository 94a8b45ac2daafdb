"""What is wrong with a body or a parameter, in words: where, what was sent, why it cannot be, and what can."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from inferprint.service.rows import BIGQUERY

Node = Mapping[str, Any]
"""A JSON schema, or a part of one."""

Place = tuple[int | str, ...]

LONGEST = 60
"""Characters of a value that are repeated."""

MOST_LISTED = 12
"""Names of which all are listed."""

NOTHING: Node = {}

_KINDS = {
    "int": "a whole number",
    "float": "a number",
    "string": "a text",
    "bool": "true or false",
    "list": "a list",
    "dict": "an object",
    "model": "an object",
    "datetime": "a moment",
    "date": "a date",
    "timezone": "a moment with its offset",
}
"""What is asked for, by the first word of the type of a fault."""

_WHAT_TO_SEND = {
    "datetime": "A date and a time with its offset, such as 2026-11-01T12:00:00Z.",
    "timezone": "Add Z or an offset: 2026-11-01T12:00:00Z.",
    "date": "A date, such as 2026-11-01.",
}

PATTERNS = {
    r"^[^\x00-\x1f\x7f]*$": "Text without line breaks and other control characters.",
    r"^[^\x00-\x1f\x7f]+$": "Text without line breaks and other control characters.",
    r"^[^\x00-\x1f\x7f{}]+$": "Text without braces, line breaks and other control characters.",
    "^[A-Z]{2}$": "Two capital letters, such as FR.",
    "^[A-Z0-9]{1,3}$": "One to three capital letters or digits, without the country, such as CA.",
    r"^\d{1,5}x\d{1,5}$": "Width x height in pixels, such as 1024x1024.",
    r"^[a-z0-9-]+$": "Small letters, digits and dashes, such as my-node-1.",
    r"^[0-9]{4}-[0-9]{2}$": "A month, such as 2026-11.",
    "^[!-~]*$": "Letters, digits and signs of ASCII, without spaces.",
}
"""What a pattern means."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault: the path to it, what is wrong, and what is allowed or what to do."""

    field: str
    message: str
    reason: str


def fault_of(found: Mapping[str, Any], model: type[BaseModel] | None = None) -> Fault:
    """One of the faults that pydantic found.

    Parameters
    ----------
    found
        Its type, place, input and context.
    model
        What was asked for; None where only the fault itself is known.
    """
    kind, place = found["type"], tuple(found["loc"])
    if kind == "json_invalid":
        return Fault("", f"the body is not JSON: {found['ctx']['error']}", "Send one JSON object in UTF-8.")
    if kind == "extra_forbidden":
        return _unknown(place, model)
    node, walked = NOTHING, place
    if model is not None:
        node, walked = _walked(schema_of(model), place)
    field = path_of(walked)
    if kind == "missing":
        return Fault(field, f"{field} is missing", _described(node))
    if walked != place:
        what, reason = "is of none of the types that are allowed", _types(node)
    else:
        what, reason = _explained(kind)(found, node)
    sent = "" if kind in _COUNTED else f"{shown(found.get('input'))} "
    return Fault(field, f"{field or 'the body'}: {sent}{what}", reason)


def path_of(place: Sequence[int | str]) -> str:
    """A place in a body: "rows[3].input_tokens"."""
    return functools.reduce(
        lambda text, part: f"{text}[{part}]" if isinstance(part, int) else f"{text}.{part}".lstrip("."), place, ""
    )


def shown(value: object) -> str:
    """A value that was sent, in short; a key is not repeated."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        if "ipk_" in value:
            return "a key"
        return repr(value) if len(value) <= LONGEST - 2 else repr(value[: LONGEST - 20]) + "..."
    if isinstance(value, int) and value.bit_length() > 200:
        return "a number of many digits"
    if isinstance(value, int | float):
        return repr(value)
    return "a list" if isinstance(value, list) else "an object"


# --- the schema -------------------------------------------------------------------------------------------------------


@functools.cache
def schema_of(model: type[BaseModel]) -> Node:
    """The JSON schema of a model."""
    return model.model_json_schema()


def _walked(root: Node, place: Place) -> tuple[Node, Place]:
    """The schema at a place, and the part of the place that it has; the rest names one of several types."""
    node = _resolved(root, root)
    for i, part in enumerate(place):
        further = node.get("items") if isinstance(part, int) else node.get("properties", {}).get(part)
        if further is None:
            return node, place[:i]
        node = _resolved(further, root)
    return node, place


def _resolved(node: Node, root: Node) -> Node:
    """A schema without references, and without the "or null" of what may be left out."""
    while "$ref" in node or "anyOf" in node:
        if "$ref" in node:
            inner = root["$defs"][node["$ref"].rsplit("/", 1)[1]]
        else:
            others = [one for one in node["anyOf"] if one.get("type") != "null"]
            if len(others) != 1:
                break
            inner = others[0]
        node = {**inner, **{name: value for name, value in node.items() if name not in ("$ref", "anyOf")}}
    return node


def _described(node: Node) -> str:
    """What belongs to a field that is missing."""
    meaning = node.get("description", "It is required").splitlines()[0].rstrip(".")
    example = f", such as {shown(node['examples'][0])}" if node.get("examples") else ""
    return f"{meaning}{example}."


def _types(node: Node) -> str:
    words = {"string": "a text", "integer": "a number", "number": "a number", "null": "null"}
    names = list(dict.fromkeys(words.get(one.get("type"), "an object") for one in node.get("anyOf", ())))
    return f"Send {' or '.join(names)}." if names else _described(node)


# --- what is wrong ----------------------------------------------------------------------------------------------------

Explanation = Callable[[Mapping[str, Any], Node], tuple[str, str]]
"""Gives what is wrong with what was sent, and what is allowed."""

_COUNTED = ("too_short", "too_long")
"""Faults of lists, of which it is enough to say how long they are."""


def _unknown(place: Place, model: type[BaseModel] | None) -> Fault:
    """A field that there is not."""
    node = _walked(schema_of(model), place[:-1])[0] if model is not None else NOTHING
    names, name = list(node.get("properties", ())), str(place[-1])
    near = difflib.get_close_matches(name[:LONGEST], names, 3, 0.6)
    reason = f"Leave it out. {node.get('title', 'The endpoint')} is described in /openapi.json."
    if near:
        reason = f"Nearest: {', '.join(near)}."
    elif 0 < len(names) <= MOST_LISTED:
        reason = f"Known: {', '.join(names)}."
    within = path_of(place[:-1])
    return Fault(path_of(place), f"{within}: {shown(name)} is not a field".removeprefix(": "), reason)


def _explained(kind: str) -> Explanation:
    if kind in _EXPLAINED:
        return _EXPLAINED[kind]
    return _wrong_type if kind.split("_", 1)[0] in _KINDS else _otherwise


def _wrong_type(found: Mapping[str, Any], node: Node) -> tuple[str, str]:
    word = found["type"].split("_")[0]
    what = f"is not {_KINDS[word]}"
    if word in ("int", "float"):
        limits = _range(node)
        return what, f"{_KINDS[word].capitalize()}{f', {limits}' if limits else ''}."
    if word in _WHAT_TO_SEND:
        return what, _WHAT_TO_SEND[word]
    return what, PATTERNS.get(node.get("pattern", ""), f"Send {_KINDS[word]}.")


def _out_of_range(found: Mapping[str, Any], node: Node) -> tuple[str, str]:
    context = found["ctx"]
    own = {new: context[old] for old, new in _BOUNDS.items() if old in context}
    limits = _range({**own, **node})
    return f"is too {'small' if 'greater' in found['type'] else 'large'}", f"It must be {limits}."


_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}


def _range(node: Node) -> str:
    """The range of a number in words; empty where it has none."""
    words = (
        ("at least", "minimum"),
        ("above", "exclusiveMinimum"),
        ("at most", "maximum"),
        ("below", "exclusiveMaximum"),
    )
    return " and ".join(f"{word} {_number(node[name])}" for word, name in words if name in node)


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def _pattern(found: Mapping[str, Any], _node: Node) -> tuple[str, str]:
    pattern = found["ctx"]["pattern"]
    return "is not written as it must be", PATTERNS.get(pattern, f"It must match {pattern}.")


def _text_length(found: Mapping[str, Any], node: Node) -> tuple[str, str]:
    context = found["ctx"]
    low = node.get("minLength", context.get("min_length"))
    high = node.get("maxLength", context.get("max_length"))
    too = "short" if "short" in found["type"] else "long"
    return f"is too {too}, with {len(found['input']):,} characters", f"{_between(low, high)} characters."


def _list_length(found: Mapping[str, Any], node: Node) -> tuple[str, str]:
    context, number = found["ctx"], len(found["input"])
    low, high = node.get("minItems", context.get("min_length")), node.get("maxItems", context.get("max_length"))
    bound = f"at most {high:,}" if found["type"] == "too_long" else f"at least {low:,}"
    if node.get("title") == "Call":
        order = ", ".join(BIGQUERY)
        return f"{number:,} arguments; {bound}", f"{_between(low, high)} arguments, in this order: {order}."
    last = next((part for part in reversed(found["loc"]) if isinstance(part, str)), "entries")
    return f"{number:,} {last}; {bound}", f"Send {_between(low, high).lower()} at a time."


def _between(low: int | None, high: int | None) -> str:
    if low is not None and high is not None:
        return f"{low:,} to {high:,}"
    return f"At most {high:,}" if high is not None else f"At least {low:,}"


def _none_of(found: Mapping[str, Any], node: Node) -> tuple[str, str]:
    names = [str(name) for name in node.get("enum", ())] or re.findall(r"'([^']*)'", found["ctx"]["expected"])
    near = difflib.get_close_matches(str(found["input"])[:LONGEST], names, 1, 0.6)
    more = f" and {len(names) - MOST_LISTED} more" if len(names) > MOST_LISTED else ""
    nearest = f"Nearest: {near[0]}. " if near else ""
    return "is not one of those there are", f"{nearest}One of {', '.join(names[:MOST_LISTED])}{more}."


def _rule(found: Mapping[str, Any], _node: Node) -> tuple[str, str]:
    """A rule of a model that is no rule of JSON schemas; it is told by the error that it raised."""
    return f"cannot be: {found['ctx']['error']}", "Change it, and send all again."


def _otherwise(found: Mapping[str, Any], _node: Node) -> tuple[str, str]:
    said = found["msg"]
    return f"cannot be: {said[:1].lower()}{said[1:]}", "See /openapi.json for what can."


def _not_finite(_found: Mapping[str, Any], node: Node) -> tuple[str, str]:
    limits = _range(node)
    return "is not a finite number", f"A number, {limits}." if limits else "A finite number."


_EXPLAINED: dict[str, Explanation] = {
    **dict.fromkeys(("greater_than", "greater_than_equal", "less_than", "less_than_equal"), _out_of_range),
    **dict.fromkeys(("string_too_short", "string_too_long"), _text_length),
    **dict.fromkeys(_COUNTED, _list_length),
    **dict.fromkeys(("enum", "literal_error"), _none_of),
    "string_pattern_mismatch": _pattern,
    "value_error": _rule,
    "finite_number": _not_finite,
}
