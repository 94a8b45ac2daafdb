"""What a decoder says of a record, in words that a reader of the log has."""

from __future__ import annotations

import re

_TYPES = {"float": "number", "int": "whole number", "str": "text", "bool": "true or false", "object": "an object"}


def field_and_reason(error: Exception) -> tuple[str, str]:
    """The field that a validation error of msgspec is about, and what is wrong; the field stands at its end."""
    reason, _, place = str(error).partition(" - at `$.")
    return place.rstrip("`"), re.sub(r"`([a-z| ]+)`", lambda found: _named(found[1]), reason)


def _named(types: str) -> str:
    return " or ".join(_TYPES.get(name, name) for name in types.split(" | ") if name != "null") or "nothing"
