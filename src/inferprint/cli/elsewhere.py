"""The question before anything that is not on this machine is contacted."""

from __future__ import annotations

import sys

import click

from inferprint.errors import InvalidInput


def ask_first(field: str, where: str, question: str) -> None:
    """Ask whether to contact an address, and end where the answer is no.

    Raises
    ------
    InvalidInput
        Nobody is there to ask.
    """
    if not sys.stdin.isatty():
        raise InvalidInput(field, f"{where} is not on this machine, and nobody is there to ask", hint="Add --yes.")
    click.confirm(question, abort=True, err=True)


def ask_for_meter(where: str) -> None:
    """Ask whether to read a meter at an address, as `metered` does before it contacts one.

    Raises
    ------
    InvalidInput
        Nobody is there to ask.
    """
    ask_first("--meter", where, f"Read the meter at {where}?")
