"""What the server imports is what `pip install inferprint[serve]` brings, and nothing is brought for nothing."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from inferprint.cli.serve import NEEDED

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "src" / "inferprint"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
FILES = [*sorted((PACKAGE / "service").rglob("*.py")), PACKAGE / "cli" / "serve.py"]

INDIRECT = {
    "anyio": "starlette runs on it",
    "google.protobuf": "the classes of opentelemetry-proto are its own",
    "pydantic": "fastapi reads and describes shapes with it",
    "starlette": "fastapi is made of it",
}
"""Modules that come with a package that is named, of which they are a part for who uses it."""

LOADED = {
    "httptools": "uvicorn's parser, which the class of connections is made of",
    "uvloop": "uvicorn takes it where it is installed",
}
"""Packages that another one loads."""


def modules() -> set[str]:
    """Foreign modules that the server imports, at the top or within functions; two parts of those in namespaces."""
    found = set()
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module]
            else:
                continue
            for name in names:
                first, *further = name.split(".")
                if first in ("google", "opentelemetry"):
                    found.add(".".join([first, *further[:1]]))
                elif first not in sys.stdlib_module_names and first != "inferprint":
                    found.add(first)
    return found


def applies(requirement: Requirement, extra: str = "") -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def named(*lists: list[str]) -> dict[str, Requirement]:
    """Requirements of lists of ours, by name; what stands for another list of ours is that list."""
    found: dict[str, Requirement] = {}
    for text in (text for one in lists for text in one):
        requirement = Requirement(text)
        if requirement.name == PROJECT["name"]:
            found |= named(*(PROJECT["optional-dependencies"][extra] for extra in requirement.extras))
        elif applies(requirement):
            found[canonicalize_name(requirement.name)] = requirement
    return found


DIRECT = named(PROJECT["dependencies"], PROJECT["optional-dependencies"]["serve"])


def installed(wanted: dict[str, Requirement]) -> set[str]:
    """Names of packages that are installed with some, and those themselves."""
    found: set[str] = set()
    waiting = [(name, extra) for name, requirement in wanted.items() for extra in ("", *requirement.extras)]
    seen = set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            requires = distribution(name).requires or []
        except PackageNotFoundError:
            continue  # of another platform or version
        found.add(name)
        for requirement in map(Requirement, requires):
            if applies(requirement, extra):
                waiting += [(canonicalize_name(requirement.name), one) for one in ("", *requirement.extras)]
    return found


def brought(packages: set[str]) -> dict[str, set[str]]:
    """Which packages bring a module, by its first part and by its first two."""
    found: dict[str, set[str]] = {}
    for package in packages:
        for file in distribution(package).files or ():
            if file.suffix in (".py", ".so") and file.parts[0] != "..":
                parts = [*file.parts[:-1], file.name.split(".")[0]]
                for name in (parts[0], ".".join(parts[:2])):
                    found.setdefault(name, set()).add(package)
    return found


def test_there_is_something_to_look_at():
    assert {"fastapi", "sqlalchemy", "alembic", "opentelemetry.proto", "google.protobuf"} <= modules()


@pytest.mark.parametrize("module", sorted(modules() | set(NEEDED)))
def test_what_the_server_imports_is_installed_with_it(module):
    packages = brought(installed(DIRECT)).get(module, set())
    assert packages, f"no package of the extra `serve` brings {module}"
    if module not in INDIRECT:
        assert packages & set(DIRECT), f"{module} comes with another package alone: name {packages} in `serve`"


@pytest.mark.parametrize("module", INDIRECT)
def test_exceptions_are_needed(module):
    assert module in modules()
    assert not brought(installed(DIRECT))[module] & set(DIRECT)


@pytest.mark.parametrize("package", sorted(named(PROJECT["optional-dependencies"]["serve"][1:])))
def test_what_is_installed_is_used(package):
    used = {package for name, packages in brought({package}).items() if name in modules() for package in packages}
    assert package in used or package in LOADED, f"nothing imports {package}"
    assert not (package in used and package in LOADED)


def test_what_is_said_to_be_needed_is_used():
    assert set(NEEDED) <= modules() | set(LOADED)


def test_the_image_is_rid_of_what_it_was_built_with_and_of_nothing_else():
    pinned = re.findall(r"^(\S+)==", (ROOT / "requirements" / "serve.txt").read_text(encoding="utf-8"), re.MULTILINE)
    image = (ROOT / "deploy" / "Containerfile").read_text(encoding="utf-8")
    removed = re.findall(r"pip uninstall --yes \\\n(.+)", image)[0].split()
    assert "hatchling" in removed
    assert set(removed) <= {canonicalize_name(name) for name in pinned}
    assert not set(removed) & installed(DIRECT)
