"""One meaning of the tiers that sources state."""

import pytest

from inferprint.usage.tiers import tier_of


@pytest.mark.parametrize("stated", [None, "", "default", "Standard", "auto", "ON_DEMAND", " standard "])
def test_nothing_else_was_bought(stated):
    assert tier_of(stated) is None


@pytest.mark.parametrize("stated,tier", [("Batch", "batch"), ("flex", "flex"), ("PRIORITY", "priority")])
def test_what_was_bought(stated, tier):
    assert tier_of(stated) == tier
