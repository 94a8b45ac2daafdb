"""A change of numbers is never an accident.

The kept results are the program's own: they say nothing about being right, only about being the same. After a change
that is meant, renew them with `python tests/golden/update.py`.
"""

from __future__ import annotations

import pytest
from tests.golden.cases import CASES, kept, results

WHY = "numbers changed: say why in CHANGELOG.md, Methodology, then regenerate (python tests/golden/update.py)"
KEPT = kept()


@pytest.mark.parametrize("case", sorted(CASES))
def test_results_are_those_that_are_kept(case):
    changed = {}
    for name, now in results(case).items():
        before = KEPT[case][name]
        if (now is None) != (before is None) or (now is not None and now != pytest.approx(before, rel=1e-9, abs=0)):
            changed[name] = f"{before} -> {now}"
    assert changed == {}, WHY


def test_every_kept_result_is_still_asked_for():
    assert set(KEPT) == set(CASES)
