"""Moments and durations as logs write them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from inferprint.units import MS_PER_S

_LATEST_S, _LATEST_MS, _LATEST_US = 1e11, 1e14, 1e17
"""Seconds, milliseconds and microseconds since 1970 stay below these for thousands of years; the next unit is above."""


def moment(value: Any) -> datetime | None:
    """A moment in UTC from ISO 8601 text, or from seconds, milliseconds, microseconds or nanoseconds since 1970.

    Text without an offset is taken for UTC. None where there is none, or it cannot be read.
    """
    if type(value) is str:
        try:
            read = datetime.fromisoformat(value)
        except ValueError:
            return _from_other_text(value)
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    if value is None:
        return None
    try:
        return datetime.fromtimestamp(_seconds(float(value)), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _from_other_text(text: str) -> datetime | None:
    """A number as text, or a moment with blanks about it or "UTC" behind it."""
    plain = text.strip().removesuffix(" UTC")
    if plain == text:
        try:
            return moment(float(text))
        except ValueError:
            return None
    return moment(plain) if plain else None


def _seconds(number: float) -> float:
    """Seconds since 1970 from a number whose size tells its unit."""
    size = abs(number)
    if size < _LATEST_S:
        return number
    if size < _LATEST_MS:
        return number / 1e3
    return number / (1e6 if size < _LATEST_US else 1e9)


def utc(value: Any) -> str | None:
    """The same as ISO 8601 text, "2026-11-20T09:00:00Z"; what cannot be read stays as it is, so that it is reported."""
    if value is None or value == "":
        return None
    if type(value) is str and value[10:11] in ("T", " "):
        # As most logs write it: nothing to convert, and no need to read it.
        fraction = value[19:].removesuffix("Z")
        if not fraction:
            return f"{value[:10]}T{value[11:19]}Z"
        if fraction[0] == "." and fraction[1:].isdigit():
            return f"{value[:10]}T{value[11:23]}Z"
    read = moment(value)
    if read is None:
        return str(value)
    whole = read.isoformat(timespec="milliseconds" if read.microsecond else "seconds")
    return whole[:-6] + "Z"


def elapsed_ms(start: Any, end: Any) -> float | None:
    """Milliseconds from one moment to another; None where one is missing or the clock ran backwards."""
    first, last = moment(start), moment(end)
    if first is None or last is None:
        return None
    passed = (last - first).total_seconds() * MS_PER_S
    return passed if passed > 0 else None
