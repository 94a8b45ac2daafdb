"""No module of the package keeps state that a caller can change by accident."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

SPEC = importlib.util.find_spec("inferprint")
ROOT = Path(SPEC.origin).parent if SPEC and SPEC.origin else Path()
FILES = sorted(ROOT.rglob("*.py"))
MUTATORS = {"append", "extend", "insert", "update", "setdefault", "pop", "clear", "add", "remove", "discard", "popitem"}
REGISTRIES = {"EQUATIONS"}
"""Filled by decorators while modules are imported, read-only afterwards."""


def constants(tree: ast.Module) -> set[str]:
    """Names bound at the top of a module."""
    found = set()
    for node in tree.body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def changes(function: ast.AST, names: set[str]) -> list[str]:
    """Where a function changes one of the module's names."""
    found = []
    for node in ast.walk(function):
        if isinstance(node, ast.Global):
            found.append(f"line {node.lineno}: global {', '.join(node.names)}")
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Attribute) and called.attr in MUTATORS:
            owner = called.value
        elif isinstance(node, ast.Subscript) and isinstance(node.ctx, (ast.Store, ast.Del)):
            owner = node.value
        else:
            continue
        if isinstance(owner, ast.Name) and owner.id in names:
            found.append(f"line {node.lineno}: {owner.id}")
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_function_changes_what_its_module_holds(file):
    tree = ast.parse(file.read_text(encoding="utf-8"))
    names = constants(tree) - REGISTRIES
    functions = [node for node in ast.walk(tree) if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))]
    assert [change for function in functions for change in changes(function, names)] == []
