"""Where a number comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Quality = Literal["high", "medium", "low", "assumption"]
"""high: read in the primary source; medium: read in a secondary one, or modelled by a published rule;
low: recalled, derived or loosely specified; assumption: nobody has published it."""


@dataclass(frozen=True, slots=True)
class Source:
    """A publication, file or statement that values were taken from.

    Attributes
    ----------
    id
        Key by which values cite it.
    title
        What it is, as a reader would cite it.
    url
        Where it can be read; empty when there is no address.
    licence
        Terms under which the facts may be passed on.
    """

    id: str
    title: str
    url: str
    licence: str


@dataclass(frozen=True, slots=True)
class Provenance:
    """Origin of one value: source id, the date it holds for or was checked at (ISO 8601), grade and remark."""

    source: str
    date: str
    quality: Quality
    note: str = ""
