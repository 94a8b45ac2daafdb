"""Moments and durations as logs write them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

from inferprint.units import MS_PER_S

_LATEST_S, _LATEST_MS, _LATEST_US = 1e11, 1e14, 1e17
"""Seconds, milliseconds and microseconds since 1970 stay below these for thousands of years; the next unit is above."""


_NUMBERS = (float, int)


def moment(value: Any) -> datetime | None:
    """A moment in UTC from ISO 8601 text, or from seconds, milliseconds, microseconds or nanoseconds since 1970.

    Text without an offset is taken for UTC. None where there is none, or it cannot be read.
    """
    if type(value) is str:
        # A row of digits is no compact form of a date and time, unless it is that of a date.
        is_number = value.isdigit() and len(value) != len("20261120")
        return _from_seconds(value) if is_number else _from_text(value)
    return None if value is None else _from_seconds(value)


def _from_text(text: str) -> datetime | None:
    """A moment from ISO 8601 text, or what looks like it."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        return _from_other_text(text)
    try:
        return read.replace(tzinfo=UTC) if read.tzinfo is None else read.astimezone(UTC)
    except OverflowError:  # the first or the last day that there is, far from Greenwich
        return None


def _from_seconds(value: Any) -> datetime | None:
    """A moment from a number since 1970, whose size tells its unit."""
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


_AS_MOST = re.compile(
    r"\d{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])[T ](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?Z?", re.ASCII
)
"""A day and a time to the second or below, without an offset or in UTC."""


def utc(value: Any) -> str | None:
    """The same as ISO 8601 text, "2026-11-20T09:00:00Z"; what cannot be read stays as it is, so that it is reported.

    A fraction of a second is kept to the millisecond.
    """
    if value is None or value == "":
        return None
    if type(value) is str and _AS_MOST.fullmatch(value):
        # As most logs write it: nothing to convert, and no need to read it.
        return f"{value[:10]}T{value[11:23].removesuffix('Z')}Z"
    if type(value) in _NUMBERS:
        return _from_number(value)
    read = moment(value)
    if read is None:
        return str(value)
    whole = read.isoformat(timespec="milliseconds" if read.microsecond else "seconds")
    return whole[:-6] + "Z"


def _from_number(value: float) -> str:
    """A number since 1970 as text; days and times of day repeat."""
    seconds = _seconds(value)
    if not abs(seconds) < _LATEST_S:
        return str(value)
    milliseconds = round(seconds * MS_PER_S)
    whole, rest = divmod(milliseconds, 1000)
    day, second = divmod(whole, 86_400)
    return f"{_day(day)}T{_clock(second)}Z" if not rest else f"{_day(day)}T{_clock(second)}.{rest:03d}Z"


@lru_cache(maxsize=4096)
def _day(number: int) -> str:
    return (date(1970, 1, 1) + timedelta(days=number)).isoformat()


@lru_cache(maxsize=86_400)
def _clock(second: int) -> str:
    minutes, seconds = divmod(second, 60)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{seconds:02d}"


def elapsed_ms(start: Any, end: Any) -> float | None:
    """Milliseconds from one moment to another; None where one is missing or the clock ran backwards."""
    if type(start) in _NUMBERS and type(end) in _NUMBERS:
        passed = (_seconds(end) - _seconds(start)) * MS_PER_S
        return passed if passed > 0 else None
    first, last = moment(start), moment(end)
    if first is None or last is None:
        return None
    passed = (last - first).total_seconds() * MS_PER_S
    return passed if passed > 0 else None
