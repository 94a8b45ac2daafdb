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
    if value is None or value == "":
        return None
    if isinstance(value, str) and not value.lstrip("-").replace(".", "", 1).isdigit():
        return _from_text(value)
    try:
        return datetime.fromtimestamp(_seconds(float(value)), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _from_text(text: str) -> datetime | None:
    try:
        read = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)


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
    if type(value) is str and len(value) == 20 and value[10] == "T" and value[19] == "Z":
        return value
    read = moment(value)
    if read is None:
        return str(value)
    return read.replace(tzinfo=None).isoformat(timespec="seconds" if read.microsecond == 0 else "milliseconds") + "Z"


def elapsed_ms(start: Any, end: Any) -> float | None:
    """Milliseconds from one moment to another; None where one is missing or the clock ran backwards."""
    first, last = moment(start), moment(end)
    if first is None or last is None:
        return None
    passed = (last - first).total_seconds() * MS_PER_S
    return passed if passed > 0 else None
