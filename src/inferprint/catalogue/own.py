"""Forms of a node's own: "duration.served@NODE" stands for "duration.served" where an estimate runs on that node."""

from __future__ import annotations

OWN_FORMS = ("duration.served", "duration.single", "energy.served")
"""General forms that a node may have of its own."""

QUANTITY_OF = {
    "energy.served": "energy",
    "duration.served": "served-duration",
    "duration.single": "single-duration",
    "energy.media": "media-energy",
    "duration.media": "media-duration",
    "two-term": "two-term",
    "wall": "wall-power",
}
"""General form to what it gives."""


def own_form_id(name: str, node: str) -> str:
    """Id of the form that stands for the general one called `name` on a node."""
    return f"{name}@{node}"


def is_own(form: str) -> bool:
    """Whether a form's id is that of a node's own."""
    return "@" in form
