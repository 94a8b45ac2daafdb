"""Physics and impact: numbers in, numbers out, each function with its equation on record."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from types import FunctionType, ModuleType

import pytest

from inferprint.quantities import EQUATIONS

PACKAGES = ("inferprint.physics", "inferprint.impact")


def modules() -> list[ModuleType]:
    found = []
    for package in PACKAGES:
        folder = importlib.import_module(package)
        found += [importlib.import_module(f"{package}.{info.name}") for info in pkgutil.iter_modules(folder.__path__)]
    return found


MODULES = modules()
FUNCTIONS: dict[str, FunctionType] = {
    name: value
    for module in MODULES
    for name, value in vars(module).items()
    if inspect.isfunction(value) and value.__module__ == module.__name__ and not name.startswith("_")
}
COMPOSITIONS = {"shared_step", "own_step", "cache_reads", "smallest_replica"}
"""Functions that only arrange what published equations give."""


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_public_function_has_its_equation_on_record(name):
    assert name in EQUATIONS or name in COMPOSITIONS


@pytest.mark.parametrize("name", sorted(EQUATIONS))
def test_every_equation_has_a_reference(name):
    text, reference = EQUATIONS[name]
    assert text
    assert reference


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_public_function_has_a_summary(name):
    summary = (inspect.getdoc(FUNCTIONS[name]) or "").split("\n\n")[0].split("\n")[0]
    assert len(summary) > 20


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_no_physics_branches_on_a_value(module):
    tree = ast.parse(inspect.getsource(module))
    branches = (ast.If, ast.IfExp, ast.While, ast.Match, ast.BoolOp, ast.Try)
    inside = [
        node for function in ast.walk(tree) if isinstance(function, ast.FunctionDef) for node in ast.walk(function)
    ]
    found = [f"line {node.lineno}" for node in inside if isinstance(node, branches) and not _of_names(node)]
    assert found == []


def _of_names(node: ast.AST) -> bool:
    """True for a question about names, such as `if term in coefficients`, and never about a value."""
    test = getattr(node, "test", None)
    return isinstance(test, ast.Compare) and all(isinstance(op, (ast.In, ast.NotIn)) for op in test.ops)


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_what_a_module_holds_is_constant(module):
    mutable = [name for name, value in vars(module).items() if isinstance(value, (list, dict, set, bytearray))]
    assert [name for name in mutable if not name.isupper() and not name.startswith("__")] == []
