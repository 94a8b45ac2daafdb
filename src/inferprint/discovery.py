"""Finds plug-ins: one file in a plug-in folder is one member; other packages add theirs by entry points.

A member is a frozen record found by its type. The built-ins use the same door as everybody else.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import ModuleType
from typing import Protocol, TypeVar


class Member(Protocol):
    """What every plug-in record has."""

    @property
    def name(self) -> str:
        """Name by which users ask for it."""


M = TypeVar("M", bound=Member)


def _modules(package: str) -> list[ModuleType]:
    """Modules of a built-in plug-in folder, then those that other packages registered under the same name."""
    from importlib.metadata import entry_points  # costs start-up time that few requests need

    folder = importlib.import_module(package)
    own = [importlib.import_module(f"{package}.{info.name}") for info in pkgutil.iter_modules(folder.__path__)]
    others = [entry.load() for entry in entry_points(group=package)]
    return own + [module for module in others if isinstance(module, ModuleType)]


@cache
def members(package: str, kind: type[M]) -> dict[str, M]:
    """Members of the plug-in folder `package` (for example "inferprint.techniques"), by name.

    Raises
    ------
    ValueError
        Two members of one name.
    """
    found: dict[str, M] = {}
    for module in _modules(package):
        for value in vars(module).values():
            if isinstance(value, kind) and found.setdefault(value.name, value) is not value:
                raise ValueError(f"two members of {package} are called '{value.name}'")
    return found
