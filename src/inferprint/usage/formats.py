"""The formats of usage logs, and which one a file has."""

from __future__ import annotations

import difflib

from inferprint.discovery import members
from inferprint.errors import FileProblem, UnknownName
from inferprint.usage.base import Format, Sample


def formats() -> dict[str, Format]:
    """All formats by name."""
    return members("inferprint.usage", Format)


def format_named(name: str) -> Format:
    """The format of a name.

    Raises
    ------
    UnknownName
        There is none.
    """
    known = formats()
    if name not in known:
        near = difflib.get_close_matches(name.lower().replace("-", "_"), known, cutoff=0.5)
        raise UnknownName("format", name, near, "inferprint catalog formats")
    return known[name]


def recognised(sample: Sample) -> Format | None:
    """The format that a file begins as; None where it is none of them.

    Raises
    ------
    FileProblem
        It looks like several.
    """
    found = [form for form in formats().values() if sample.kind in form.kinds and form.recognises(sample)]
    if len(found) > 1:
        names = ", ".join(form.name for form in found)
        raise FileProblem(f"{sample.path}: looks like {names}", hint="Say which it is: --input-format NAME")
    return found[0] if found else None
