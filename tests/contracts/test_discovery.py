"""Built-in members and those of other packages come in through one door."""

from __future__ import annotations

import dataclasses
import sys
from importlib import metadata
from types import ModuleType

import pytest

from inferprint import discovery
from inferprint.modalities.base import Modality
from inferprint.modalities.text import TEXT

GROUP = "inferprint.modalities"


@pytest.fixture
def registered(monkeypatch):
    """Register a module holding one record as another package's entry point."""

    def register(record: object) -> None:
        module = ModuleType("another_package_member")
        module.member = record  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, module.__name__, module)
        entry = metadata.EntryPoint(name="member", value=module.__name__, group=GROUP)
        monkeypatch.setattr(metadata, "entry_points", lambda group: [entry] if group == GROUP else [])
        discovery.members.cache_clear()

    yield register
    discovery.members.cache_clear()


def test_a_built_in_member_is_found():
    assert discovery.members(GROUP, Modality)["text"] is TEXT


def test_a_member_of_another_package_is_found(registered):
    mime = dataclasses.replace(TEXT, name="mime")
    registered(mime)
    assert discovery.members(GROUP, Modality)["mime"] is mime


def test_what_is_no_member_is_left_alone(registered):
    registered(object())
    assert set(discovery.members(GROUP, Modality)) == {"text", "embedding", "image", "video", "sound"}


def test_two_members_of_one_name_are_refused(registered):
    registered(dataclasses.replace(TEXT, features=()))
    with pytest.raises(ValueError, match=r"two members of inferprint\.modalities are called 'text'"):
        discovery.members(GROUP, Modality)
