"""The tier that a record states, in one meaning."""

from __future__ import annotations

from functools import lru_cache

STANDARD = frozenset(("", "auto", "default", "on_demand", "standard"))
"""What sources call the tier of a request for which nothing else was bought."""


@lru_cache(maxsize=4096)
def tier_of(stated: str | None) -> str | None:
    """A tier in lower case; None for the standard one, or where none is stated."""
    tier = (stated or "").strip().lower()
    return None if tier in STANDARD else tier
