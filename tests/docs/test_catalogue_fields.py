"""The page on catalogues lists every field of a model and of an accelerator, and every kind of accelerator."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

from inferprint.catalogue.records import DeviceClass, Gpu, Model

PAGE = Path(__file__).parents[2] / "docs" / "catalogue.md"


@pytest.fixture(scope="module")
def tables() -> set[str]:
    """Names in the cells of the page's tables."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    return set(re.findall(r"`([^`]+)`", " ".join(line for line in lines if line.startswith("|"))))


@pytest.mark.parametrize("kind", [Model, Gpu])
def test_every_field_is_listed(tables, kind):
    assert {field.name for field in fields(kind)} - {"id", "provenance"} <= tables


def test_every_kind_of_accelerator_is_listed(tables):
    assert set(get_args(DeviceClass)) <= tables
