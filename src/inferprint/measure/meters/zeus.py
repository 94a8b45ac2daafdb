"""How the package zeus is imported, and its errors told in our words."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from inferprint.errors import MeterProblem


def imported(module: str, kind: str) -> Any:
    """A module of zeus.

    Raises
    ------
    MeterProblem
        It is not installed, or not all of it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        missing = error.name or str(error)
        raise MeterProblem(
            f"the meter '{kind}' needs the package zeus, which is not installed completely: no {missing}",
            hint="pip install 'inferprint[measure]'",
        ) from error


USUAL_HINT = "Run it where the driver is, with the rights to read its counters."


@contextmanager
def zeus_errors(kind: str, name: str, hint: str = USUAL_HINT) -> Iterator[None]:
    """Tell errors of zeus, and of the drivers that it calls, as problems of a meter.

    Raises
    ------
    MeterProblem
        In place of them, with a hint of what to do.
    """
    failures = imported("zeus.exception", kind).ZeusBaseError
    try:
        yield
    except MeterProblem:
        raise
    except (failures, ImportError, OSError, RuntimeError, AttributeError, ValueError) as error:
        raise MeterProblem(f"{name} cannot be read: {error}", hint=hint) from error
