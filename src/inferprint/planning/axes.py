"""What a person writes for an axis - lists, ranges, sets of techniques, prices - as values, or why it cannot be."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from inferprint.catalogue import Catalogue, resolve_gpu, resolve_grid, resolve_region
from inferprint.errors import InvalidInput, UnknownName
from inferprint.techniques.apply import parse

Number = TypeVar("Number", int, float)

MAX_VALUES = 512
"""Values of one axis; more are a mistake."""

NO_TECHNIQUE = "none"
EVERY_GPU = ""
"""Key of a price that holds for every accelerator."""

PLACE_FIELDS = ("cloud_region", "country", "grid_zone")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a replica stands: a request field and its value; both None where nobody said."""

    field: str | None = None
    name: str | None = None

    @property
    def fields(self) -> dict[str, Any]:
        """What it fills of a request."""
        return {self.field: self.name} if self.field is not None and self.name is not None else {}


def listed(field: str, texts: Iterable[str]) -> list[str]:
    """Items of texts, each of which may hold several between commas; each once, in the order given."""
    items: dict[str, None] = {}
    for text in texts:
        parts = [part.strip() for part in text.split(",")]
        if not all(parts):
            raise InvalidInput(field, f"'{text}' holds an empty value", hint="Give values between commas: 1,2,4.")
        items.update(dict.fromkeys(parts))
    return list(items)


def whole_numbers(field: str, texts: Iterable[str], *, least: int = 1) -> tuple[int, ...]:
    """Whole numbers from lists ("1,2,4") and ranges ("1..256": doubled from the first; the last is included)."""
    found: list[int] = []
    for item in listed(field, texts):
        found += _range(field, item, least) if ".." in item else [_whole(field, item, least)]
    return _few(field, dict.fromkeys(found))


def numbers(field: str, texts: Iterable[str], *, least: float | None = None) -> tuple[float, ...]:
    """Numbers from lists: from `least` up, or above 0."""
    found: dict[float, None] = {}
    for item in listed(field, texts):
        if ".." in item:
            raise InvalidInput(field, f"'{item}' is a range, which doubles whole numbers", hint="List the values.")
        found[_number(field, item, least)] = None
    return _few(field, found)


def _few(field: str, values: Mapping[Number, None]) -> tuple[Number, ...]:
    if len(values) > MAX_VALUES:
        raise InvalidInput(field, f"{len(values)} values", hint=f"At most {MAX_VALUES}.")
    return tuple(values)


def _number(field: str, text: str, least: float | None) -> float:
    try:
        value = float(text)
    except ValueError:
        raise InvalidInput(field, f"'{text}' is not a number") from None
    if not math.isfinite(value) or (value <= 0 if least is None else value < least):
        raise InvalidInput(field, f"'{text}' is not {'above 0' if least is None else f'{least:g} or more'}")
    return value


def _whole(field: str, text: str, least: int) -> int:
    value = _number(field, text, least)
    if value != int(value):
        raise InvalidInput(field, f"'{text}' is not a whole number")
    return int(value)


def _range(field: str, text: str, least: int) -> list[int]:
    """Whole numbers that double from the first to the last, which is included."""
    first, _, last = text.partition("..")
    if not first or not last:
        raise InvalidInput(field, f"'{text}' is half a range", hint="Give both ends: 1..256.")
    low, high = _whole(field, first, max(least, 1)), _whole(field, last, max(least, 1))
    if low > high:
        raise InvalidInput(field, f"the range '{text}' is empty", hint=f"Did you mean {high}..{low}?")
    doubled = [low << i for i in range(high.bit_length()) if low << i < high]
    return [*doubled, high]


def technique_set(text: str) -> tuple[str, ...]:
    """Techniques joined by "+"; "none" for no technique.

    Raises
    ------
    UnknownName, InvalidInput
        A technique or a parameter that does not exist, or cannot have its value.
    """
    names = tuple(part.strip() for part in text.split("+"))
    if not all(names):
        raise InvalidInput("techniques", f"'{text}' holds an empty technique", hint="Join them so: a:key=1+b.")
    if names == (NO_TECHNIQUE,):
        return ()
    if NO_TECHNIQUE in names:
        raise InvalidInput("techniques", f"'{text}' joins techniques with none", hint="Give 'none' by itself.")
    parse(names)
    return names


def technique_sets(texts: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """Sets of techniques, each once."""
    return tuple(dict.fromkeys(technique_set(text) for text in texts))


def split_technique_sets(field: str, text: str) -> list[str]:
    """Sets between commas; what follows a comma and holds "=" but no ":" is a further parameter of the set before."""
    sets: list[str] = []
    for part in (part.strip() for part in text.split(",")):
        if not part:
            raise InvalidInput(field, f"'{text}' holds an empty value", hint="Give values between commas.")
        if sets and "=" in part and ":" not in part.partition("=")[0]:
            sets[-1] += f",{part}"
        else:
            sets.append(part)
    return sets


def places(catalogue: Catalogue, stated: Mapping[str, Sequence[str]]) -> tuple[Place, ...]:
    """Places by request field ("cloud_region", "country", "grid_zone"), each an alternative; one unstated by default.

    Raises
    ------
    UnknownName, InvalidInput
        A place that the catalogue does not hold, or a name that several clouds use.
    """
    found: dict[Place, None] = {}
    for field in PLACE_FIELDS:
        for name in listed(field, stated.get(field, ())):
            if field == "cloud_region":
                resolve_region(catalogue, name)
            else:
                resolve_grid(catalogue, name)
            found[Place(field, name)] = None
    return tuple(found) or (Place(),)


def gpu_prices(catalogue: Catalogue, texts: Iterable[str]) -> dict[str, float]:
    """USD per hour of a device by accelerator, from "2.5" (every one) and "h100_80gb_sxm=2.5"."""
    field = "usd_per_gpu_hour"
    found: dict[str, float] = {}
    for text in texts:
        name, equals, price = text.rpartition("=")
        if equals and not name.strip():
            raise InvalidInput(field, f"'{text}' names no accelerator", hint="Give 2.5, or h100_80gb_sxm=2.5.")
        try:
            key = resolve_gpu(catalogue, name.strip()).id if equals else EVERY_GPU
        except UnknownName as error:
            error.field = field
            raise
        if key in found:
            raise InvalidInput(field, f"two prices for {key or 'every accelerator'}", hint="Give one of them.")
        found[key] = _number(field, price, None)
    return found


def known_name(kind: str, name: str, known: Sequence[str], command: str) -> str:
    """A name among those that exist, or an error with the nearest, else all.

    Raises
    ------
    UnknownName
    """
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        raise UnknownName(kind, name, near or list(known), command)
    return name
