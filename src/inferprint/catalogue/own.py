"""Forms of a node's own: "duration.served@NODE" stands for "duration.served" where an estimate runs on that node."""

from __future__ import annotations

import re

from inferprint.errors import InvalidInput

OWN_FORMS = ("duration.served", "duration.single", "energy.served")
"""General forms that a node may have of its own."""

GENERAL = "general"
"""What stands for the general coefficients where a node could be named."""

SOURCE = "own:"
"""What the sources of records begin with that were made of one's own measurements."""

NODE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")

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


def check_node_id(field: str, name: str) -> None:
    """Check that a node of one's own can be called so.

    Raises
    ------
    InvalidInput
        It cannot.
    """
    hint = "Letters, digits, '.', '_', ':' and '-', at most 64, beginning with a letter or digit."
    if name.casefold() == GENERAL:
        hint = f"It stands for the general coefficients. {hint}"
    elif NODE_ID.fullmatch(name):
        return
    raise InvalidInput(field, f"'{name}' cannot be the id of a node", hint=hint)
