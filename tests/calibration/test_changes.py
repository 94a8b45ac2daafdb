"""What a fit changes of the coefficients in use."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inferprint import Catalogue
from inferprint.calibration.fit import TASKS, changes, learn
from inferprint.calibration.observations import read_own
from inferprint.quantities import Range

CATALOGUE = Catalogue.packaged()


@pytest.fixture(scope="module")
def learned():
    task = next(task for task in TASKS if task.spec.id == "duration.single")
    return [learn(task, read_own(CATALOGUE), CATALOGUE)]


def test_the_packaged_coefficients_are_those_of_the_packaged_measurements(learned):
    assert changes(learned, CATALOGUE) == []


def test_what_differs_is_told_the_most_first(learned):
    form = CATALOGUE.forms["duration.single"]
    (first, one), (second, other) = list(form.terms.items())[:2]
    terms = {**form.terms, first: Range.exact(1.1 * one.value), second: Range.exact(2.0 * other.value)}
    effects = {name: effect + 0.3 for name, effect in form.effects.items()}
    found = changes(learned, CATALOGUE.with_records(replace(form, terms=terms, effects=effects)))
    names = [change.name for change in found]
    assert (names[0], set(names[1:-1]), names[-1]) == (second, set(effects), first)
    assert found[0].before == pytest.approx(2 * found[0].after, rel=1e-3)
    assert found[-1].before == pytest.approx(1.1 * found[-1].after, rel=1e-3)
