from __future__ import annotations

import pytest

from inferprint.provenance.source import Provenance
from inferprint.provenance.trace import Trail
from inferprint.quantities import Range

ORIGIN = Provenance("a-source", "2026-01-02", "medium", "a remark")


def entry(*args):
    trail = Trail()
    trail.add(*args)
    return trail.entries[0]


def test_a_range_has_bounds():
    found = entry("pue", Range(1.2, 1.1, 1.5), "ratio", "assumed", "why")
    assert (found.value, found.low, found.high) == (1.2, 1.1, 1.5)


def test_a_range_without_width_has_none():
    found = entry("pue", Range.exact(1.2), "ratio", "given", "why")
    assert (found.value, found.low, found.high) == (1.2, None, None)


def test_a_choice_has_no_bounds():
    assert entry("gpu_id", "h100", "", "given", "why").low is None


def test_origin_is_kept():
    found = entry("pue", 1.2, "ratio", "catalogue", "why", ORIGIN)
    assert (found.source, found.date, found.quality) == ("a-source", "2026-01-02", "medium")


@pytest.mark.parametrize(
    "how, source, quality",
    [("given", "caller", "high"), ("assumed", "assumed", "assumption"), ("derived", "derived", "medium")],
)
def test_without_origin(how, source, quality):
    found = entry("pue", 1.2, "ratio", how, "why")
    assert (found.source, found.quality) == (source, quality)


def test_assumptions_are_what_nobody_stated():
    trail = Trail()
    for how in ("given", "catalogue", "derived", "assumed"):
        trail.add(how, 1.0, "", how, "why")
    assert [found.field for found in trail.assumptions] == ["assumed"]
